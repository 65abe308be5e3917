"""`expandr evaluate`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.sources import qrels_of
from expandr_ir.errors import InputError
from expandr_ir.evaluate import DEFAULT_MEASURES, evaluate
from expandr_ir.report import render_scores
from expandr_ir.runs import read_run, run_names

VERB = Verb(
    "evaluate",
    "Measures of runs over all judged topics, as trec_eval -c computes them.",
    """
expandr evaluate --collection demo bm25.run
expandr evaluate --collection beir/scifact -m nDCG@10 -m R@100 --format json bm25.run q2d.run
expandr evaluate --qrels qrels.txt -m 'P(rel=2)@10' my.run
""",
    positional="runs",
)


@dataclass(frozen=True)
class Options:
    """Options of `expandr evaluate`.

    Args:
        runs: TREC runs.
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: which judgements; None takes the collection's default.
        qrels: a file of judgements instead: TREC's or BEIR's format.
        measures: names of ir_measures (-m, repeated); nDCG@10 and R@100 where none is named.
        format: how to print.
    """

    runs: list[str]
    collection: str | None = None
    split: str | None = None
    qrels: str | None = None
    measures: list[str] = field(default_factory=list)
    format: Literal["text", "json", "markdown", "latex"] = "text"


def run(argv: list[str]) -> int:
    """Prints each run's scores."""
    options = parse(VERB, Options, argv)
    if not options.runs:
        raise InputError("no run is named", expected="expandr evaluate ... RUN ...")
    qrels, topics = qrels_of(options.qrels, options.collection, options.split)
    paths = [Path(name) for name in options.runs]
    measures = options.measures or DEFAULT_MEASURES
    scores = {
        name: evaluate(read_run(path, topics or None), qrels, measures, name=str(path))
        for name, path in zip(run_names(paths), paths, strict=True)
    }
    print(render_scores(scores, options.format, colour=sys.stdout.isatty()), end="")
    return 0
