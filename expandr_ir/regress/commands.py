"""What to type to get a step's run: this package's commands, and Pyserini's own where there are some."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from expandr_ir.regress.plan import Step, encoder_of, search_options
from expandr_ir.regress.spec import Spec
from expandr_ir.retrieve.options import SearchOptions


def search_command(step: Step, run: str, generator: str | None = None) -> str:
    """The `expandr` command that makes a step's run; "" for a step that nothing is run for.

    Args:
        step: the step; of what is not here, the command names where it would be.
        run: the run's file.
        generator: the LLM, where one writes the expansions.
    """
    if step.options is None:
        return ""
    where = ["--collection", step.collection or _elsewhere(step.spec)]
    if step.spec.split and not where[1].startswith(("irds:", "pyserini:")):
        where += ["--split", step.spec.split]
    output = ["--output", run]
    if step.condition.expander:
        named = ["--generator", generator] if generator else []
        return shlex.join(
            ["expandr", "run", "--expander", step.condition.expander, *where, *named, *_own(step), *output]
        )
    return shlex.join(
        ["expandr", "search", *where, *_expanded(step), *_own(step), "--tag", step.condition.name, *output]
    )


def evaluate_command(step: Step, run: str) -> str:
    """The `expandr` command that scores a step's run; "" for a step that nothing is run for."""
    if step.options is None:
        return ""
    where = ["--collection", step.collection or _elsewhere(step.spec)]
    if step.spec.split and not where[1].startswith(("irds:", "pyserini:")):
        where += ["--split", step.spec.split]
    measures = [word for metric in step.spec.metrics for word in ("-m", metric)]
    return shlex.join(["expandr", "evaluate", *where, *measures, run])


def pyserini_commands(step: Step, run: str) -> tuple[str, ...]:
    """Pyserini's own commands for the same search and its scores; none where Pyserini has no such index."""
    spec, template = step.spec, step.condition.pyserini
    if template is None or step.options is None or spec.pyserini is None:
        return ()
    encoder = encoder_of(step.options)
    names = {
        "{flat}": spec.lucene_index("flat"),
        "{multifield}": spec.lucene_index("multifield"),
        "{index}": spec.index if spec.dense_index(step.options.encoder) else None,
        "{topics}": spec.pyserini,
        "{output}": shlex.quote(run),
        "{remove_query}": " --remove-query" if spec.group.startswith("beir") else "",
        "{query_prefix}": encoder.query_prefix_exceptions.get(spec.name, encoder.query_prefix or "").strip()
        if encoder
        else None,
    }
    for placeholder, value in names.items():
        if placeholder in template:
            if value is None:
                return ()
            template = template.replace(placeholder, value)
    scores = (
        f"python -m pyserini.eval.trec_eval {metric.trec_eval} {spec.pyserini} {shlex.quote(run)}"
        for metric in spec.metrics.values()
    )
    return (template, *scores)


def _elsewhere(spec: Spec) -> str:
    """How a collection that is not here would be named."""
    if spec.folder:
        return str(Path("DATA") / spec.folder)
    return f"irds:{spec.irds}" if spec.irds else f"pyserini:{spec.pyserini}"


def _expanded(step: Step) -> list[str]:
    if step.condition.expansions is None:
        return []
    path = str(
        step.expansions or Path("EXPANSIONS") / (step.spec.expansions or step.spec.name) / step.condition.expansions
    )
    if step.condition.topics_field:
        return ["--topics", path, "--topics-field", step.condition.topics_field]
    return ["--expansions", path]


def _own(step: Step) -> Iterator[str]:
    """The options that are not the defaults, of the expander where there is one, as they are typed."""
    assert step.options is not None
    known = _RUN if step.condition.expander else None
    default = search_options({}, step.expander)
    for one in fields(SearchOptions):
        value, usual = getattr(step.options, one.name), getattr(default, one.name)
        if value != usual and (known is None or one.name in known):
            yield from _typed(one.name, value, usual)


_RUN = ("retriever", "encoder", "hits", "index", "dense_index")
"""What `expandr run` can be told of a search; the rest is the expander's."""


def _typed(name: str, value: Any, usual: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [flag] if value else [flag, "false"]
    elif hasattr(value, "__dataclass_fields__"):
        inner: Mapping[str, Any] = vars(value)
        for key, own in inner.items():
            if own != getattr(usual, key):
                yield from _typed(f"{name}.{key}", own, getattr(usual, key))
    else:
        yield from (flag, str(value))
