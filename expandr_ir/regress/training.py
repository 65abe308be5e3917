"""Trainings as regressions: trajectories, which take a minute, and proofs, which take hours and have a script."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from expandr_ir.blocks import load_block
from expandr_ir.config import TRAINING, regressions_dir
from expandr_ir.errors import NotInstalledError
from expandr_ir.regress.catalogue import CollectionFile, Condition, Figure, Figures, Metric, Regression, list_versions
from expandr_ir.regress.steps import Step
from expandr_ir.runtime import install_command

METRICS = ("loss max", "loss mean", "grad_norm max", "grad_norm mean")
"""Residuals of a trajectory: the largest and the mean |value - reference| / |reference| of its steps."""

FIGURES_OFF = "figures off"
"""Of a proof: the figures that are further from the recorded ones than its tolerance."""


@dataclass(frozen=True, kw_only=True)
class TrainingCondition(Condition):
    """A way to train a trajectory, or a proof, which is not run."""

    family: Literal["training"] = "training"
    tier: Literal["training"] = "training"
    command: str
    trajectory: str = ""
    way: str = ""
    skip: str = ""


@dataclass(frozen=True)
class Proof:
    """A file of regressions/training/proofs."""

    title: str
    about: str
    tier: Literal["training"]
    command: str
    tolerance: float
    recipe: dict[str, Any]
    recorded: dict[str, Any]


def load_trainings(folder: Path) -> Regression:
    """The trainings of a folder as the conditions of one collection; the figure of a residual is 0."""
    from expandr_ir.train.align.trajectory import load_trajectory

    conditions: dict[str, Condition] = {}
    expected: Figures = {}
    for path in sorted(folder.glob("*.yaml")):
        trajectory = load_trajectory(path)
        recorded, tolerance = trajectory.recorded, trajectory.tolerance
        source = f"recorded by the way {recorded.way!r} with {list_versions(recorded.versions)}"
        for way in trajectory.ways:
            name, about = f"{path.stem}.{way.replace(' ', '-')}", f"{trajectory.title}, {way}"
            named = path.stem if folder == regressions_dir() / TRAINING else str(path)
            command = shlex.join(["expandr", "train", "trajectory", named, "--way", way])
            conditions[name] = TrainingCondition(name=name, about=about, command=command, trajectory=str(path), way=way)
            expected[name] = {one: Figure(0.0, getattr(tolerance, one.split()[1]), source) for one in METRICS}
    for path in sorted((folder / "proofs").glob("*.yaml")):
        proof = load_block(Proof, path)
        about = f"{proof.title}: {len(proof.recorded['figures'])} figures within {proof.tolerance:g}; {proof.command}"
        skip = f"it trains for hours: {proof.command}"
        conditions[path.stem] = TrainingCondition(name=path.stem, about=about, command=proof.command, skip=skip)
        expected[path.stem] = {
            FIGURES_OFF: Figure(0.0, 0.0, f"recorded with {list_versions(proof.recorded['versions'])}")
        }
    metrics = {name: Metric(4) for name in METRICS} | {FIGURES_OFF: Metric(0)}
    facts = CollectionFile(title="Trainings", metrics=list(metrics))
    return Regression(TRAINING, TRAINING, facts, metrics, conditions, expected, {})


def measure_residuals(step: Step, folder: Path) -> dict[str, float]:
    """The residuals of a trajectory, trained in a process of its own below the folder, or read where it was."""
    from expandr_ir.train.align.trajectory import run_trajectory

    if not all(map(find_spec, ("trl", "peft"))):
        raise NotInstalledError("not installed: trl or peft", remedy=install_command("train"))
    condition = step.condition
    assert isinstance(condition, TrainingCondition)
    path = Path(condition.trajectory)
    figures = run_trajectory(path, condition.way, folder / TRAINING / path.stem)
    kinds = ("max", "mean")  # of a loss that is NaN they are infinite, which no JSON holds
    return {f"{name} {kind}": min(getattr(both, kind), 9999.0) for name, both in figures.items() for kind in kinds}
