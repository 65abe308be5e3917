"""Trajectories: losses and gradient norms of a tiny model, trained for some steps, against a recorded reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml

from expandr_ir.config import load_block
from expandr_ir.errors import ExpandrError, InputError, unknown_name
from expandr_ir.files import atomic_write
from expandr_ir.manifest import installed_versions
from expandr_ir.regress.files import TRAINING, regressions_dir
from expandr_ir.train.trajectory_inputs import INPUTS, make_inputs

QUANTITIES = ("loss", "grad_norm")
VERSIONS = ("python", "torch", "transformers", "sentence-transformers", "trl", "peft", "platform")


@dataclass(frozen=True)
class Way:
    """One way to train that must give the reference's trajectory.

    Args:
        options: added to the command.
        processes: how many share the work.
    """

    options: list[str]
    processes: int = 1


@dataclass(frozen=True)
class Tolerance:
    """Largest residuals that are no failure, as shares of the reference's values.

    Args:
        max: of one step.
        mean: of all steps.
    """

    max: float
    mean: float


@dataclass(frozen=True)
class Recorded:
    """The reference.

    Args:
        loss, grad_norm: of each step.
        way: by which it was recorded.
        versions: with what.
    """

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    way: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trajectory:
    """A regression of training (regressions/training/).

    Args:
        title: for a reader.
        about: what it would find.
        tier: how closely it must be met; always training.
        command: `expandr train` and its verb, of {output} and what `trajectory_inputs` makes, such as {model}.
        hidden_size, layers, vocabulary: of the tiny model, which is made from a seed.
        ways: by name; all of them must give the reference.
        tolerance: of losses and gradient norms.
        recorded: the reference.
    """

    title: str
    about: str
    command: list[str]
    ways: dict[str, Way]
    tolerance: Tolerance
    tier: Literal["training"] = "training"
    hidden_size: int = 64
    layers: int = 2
    vocabulary: int = 600
    recorded: Recorded = field(default_factory=Recorded)


@dataclass(frozen=True)
class Residuals:
    """How far a trajectory is from the reference.

    Args:
        max, mean: by quantity, as shares of the reference.
        passed: whether all are within the tolerance.
    """

    max: dict[str, float]
    mean: dict[str, float]
    passed: bool


def trajectory_path(name: str) -> Path:
    """The YAML file of a name of regressions/training, or of a path.

    Raises:
        InputError: there is no such name.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    known = {path.stem: path for path in (regressions_dir() / TRAINING).glob("*.yaml")}
    if name not in known:
        raise unknown_name("trajectory", name, known)
    return known[name]


def load_trajectory(name: str) -> Trajectory:
    """The trajectory of a name or file, checked.

    Raises:
        InputError: no such name, unknown keys, wrong types, or a reference whose parts differ in length.
    """
    path = trajectory_path(name)
    if not path.is_file():
        raise InputError(f"{path} is not there", expected="a YAML file of regressions/training")
    found = load_block(Trajectory, path)
    if len(found.recorded.loss) != len(found.recorded.grad_norm):
        raise InputError(f"{path}: losses and gradient norms of different lengths", expected="one of each for a step")
    if not found.ways:
        raise InputError(f"{path}: no ways", expected="at least one way to train")
    words = [*found.command, *(word for way in found.ways.values() for word in way.options)]
    if unknown := named(words) - INPUTS.keys() - {"output"}:
        raise unknown_name("input of a trajectory", min(unknown), INPUTS)
    return found


def named(words: Sequence[str]) -> set[str]:
    """What words have in braces."""
    return {name for word in words for _, name, _, _ in Formatter().parse(word) if name is not None}


def residuals(
    found: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]], tolerance: Tolerance
) -> Residuals:
    """The largest and the mean |found - reference| / |reference| of each quantity.

    Args:
        found: by quantity, a value for each step.
        reference: the same.
        tolerance: what is no failure.

    Raises:
        ExpandrError: a quantity has another number of steps than the reference.
    """
    most, mean = {}, {}
    for name, values in reference.items():
        if len(found[name]) != len(values) or not values:
            raise ExpandrError(f"{len(found[name])} steps of {name}, and {len(values)} in the reference")
        shares = [abs(one - other) / max(abs(other), 1e-12) for one, other in zip(found[name], values, strict=True)]
        shares = [share if share == share else float("inf") for share in shares]  # noqa: PLR0124 (NaN)
        most[name], mean[name] = max(shares), sum(shares) / len(shares)
    passed = all(most[name] <= tolerance.max and mean[name] <= tolerance.mean for name in reference)
    return Residuals(most, mean, passed)


def run_way(trajectory: Trajectory, way: str, folder: Path) -> dict[str, list[float]]:
    """Losses and gradient norms of each step, trained in a process of its own through the command line.

    Args:
        trajectory: what.
        way: a name of its ways.
        folder: for the model, the preferences and the run; a run that is there already is read.

    Raises:
        InputError: there is no such way.
        ExpandrError: the command failed.
    """
    if way not in trajectory.ways:
        raise unknown_name("way", way, trajectory.ways)
    chosen, output = trajectory.ways[way], folder / way.replace(" ", "-")
    words = [*trajectory.command, *chosen.options]
    shape = {name: getattr(trajectory, name) for name in ("hidden_size", "layers", "vocabulary")}
    places = make_inputs(named(words) - {"output"}, folder, shape) | {"output": str(output)}
    command = [word.format(**places) for word in words]
    start = ["-m", "expandr_ir", "train", *command]
    if chosen.processes > 1:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={chosen.processes}", *start]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *start], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExpandrError(f"{way}: expandr train {' '.join(command)}\n{done.stderr[-3000:]}", expected="exit code 0")
    steps = [point for point in _logged(output) if "grad_norm" in point]
    return {name: [float(point[name]) for point in steps] for name in QUANTITIES}


def _logged(output: Path) -> list[dict[str, Any]]:
    """The logged points of a run: an expander's stand in its folder, a retriever's beside it."""
    from expandr_ir.train.run_folder import read_curves

    if found := read_curves(output):
        return found
    from expandr_ir.train.retriever import LOG, work_folder

    log = work_folder(output) / LOG
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def record(name: str, way: str, found: Mapping[str, Sequence[float]]) -> Path:
    """Writes a trajectory into its file as the reference, in place of the one that is there; returns the file.

    Args:
        name: of the trajectory, or its file.
        way: by which it was found.
        found: losses and gradient norms.
    """
    path = trajectory_path(name)
    text = path.read_text(encoding="utf-8")
    versions = {package: version for package, version in installed_versions().items() if package in VERSIONS}
    block: dict[str, Any] = {"way": way, "versions": versions}
    block |= {quantity: [float(f"{value:.6g}") for value in found[quantity]] for quantity in QUANTITIES}
    kept = text.split("\nrecorded:")[0].rstrip("\n")
    with atomic_write(path) as stream:
        stream.write(kept + "\n" + yaml.safe_dump({"recorded": block}, sort_keys=False, default_flow_style=None))
    return path
