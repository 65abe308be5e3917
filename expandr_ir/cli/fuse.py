"""`expandr fuse`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.sources import say
from expandr_ir.errors import InputError
from expandr_ir.fusion import FusionOptions, fuse
from expandr_ir.manifest import write_manifest
from expandr_ir.runs import read_run, write_run

VERB = Verb(
    "fuse",
    "Several runs of the same topics become one.",
    """
expandr fuse bm25.run dense.run --output hybrid.run
expandr fuse bm25.run dense.run --method weighted --fuse.alpha 0.3 --fuse.normalization z-score --output hybrid.run
expandr fuse bm25.run q2d.run dense.run --method exp4fuse --output exp4fuse.run
""",
    positional="runs",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `expandr fuse`.

    Args:
        runs: TREC runs.
        output: the fused run; a name that ends in .gz is compressed.
        method: rrf (reciprocal ranks), weighted (sum of scores) or exp4fuse.
        hits: documents a topic.
        fuse: the method's numbers.
        tag: last column of the run; None is the method.
    """

    runs: list[str]
    output: str
    method: str = "rrf"
    hits: int = 1000
    fuse: FusionOptions = field(default_factory=FusionOptions)
    tag: str | None = None


def run(argv: list[str]) -> int:
    """Writes the fused run and its manifest."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    if len(options.runs) < 2:
        raise InputError(f"{len(options.runs)} run is named", expected="two or more: expandr fuse RUN RUN ...")
    output = output_file(options.output, options.runs)
    fused = fuse(options.method, [read_run(Path(name)) for name in options.runs], options.fuse, options.hits)
    write_run(output, fused.run, options.tag or options.method)
    write_manifest(
        output,
        command=["expandr", "fuse", *argv],
        started=started,
        config=resolved(options),
        inputs={f"run {number}": Path(name) for number, name in enumerate(options.runs, start=1)},
        counts=fused.counts,
    )
    if partly := fused.counts["topics_without_hits_in_a_run"]:
        say(f"{partly} topics have hits in some runs only")
    print(f"{output}: {fused.counts['topics']} topics of {len(options.runs)} runs", file=sys.stderr)
    return 0
