"""`expandr evaluate` and `expandr compare`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.evaluate import DEFAULT_MEASURES, score_run
from expandr_ir.evaluate.compare import compare as compare_runs
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import output_file, write_text
from expandr_ir.io.manifest import Manifest, read_manifest
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.runs import read_run, run_names
from expandr_ir.records import Qrels, Topic
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

    def load_judgements(self) -> tuple[Collection | None, Qrels, dict[str, Topic]]:
        """The collection, its split's judgements and all its topics; or the judgements of the file alone."""
        if self.qrels:
            return None, read_qrels(self.qrels), {}
        if not self.collection:
            raise InputError("no judgements are named", expected="--collection C or --qrels FILE")
        collection = load_collection(self.collection)
        return collection, collection.qrels(self.split), collection.all_topics()


def evaluate(options: EvaluateOptions) -> str:
    """Each run's scores as text."""
    if not options.runs:
        raise InputError("no run is named", expected="expandr evaluate ... RUN ...")
    _, qrels, topics = options.load_judgements()
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
    collection, qrels, topics = options.load_judgements()
    paths = [Path(name) for name in (options.baseline, *options.runs)]
    runs, manifests = {}, {}
    for name, path in zip(run_names(paths), paths, strict=True):
        runs[name] = read_run(path, topics or None)
        manifest = read_manifest(path)
        if manifest and manifest.describes(path):
            manifests[name] = manifest
    baseline, *names = runs
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
        text = page_of(study_of_comparison(comparison, collection, options.split, qrels, runs, manifests))
    else:
        text = render(comparison, options.format, colour=output is None and sys.stdout.isatty())
    if output is None:
        return text.rstrip("\n")
    write_text(output, text)
    return f"{output}: {output.stat().st_size:,} bytes"


def _texts(manifest: Manifest, topics: dict[str, Topic]) -> dict[str, list[str]]:
    """The texts that the run searched with each topic, where its expansions file is still the one of the run."""
    source = manifest.inputs.get("expansions")
    if source is None or not source.is_unchanged():
        return {}
    expansions = read_expansions(source.path, topics, skip_missing=True)
    return {topic_id: [expansion.text for expansion in topic.expansions] for topic_id, topic in expansions.items()}
