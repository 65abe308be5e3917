"""Measured values in the user's own file, and from there, by a deliberate act, among the regressions."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from expandr_ir.blocks import parse_mapping, unknown
from expandr_ir.errors import InputError
from expandr_ir.io.files import write_json, write_text
from expandr_ir.regress.catalogue import RECORDED, Regression, Regressions, list_versions
from expandr_ir.regress.results import Results, read_format, rounded
from expandr_ir.regress.reuse import DENSE_PACKAGES, SPARSE_PACKAGES

FORMAT = "expandr-record/1"
LIVE_SEEDS = 3
"""The least seeds that a band of an LLM's samples is made of."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Measured values of one condition."""

    collection: str
    condition: str
    tier: str
    python: str  # such as "3.11": the embedded collection depends on it
    date: str
    versions: dict[str, str]
    generator: str | None  # the LLM of a live condition, with its revision
    seed: int | None  # of its samples
    values: dict[str, float]  # metric -> value, unrounded

    @property
    def key(self) -> tuple[str, str, str, str | None, int | None]:
        """Of two records of one key, the later one counts."""
        return self.collection, self.condition, self.python, self.generator, self.seed


@dataclass(frozen=True)
class Records:
    """The content of a file of records."""

    records: tuple[Record, ...]


def record(path: Path, results: Results, seed: int | None = None) -> int:
    """Adds the measured values (trainings are recorded in their own way); returns the number of the file's records.

    `seed` is that of an LLM's samples.
    """
    records = {record.key: record for record in read_records(path)} if path.exists() else {}
    for result in results.results:
        live = result.tier == "live"
        packages = SPARSE_PACKAGES + (DENSE_PACKAGES if result.family in {"dense", "hybrid", "live"} else ())
        measured = Record(
            collection=result.collection,
            condition=result.condition,
            tier=result.tier,
            python=f"{sys.version_info[0]}.{sys.version_info[1]}",
            date=results.date,
            versions={name: results.versions[name] for name in packages if name in results.versions},
            generator=result.generator,
            seed=seed if live else None,
            values={value.metric: value.measured for value in result.values if value.measured is not None},
        )
        if measured.values and result.tier != "training":
            records[measured.key] = measured
    write_json(path, {"format": FORMAT, "records": [asdict(record) for record in records.values()]}, indent=1)
    return len(records)


def read_records(path: Path) -> list[Record]:
    """The records of a file."""
    return list(read_format(path, FORMAT, Records, "a file that expandr regress --record wrote").records)


def promote(path: Path, regressions: Regressions) -> dict[str, Path]:
    """Merges a file of records into the regressions, and returns the files written, by collection.

    Values that were promoted before give way; published ones stay.
    """
    grouped: defaultdict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for one in read_records(path):
        if one.collection not in regressions.files:
            raise unknown(one.collection, "collection", regressions.files, str(path))
        grouped[one.collection, one.condition, one.python].append(one)
    tables: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for (collection, _, _), records in grouped.items():
        if table := _table(path, regressions.load(collection), records):
            tables[collection].append(table)
    return {name: _write(regressions.folder / RECORDED / f"{name}.yaml", added) for name, added in tables.items()}


def _table(path: Path, regression: Regression, records: Sequence[Record]) -> dict[str, Any]:
    """The table of one condition, as its file holds it; none where all its figures are published ones."""
    last, name = records[-1], records[-1].condition
    if name not in regression.conditions:
        raise unknown(name, f"condition of {regression.name}", regression.conditions, str(path))
    figures: dict[str, tuple[float, float]] = {}
    for metric in last.values:
        if metric not in regression.metrics:
            raise unknown(metric, f"metric of {regression.name}", regression.metrics, str(path))
        known = regression.expected.get(name, {}).get(metric)
        if known is None or known.source.startswith("recorded on "):
            figures[metric] = _band(path, records, metric, regression.metrics[metric].precision)
    if not figures:
        return {}
    live = f"; {last.generator}, seeds {', '.join(str(one.seed) for one in records)}" if last.tier == "live" else ""
    table: dict[str, Any] = {
        "source": f"recorded on {last.date[:10]} with {list_versions(last.versions)}{live}",
        "metrics": list(figures),
    }
    table |= {"tolerance": max(apart for _, apart in figures.values())} if live else {}
    table |= {"python": last.python} if regression.facts.embedded else {}
    return table | {"rows": {name: [value for value, _ in figures.values()]}}


def _band(path: Path, records: Sequence[Record], metric: str, precision: int) -> tuple[float, float]:
    """The figure, and for a live condition its largest distance from those of the seeds."""
    values = [one.values[metric] for one in records]
    if records[0].tier != "live":
        return float(rounded(values[-1], precision)), 0.0
    seeds, models = {one.seed for one in records}, {one.generator for one in records}
    if len(seeds) < LIVE_SEEDS or len(models) > 1:
        raise InputError(
            f"{path}: {records[0].collection}, {records[0].condition}: {len(seeds)} seeds of {len(models)} generators",
            expected=f"{LIVE_SEEDS} seeds or more of one generator",
            remedy="expandr regress --generator NAME --seed 0 --record FILE, then --seed 1 and --seed 2",
        )
    mean = rounded(statistics.fmean(values), precision)
    return float(mean), float(max(abs(rounded(value, precision) - mean) for value in values))


def _write(path: Path, added: Sequence[dict[str, Any]]) -> Path:
    """The collection's file of recorded figures: those of before that the new tables do not have, and these."""
    tables = parse_mapping(path.read_bytes(), str(path))["values"] if path.is_file() else []
    for table, other in ((table, other) for table in added for other in tables):
        if other.get("python") == table.get("python"):
            other["rows"].pop(*table["rows"], None)
    joined: dict[str, dict[str, Any]] = {}
    for table in (*tables, *added):  # those that differ in their rows alone become one
        head = {name: value for name, value in table.items() if name != "rows"}
        joined.setdefault(json.dumps(head, sort_keys=True), head | {"rows": {}})["rows"] |= table["rows"]
    content = {"values": [table for table in joined.values() if table["rows"]]}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    write_text(path, f"# Written by `expandr regress --promote`.\n{text}")
    return path
