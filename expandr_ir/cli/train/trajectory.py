"""`expandr train trajectory`."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.errors import ComparisonFailedError, InputError

VERB = Verb(
    "train trajectory",
    "Hold the losses and gradient norms of a tiny model's training against a recorded reference.",
    """
expandr train trajectory dpo-tiny
expandr train trajectory dpo-tiny --way 2x4 --output /tmp/trajectory
expandr train trajectory dpo-tiny --way 1x8 --record
""",
    positional="names",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `expandr train trajectory`.

    Args:
        names: names of regressions/training, or YAML files.
        way: only these ways to train; may be repeated.
        output: folder for the runs; None takes one that is deleted afterwards.
        record: write what comes out into the file, as the new reference.
    """

    names: list[str] = field(default_factory=list)
    way: list[str] = field(default_factory=list)
    output: str | None = None
    record: bool = False


def run(argv: list[str]) -> int:
    """Trains and compares; 1 where a residual is above its tolerance."""
    options = parse(VERB, Options, argv)
    if not options.names:
        raise InputError("no trajectory is named", remedy="expandr train trajectory dpo-tiny")
    if options.output:
        return _run(options, Path(options.output))
    with tempfile.TemporaryDirectory() as folder:
        return _run(options, Path(folder))


def _run(options: Options, folder: Path) -> int:
    from expandr_ir.train.trajectory import QUANTITIES, load_trajectory, record, residuals, run_way

    failed = []
    for name in options.names:
        trajectory = load_trajectory(name)
        ways = options.way or list(trajectory.ways)
        for way in ways[:1] if options.record else ways:
            found = run_way(trajectory, way, folder / Path(name).stem)
            if options.record:
                print(record(name, way, found))
                continue
            reference = {quantity: getattr(trajectory.recorded, quantity) for quantity in QUANTITIES}
            result = residuals(found, reference, trajectory.tolerance)
            figures = ", ".join(
                f"{quantity} max {result.max[quantity]:.2e} mean {result.mean[quantity]:.2e}" for quantity in QUANTITIES
            )
            print(f"{'ok  ' if result.passed else 'FAIL'} {name}, {way}: {figures}")
            failed += [] if result.passed else [f"{name}, {way}"]
    if failed:
        raise ComparisonFailedError(
            f"{len(failed)} trajectories left their reference: {'; '.join(failed)}",
            expected=f"at most {trajectory.tolerance.max:g} at a step and {trajectory.tolerance.mean:g} in the mean",
            remedy="find the change; if it is meant: expandr train trajectory NAME --record",
        )
    return 0
