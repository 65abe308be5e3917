"""What the proofs share: their files in regressions/training/proofs, means over seeds, the check of the figures."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import yaml

from expandr_ir.blocks import load_block
from expandr_ir.config import TRAINING, JsonField, regressions_dir
from expandr_ir.evaluate import Scores
from expandr_ir.evaluate.compare import TIE
from expandr_ir.evaluate.significance import holm, t_test
from expandr_ir.io.files import atomic_write
from expandr_ir.io.manifest import installed_versions

PROOFS = "proofs"
VERSIONS = ("python", "platform", "torch", "transformers", "sentence-transformers", "trl", "peft", "pyserini")


@dataclass(frozen=True)
class Recorded:
    """What a proof gave.

    Args:
        seeds: that it was run with; others are not held against it.
        versions: with what.
        figures: by name.
    """

    seeds: list[int] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ProofFile:
    """A regression that takes a long training: regressions/training/proofs/*.yaml.

    Args:
        title: for a reader.
        about: what it asks, and how it was settled beforehand.
        command: what makes its figures.
        recipe: of the script.
        tolerance: of a figure, in its own unit: other machines and versions train otherwise.
        tier: always training.
        recorded: what it gave.
    """

    title: str
    about: str
    command: str
    recipe: dict[str, JsonField]
    tolerance: float
    tier: Literal["training"] = "training"
    recorded: Recorded = field(default_factory=Recorded)


def proof_path(name: str) -> Path:
    """The file of a proof."""
    return regressions_dir() / TRAINING / PROOFS / f"{name}.yaml"


def load_proof(path: Path) -> ProofFile:
    """The proof of a file, checked."""
    return load_block(ProofFile, path)


def record(path: Path, seeds: Sequence[int], figures: Mapping[str, float]) -> None:
    """Writes figures into the file, in place of those that are there."""
    versions = {name: version for name, version in installed_versions().items() if name in VERSIONS}
    block = {"seeds": list(seeds), "versions": versions, "figures": {name: round(v, 4) for name, v in figures.items()}}
    kept = path.read_text(encoding="utf-8").split("\nrecorded:")[0].rstrip("\n")
    with atomic_write(path) as stream:
        stream.write(kept + "\n" + yaml.safe_dump({"recorded": block}, sort_keys=False, width=120))


def check(proof: ProofFile, seeds: Sequence[int], figures: Mapping[str, float]) -> int:
    """Prints how far the figures are from the recorded ones; 1 where one is further than the tolerance, else 0."""
    known = proof.recorded.figures
    if not known or list(seeds) != proof.recorded.seeds:
        print("nothing was recorded with these seeds")
        return 0
    if known.keys() != figures.keys():
        print(f"FAIL: other figures than the recorded ones: {', '.join(sorted(known.keys() ^ figures.keys()))}")
        return 1
    off = {name: figures[name] - value for name, value in known.items()}
    failed = {name: value for name, value in off.items() if not abs(value) <= proof.tolerance}  # NaN fails
    for name, value in failed.items():
        print(f"FAIL {name}: {figures[name]:.4f}, recorded {known[name]:.4f} ({value:+.4f})")
    most = max(map(abs, off.values()))
    print(f"{len(known) - len(failed)} of {len(known)} figures are within {proof.tolerance:g}; at most {most:.4f} off")
    return 1 if failed else 0


def proof_parser(about: str, path: Path) -> argparse.ArgumentParser:
    """The options that every proof has."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--proof", type=Path, default=path, help="file with the recipe and what was recorded")
    parser.add_argument("--record", action="store_true", help="write the figures into that file")
    return parser


def finish(arguments: argparse.Namespace, proof: ProofFile, table: str, figures: Mapping[str, float]) -> int:
    """Writes and prints the table; records the figures, or holds them against the recorded ones."""
    with atomic_write(arguments.output / "table.md") as stream:
        stream.write(table)
    print(table)
    if arguments.record:
        record(arguments.proof, arguments.seeds, figures)
        return 0
    return check(proof, arguments.seeds, figures)


def averaged(scores: Sequence[Scores]) -> Scores:
    """Each topic's mean over the seeds, so that a paired test has one pair for each topic."""
    first = scores[0]
    per_topic = {
        measure: {
            key: statistics.fmean(one.per_topic[measure][key] for one in scores) for key in first.per_topic[measure]
        }
        for measure in first.per_topic
    }
    means = {measure: statistics.fmean(values.values()) for measure, values in per_topic.items()}
    return replace(first, means=means, per_topic=per_topic)


def mean_cell(values: Sequence[float]) -> str:
    """A mean, with the standard deviation over the seeds where there are some."""
    spread = f" ({statistics.stdev(values):.4f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def tested_table(
    what: tuple[str, str],
    rows: Mapping[str, Mapping[tuple[str, str], tuple[Scores, Scores]]],
    measures: Mapping[str, str],
) -> str:
    """Paired t-tests over the topics, corrected after Holm over the whole table, in Markdown.

    Args:
        what: the rows are, and what is compared in them.
        rows: by name, the scores of both sides of each pair of a baseline and what is held against it.
        measures: of each row.
    """
    differences = {
        (name, base, other): [
            after.per_topic[measures[name]][key] - value for key, value in before.per_topic[measures[name]].items()
        ]
        for name, pairs in rows.items()
        for (base, other), (before, after) in pairs.items()
    }
    p_values = {key: t_test(values) for key, values in differences.items()}
    corrected = holm(p_values)
    head = (*what, "against", "difference", "p", f"p (Holm, {len(differences)} tests)", "better/worse")
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---:|---:|---:|---:|"]
    for key, values in differences.items():
        name, base, other = key
        better, worse = sum(one >= TIE for one in values), sum(one <= -TIE for one in values)
        tests = f"{_p(p_values[key])} | {_p(corrected[key])}"
        lines.append(f"| {name} | {other} | {base} | {statistics.fmean(values):+.4f} | {tests} | {better}/{worse} |")
    return "\n".join(lines)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def write_plot(path: Path, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> None:
    """Writes a drawing of lines as an SVG file that needs no page around it.

    Args:
        path: of the file.
        series: points (x, y) by name, at most six.
        x_label, y_label: of the axes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "axes.grid": True, "grid.alpha": 0.4}):
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=x_label, ylabel=y_label)
        for marker, (name, own) in zip("soD^v*", series.items(), strict=False):
            axes.plot(*zip(*own, strict=True), marker=marker, label=name)
        axes.legend()
        with atomic_write(path) as stream:
            figure.savefig(stream, format="svg", metadata={"Date": None})
