"""Trajectories: losses and gradient norms of a tiny model, trained for some steps, against a recorded reference."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from expandr_ir.blocks import load_block, placeholders
from expandr_ir.config import TRAINING, regressions_dir
from expandr_ir.errors import ExpandrError, InputError, unknown_name
from expandr_ir.io.files import write_text
from expandr_ir.io.manifest import installed_versions
from expandr_ir.train.align.trajectory_inputs import INPUTS, make_input

logger = logging.getLogger(__name__)

QUANTITIES = ("loss", "grad_norm")
VERSIONS = ("python", "torch", "transformers", "sentence-transformers", "trl", "peft", "platform")


@dataclass(frozen=True)
class Way:
    """One way to train that must give the reference: options added to the command, processes that share the work."""

    options: list[str]
    processes: int = 1


@dataclass(frozen=True)
class Tolerance:
    """Largest residuals that are no failure, as shares of the reference: of one step, and the mean of all."""

    max: float
    mean: float


@dataclass(frozen=True)
class Recorded:
    """The reference: loss and gradient norm of each step, the way that gave them, and the versions."""

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    way: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """A file of regressions/training: `expandr train` and a verb, of {output} and INPUTS, and the ways to run it."""

    title: str
    about: str
    command: list[str]
    ways: dict[str, Way]
    tolerance: Tolerance
    tier: Literal["training"] = "training"
    recorded: Recorded = field(default_factory=Recorded)


@dataclass(frozen=True)
class Figure:
    """The largest and the mean |measured - expected| / |expected| of a quantity."""

    max: float
    mean: float
    passed: bool


@dataclass(frozen=True)
class TrajectoryOptions:
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


@dataclass(frozen=True)
class TrajectoryReport:
    """A line for each way of each trajectory, or for each file that was recorded; exit_code is 1 where one failed."""

    lines: Sequence[str]
    exit_code: int = 0

    def __str__(self) -> str:
        return "\n".join(self.lines)


def check_trajectories(options: TrajectoryOptions) -> TrajectoryReport:
    """Trains by each way, in a process of its own, and compares; a warning names what left its reference."""
    if not options.names:
        raise InputError("no trajectory is named", remedy="expandr train trajectory dpo-tiny")
    lines, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.names:
            path, folder = trajectory_path(name), Path(options.output or temporary) / Path(name).stem
            trajectory = load_trajectory(path)
            ways = options.way or list(trajectory.ways)
            if options.record:
                record(path, ways[0], run_way(trajectory, ways[0], folder))
                lines.append(str(path))
                continue
            for way in ways:
                figures = run_trajectory(path, way, folder)
                passed = all(figure.passed for figure in figures.values())
                residuals = ", ".join(
                    f"{quantity} max {figure.max:.2e} mean {figure.mean:.2e}" for quantity, figure in figures.items()
                )
                lines.append(f"{'ok  ' if passed else 'FAIL'} {name}, {way}: {residuals}")
                failed += [] if passed else [f"{name}, {way}"]
    if failed:
        logger.warning(
            "%d trajectories left their reference: %s. Find the change; if it is meant: expandr train trajectory NAME"
            " --record", len(failed), "; ".join(failed)
        )  # fmt: skip
    return TrajectoryReport(lines, 1 if failed else 0)


def run_trajectory(path: Path, way: str, folder: Path) -> dict[str, Figure]:
    """The loss and gradient norm of a file's trajectory, trained by one way in the folder, against its reference."""
    trajectory = load_trajectory(path)
    measured = run_way(trajectory, way, folder)
    return {
        name: compare(getattr(trajectory.recorded, name), measured[name], trajectory.tolerance) for name in QUANTITIES
    }


def trajectory_path(name: str) -> Path:
    """The YAML file of a name of regressions/training, or of a path."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    paths = {path.stem: path for path in (regressions_dir() / TRAINING).glob("*.yaml")}
    if name not in paths:
        raise unknown_name("trajectory", name, paths)
    return paths[name]


def load_trajectory(path: Path) -> Trajectory:
    """The trajectory of a file, checked."""
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a YAML file of regressions/training")
    trajectory = load_block(Trajectory, path)
    if len(trajectory.recorded.loss) != len(trajectory.recorded.grad_norm):
        raise InputError(f"{path}: losses and gradient norms of different lengths", expected="one of each for a step")
    if not trajectory.ways:
        raise InputError(f"{path}: no ways", expected="at least one way to train")
    words = [*trajectory.command, *(word for way in trajectory.ways.values() for word in way.options)]
    for word in words:
        placeholders(word, (*INPUTS, "output"))
    return trajectory


def compare(expected: Sequence[float], measured: Sequence[float], tolerance: Tolerance) -> Figure:
    """The residuals of measured steps; NaN fails, and another number of steps is an error."""
    if len(measured) != len(expected) or not expected:
        raise ExpandrError(f"{len(measured)} steps, and {len(expected)} in the reference")
    old, new = np.array(expected), np.array(measured)
    residuals = np.abs(new - old) / np.maximum(np.abs(old), 1e-12)
    most, mean = (float(value) if np.isfinite(value) else math.inf for value in (residuals.max(), residuals.mean()))
    return Figure(most, mean, most <= tolerance.max and mean <= tolerance.mean)


def run_way(trajectory: Trajectory, way: str, folder: Path) -> dict[str, list[float]]:
    """The loss and gradient norm of each step, trained in a process of its own through the command line."""
    from expandr_ir.train.run_folder import CURVES, read_curves

    if way not in trajectory.ways:
        raise unknown_name("way", way, trajectory.ways)
    processes, output = trajectory.ways[way].processes, folder / way.replace(" ", "-")
    words = [*trajectory.command, *trajectory.ways[way].options]
    folder.mkdir(parents=True, exist_ok=True)
    names = set().union(*(placeholders(word, (*INPUTS, "output")) for word in words))
    places = {name: str(make_input(name, folder)) for name in names - {"output"}}
    command = [word.format(**places, output=output) for word in words]
    start = ["-m", "expandr_ir", "train", *command]
    if processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *start]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *start], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExpandrError(f"{way}: expandr train {' '.join(command)}\n{done.stderr[-3000:]}", expected="exit code 0")
    # The curves of an expander stand in its folder, those of a retriever beside it.
    points = read_curves(output / CURVES) or read_curves(output.with_name(f"{output.name}.training") / "log.jsonl")
    return {name: [float(point[name]) for point in points if "grad_norm" in point] for name in QUANTITIES}


def record(path: Path, way: str, measured: Mapping[str, Sequence[float]]) -> None:
    """Writes a trajectory into its file as the reference, in place of the one that is there."""
    versions = {package: version for package, version in installed_versions().items() if package in VERSIONS}
    block: dict[str, Any] = {"way": way, "versions": versions}
    block |= {quantity: [float(f"{value:.6g}") for value in measured[quantity]] for quantity in QUANTITIES}
    head = path.read_text(encoding="utf-8").split("\nrecorded:")[0].rstrip("\n")
    write_text(path, head + "\n" + yaml.safe_dump({"recorded": block}, sort_keys=False, default_flow_style=None))
