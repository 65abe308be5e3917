"""`expandr evaluate` and `expandr compare`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.cli.inputs import load_qrels
from expandr_ir.collections import load_collection
from expandr_ir.errors import InputError
from expandr_ir.evaluate import DEFAULT_MEASURES, score_run
from expandr_ir.evaluate.compare import compare as compare_runs
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import atomic_write, output_file
from expandr_ir.io.manifest import Manifest, read_manifest
from expandr_ir.io.runs import read_run, run_names
from expandr_ir.records import Topic
from expandr_ir.report import page_of, render, render_scores, study_of_comparison


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `expandr evaluate`.

    Args:
        runs: TREC runs.
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: which judgements; None takes the collection's default.
        qrels: a file of judgements instead: TREC's or BEIR's format.
        measures: names of ir_measures (-m, repeated); nDCG@10 and R@100 where none is named.
        format: how to print.
    """

    runs: list[str] = field(default_factory=list)
    collection: str | None = None
    split: str | None = None
    qrels: str | None = None
    measures: list[str] = field(default_factory=list)
    format: Literal["text", "json", "markdown", "latex"] = "text"


def evaluate(options: EvaluateOptions) -> str:
    """Each run's scores as text."""
    if not options.runs:
        raise InputError("no run is named", expected="expandr evaluate ... RUN ...")
    qrels, topics = load_qrels(options.qrels, options.collection, options.split)
    paths = [Path(name) for name in options.runs]
    measures = options.measures or DEFAULT_MEASURES
    scores = {
        name: score_run(read_run(path, topics or None), qrels, measures, name=str(path))
        for name, path in zip(run_names(paths), paths, strict=True)
    }
    return render_scores(scores, options.format, colour=sys.stdout.isatty()).rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(EvaluateOptions):
    """Options of `expandr compare`.

    Args:
        baseline: the run they are compared with.
        examples: topics shown as helped, and as hurt, for each run, on the first measure.
        seed: of the randomisation test.
        format: how to print; html is one page that needs nothing else.
        output: the file to write; None prints.
    """

    baseline: str
    examples: int = 3
    seed: int = 0
    format: Literal["text", "json", "markdown", "latex", "html"] = "text"  # type: ignore[assignment]
    output: str | None = None


def compare(options: CompareOptions) -> str:
    """The comparison as text, or the name and size of the file that holds it."""
    if not options.runs:
        raise InputError("no run is named", expected="expandr compare --baseline RUN ... RUN ...")
    output = output_file(options.output, (options.baseline, *options.runs)) if options.output else None
    qrels, topics = load_qrels(options.qrels, options.collection, options.split)
    paths = [Path(name) for name in (options.baseline, *options.runs)]
    baseline, *names = run_names(paths)
    runs = {name: read_run(path, topics or None) for name, path in zip((baseline, *names), paths, strict=True)}
    found = {name: _manifest(path) for name, path in zip((baseline, *names), paths, strict=True)}
    manifests = {name: manifest for name, manifest in found.items() if manifest}
    comparison = compare_runs(
        runs[baseline],
        {name: runs[name] for name in names},
        qrels,
        options.measures or DEFAULT_MEASURES,
        baseline_name=baseline,
        topics=topics,
        expansions={name: _texts(manifest, topics) for name, manifest in manifests.items()},
        manifests=manifests,
        examples=options.examples,
        seed=options.seed,
    )
    if options.format == "html":
        collection = load_collection(options.collection) if options.collection and not options.qrels else None
        text = page_of(study_of_comparison(comparison, collection, options.split, qrels, runs, manifests))
    else:
        text = render(comparison, options.format, colour=output is None and sys.stdout.isatty())
    if output is None:
        return text.rstrip("\n")
    with atomic_write(output) as stream:
        stream.write(text)
    return f"{output}: {len(text.encode()):,} bytes"


def _manifest(path: Path) -> Manifest | None:
    """The run's manifest, unless the run was changed since."""
    manifest = read_manifest(path)
    return manifest if manifest and manifest.describes(path) else None


def _texts(manifest: Manifest, topics: dict[str, Topic]) -> dict[str, list[str]]:
    """The texts that the run searched with each topic, where its expansions file is still the one of the run."""
    source = manifest.inputs.get("expansions")
    if source is None or not source.is_unchanged():
        return {}
    expansions = read_expansions(source.path, topics, skip_missing=True)
    return {topic_id: [one.text for one in topic.expansions] for topic_id, topic in expansions.items()}
