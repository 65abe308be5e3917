"""Commands that give a step's run: this package's, and Pyserini's own where there are some."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from expandr_ir.regress.steps import Step, search_options

EXPANDER_RUN = ("retriever", "encoder", "hits", "index", "dense_index")
"""Search options of `expandr run`; the rest is the expander's."""


def search_command(step: Step, run: str, generator: str | None = None) -> str:
    """The command that makes a step's run; "" where nothing is run. What is not here is named where it would be."""
    condition = step.condition
    if step.options is None:
        return getattr(condition, "command", "")
    if condition.expander:
        words = ["run", "--expander", condition.expander, *_collection(step)]
        words += ["--generator", generator] if generator else []
        return shlex.join(["expandr", *words, *_own(step), "--output", run])
    words = ["search", *_collection(step)]
    if condition.expansions:
        folder = Path("EXPANSIONS") / step.regression.expansions_folder
        path = str(step.expansions or folder / condition.expansions)
        field = ["--topics", path, "--topics-field", condition.topics_field] if condition.topics_field else []
        words += field or ["--expansions", path]
    return shlex.join(["expandr", *words, *_own(step), "--tag", condition.name, "--output", run])


def evaluate_command(step: Step, run: str) -> str:
    """The command that scores a step's run; "" where nothing is run."""
    measures = [word for metric in step.regression.metrics for word in ("-m", metric)]
    return shlex.join(["expandr", "evaluate", *_collection(step), *measures, run]) if step.options else ""


def pyserini_commands(step: Step, run: str) -> tuple[str, ...]:
    """Pyserini's own commands for the same search and its scores; none where Pyserini has no such index."""
    regression, template = step.regression, step.condition.pyserini
    if template is None or step.options is None or regression.facts.pyserini is None:
        return ()
    encoder, topics, output = step.encoder, regression.facts.pyserini, shlex.quote(run)
    prefixes = encoder.query_prefix_exceptions if encoder else {}
    values = {
        "{flat}": regression.lucene_index("flat"),
        "{multifield}": regression.lucene_index("multifield"),
        "{index}": regression.facts.index if regression.dense_index(step.options.encoder) else None,
        "{topics}": topics,
        "{output}": output,
        "{remove_query}": " --remove-query" if regression.group.startswith("beir") else "",
        "{query_prefix}": prefixes.get(regression.name, encoder.query_prefix or "").strip() if encoder else None,
    }
    for placeholder, value in values.items():
        if placeholder in template and value is None:
            return ()
        template = template.replace(placeholder, value or "")
    metrics = regression.metrics.values()
    scores = (f"python -m pyserini.eval.trec_eval {metric.trec_eval} {topics} {output}" for metric in metrics)
    return (template, *scores)


def _collection(step: Step) -> list[str]:
    facts = step.regression.facts
    elsewhere = str(Path("DATA") / facts.folder) if facts.folder else f"irds:{facts.irds}"
    name = step.collection or (elsewhere if facts.folder or facts.irds else f"pyserini:{facts.pyserini}")
    split = [] if name.startswith(("irds:", "pyserini:")) or not facts.split else ["--split", facts.split]
    return ["--collection", name, *split]


def _own(step: Step) -> Iterator[str]:
    """The search options that are not the defaults, of the expander where there is one, as they are typed."""
    default = search_options({}, step.expander)
    for one in sorted(fields(default), key=lambda one: one.name != "retriever"):  # which the others depend on
        if not step.condition.expander or one.name in EXPANDER_RUN:
            yield from _typed(one.name, getattr(step.options, one.name), getattr(default, one.name))


def _typed(name: str, value: Any, default: Any) -> Iterator[str]:
    if value == default:
        return
    flag = f"--{name.replace('_', '-')}"
    if is_dataclass(value):
        for key, inner in vars(value).items():
            yield from _typed(f"{name}.{key}", inner, getattr(default, key))
    elif isinstance(value, bool):
        yield from [flag] if value else [flag, "false"]
    else:
        yield from (flag, str(value))
