"""What the proofs share: their files in regressions/training/proofs, searches, tables and the check of the figures."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from expandr_ir.blocks import load_block
from expandr_ir.collections import Collection
from expandr_ir.config import TRAINING, JsonField, regressions_dir
from expandr_ir.evaluate import Scores, score_run
from expandr_ir.evaluate.compare import TIE
from expandr_ir.evaluate.significance import holm, t_test
from expandr_ir.io.files import atomic_write, write_text
from expandr_ir.io.manifest import installed_versions
from expandr_ir.io.runs import read_run, write_run
from expandr_ir.records import ExpandedTopic
from expandr_ir.retrievers import SearchOptions, load_retriever

MEASURES = ("nDCG@10", "R@100")
VERSIONS = ("python", "platform", "torch", "transformers", "sentence-transformers", "trl", "peft", "pyserini")


@dataclass(frozen=True)
class Recorded:
    """The figures of a proof by name, the seeds (others are not held against them) and versions that gave them."""

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
    return regressions_dir() / TRAINING / "proofs" / f"{name}.yaml"


def load_proof(path: Path) -> ProofFile:
    return load_block(ProofFile, path)


def record(path: Path, seeds: Sequence[int], figures: Mapping[str, float]) -> None:
    """Writes figures into the file, in place of those that are there."""
    versions = {name: version for name, version in installed_versions().items() if name in VERSIONS}
    block = {"seeds": list(seeds), "versions": versions, "figures": {name: round(v, 4) for name, v in figures.items()}}
    recipe = path.read_text(encoding="utf-8").split("\nrecorded:")[0].rstrip("\n")
    write_text(path, recipe + "\n" + yaml.safe_dump({"recorded": block}, sort_keys=False, width=120))


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
    write_text(arguments.output / "table.md", table)
    print(table)
    if arguments.record:
        record(arguments.proof, arguments.seeds, figures)
        return 0
    return check(proof, arguments.seeds, figures)


def link_world(world: Path, source: Path) -> None:
    """A collection beside another one, with its documents and topics, and room for further splits."""
    (world / "qrels").mkdir(parents=True, exist_ok=True)
    for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        (world / name).unlink(missing_ok=True)
        (world / name).symlink_to(source / name)


def run_verb(folder: Path, *words: str, options: Mapping[str, Any]) -> None:
    """Runs a verb of the command line in a process of its own; its options and what it says go into the folder."""
    name = options["output"].removeprefix(str(folder)).strip("/").replace("/", "-")
    path = folder / "options" / f"{name}.yaml"
    write_text(path, yaml.safe_dump(dict(options), sort_keys=False))
    began = time.perf_counter()
    command = [sys.executable, "-m", "expandr_ir", *words, "--config", str(path)]
    with path.with_suffix(".log").open("a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    print(f"{' '.join(words)} {name}: {time.perf_counter() - began:.0f} s", flush=True)


def search(
    path: Path, collection: Collection, topics: Mapping[str, ExpandedTopic], split: str = "test", **options: object
) -> Scores:
    """What a search scores; its run is made where it is not there yet."""
    if not path.is_file():
        began = time.perf_counter()
        retriever = load_retriever(collection, SearchOptions(hits=100, **options))
        write_run(path, retriever.search(topics), path.stem)
        print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return score_run(read_run(path), collection.qrels(split), MEASURES, name=str(path))


def averaged(scores: Sequence[Scores]) -> Scores:
    """Each topic's mean over the seeds, so that a paired test has one pair for each topic."""
    per_topic = {
        measure: {key: statistics.fmean(seed.per_topic[measure][key] for seed in scores) for key in values}
        for measure, values in scores[0].per_topic.items()
    }
    means = {measure: statistics.fmean(values.values()) for measure, values in per_topic.items()}
    return replace(scores[0], means=means, per_topic=per_topic)


def mean_cell(values: Sequence[float]) -> str:
    """A mean, with the standard deviation over the seeds where there are some."""
    spread = f" ({statistics.stdev(values):.4f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first columns are words, the others figures."""
    line = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, line, *rows))


def means_table(head: str, columns: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A row for each state; the columns have the states' values, one for each seed."""
    states = dict.fromkeys(state for values in columns.values() for state in values)
    rows = [
        [state, *(mean_cell(values[state]) if state in values else "" for values in columns.values())]
        for state in states
    ]
    return markdown((head, *columns), rows)


def differences(before: Scores, after: Scores, measure: str) -> list[float]:
    """What each topic gains."""
    return [after.per_topic[measure][key] - value for key, value in before.per_topic[measure].items()]


def tested_table(what: tuple[str, str], pairs: Mapping[tuple[str, str, str], Sequence[float]]) -> str:
    """Paired t-tests over the topics, corrected after Holm over the whole table, in Markdown.

    `pairs` has the topics' differences by row, what is tested, and the baseline that it is held against.
    """
    p_values = {key: t_test(values) for key, values in pairs.items()}
    corrected = holm(p_values)
    rows = []
    for key, values in pairs.items():
        better, worse = sum(value >= TIE for value in values), sum(value <= -TIE for value in values)
        mean = f"{statistics.fmean(values):+.4f}"
        rows.append([*key, mean, _p(p_values[key]), _p(corrected[key]), f"{better}/{worse}"])
    return markdown((*what, "against", "difference", "p", f"p (Holm, {len(pairs)} tests)", "better/worse"), rows, 3)


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def write_plot(path: Path, series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> None:
    """Draws lines, at most eight, given by their points (x, y), as an SVG file that needs no page around it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "axes.grid": True, "grid.alpha": 0.4}):
        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.subplots()
        axes.set(xlabel=x_label, ylabel=y_label)
        for marker, (name, points) in zip("soD^v*Px", series.items(), strict=False):
            axes.plot(*zip(*points, strict=True), marker=marker, label=name)
        axes.legend()
        with atomic_write(path) as stream:
            figure.savefig(stream, format="svg", metadata={"Date": None})
