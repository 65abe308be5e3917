"""`expandr compare`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.sources import qrels_of
from expandr_ir.errors import InputError
from expandr_ir.evaluate import DEFAULT_MEASURES
from expandr_ir.evaluate.compare import compare
from expandr_ir.expansions_file import read_expansions
from expandr_ir.manifest import Manifest, read_manifest
from expandr_ir.records import Topic
from expandr_ir.report import render
from expandr_ir.runs import read_run, run_names

VERB = Verb(
    "compare",
    "Runs against a baseline: differences, paired tests with Holm's correction, the topics helped and hurt most.",
    """
expandr compare --collection demo --baseline bm25.run q2d.run
expandr compare --collection beir/scifact --baseline bm25.run -m nDCG@10 -m R@100 --format latex q2d.run mugi.run
""",
    positional="runs",
)


@dataclass(frozen=True)
class Options:
    """Options of `expandr compare`.

    Args:
        runs: TREC runs.
        baseline: the run they are compared with.
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: which judgements; None takes the collection's default.
        qrels: a file of judgements instead: TREC's or BEIR's format.
        measures: names of ir_measures (-m, repeated); nDCG@10 and R@100 where none is named. The first one chooses the
            topics that are shown.
        examples: topics shown as helped, and as hurt, for each run.
        seed: of the randomisation test.
        format: how to print.
    """

    runs: list[str]
    baseline: str
    collection: str | None = None
    split: str | None = None
    qrels: str | None = None
    measures: list[str] = field(default_factory=list)
    examples: int = 3
    seed: int = 0
    format: Literal["text", "json", "markdown", "latex"] = "text"


def run(argv: list[str]) -> int:
    """Prints the comparison."""
    options = parse(VERB, Options, argv)
    if not options.runs:
        raise InputError("no run is named", expected="expandr compare --baseline RUN ... RUN ...")
    qrels, topics = qrels_of(options.qrels, options.collection, options.split)
    paths = [Path(name) for name in (options.baseline, *options.runs)]
    names = run_names(paths)
    runs = {name: read_run(path, topics or None) for name, path in zip(names, paths, strict=True)}
    manifests = {name: found for name, path in zip(names, paths, strict=True) if (found := _manifest(path))}
    comparison = compare(
        runs.pop(names[0]),
        runs,
        qrels,
        options.measures or DEFAULT_MEASURES,
        baseline_name=names[0],
        topics=topics,
        expansions={name: _texts(manifest, topics) for name, manifest in manifests.items()},
        manifests=manifests,
        examples=options.examples,
        seed=options.seed,
    )
    print(render(comparison, options.format, colour=sys.stdout.isatty()), end="")
    return 0


def _manifest(path: Path) -> Manifest | None:
    """The run's manifest, unless the run was changed since."""
    manifest = read_manifest(path)
    return manifest if manifest and manifest.describes(path) else None


def _texts(manifest: Manifest, topics: dict[str, Topic]) -> dict[str, list[str]]:
    """What the run searched with each topic, where its expansions file is still the one it was made from."""
    source = manifest.inputs.get("expansions")
    if source is None or not source.is_unchanged():
        return {}
    found = read_expansions(source.path, topics, skip_missing=True)
    return {topic_id: [one.text for one in topic.expansions] for topic_id, topic in found.topics.items()}
