"""Measured values in the user's own file, and from there, by a deliberate act, among the regressions."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import atomic_write
from expandr_ir.regress.files import RECORDED, read_block, unknown
from expandr_ir.regress.loading import Regressions
from expandr_ir.regress.results import Result, Results
from expandr_ir.regress.reuse import DENSE_PACKAGES, SPARSE_PACKAGES
from expandr_ir.regress.spec import Figure, Spec
from expandr_ir.regress.verdict import rounded

FORMAT = "expandr-record/1"
LIVE_SEEDS = 3
"""The least seeds that a band of an LLM's samples is made of."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Measured values of one condition.

    Args:
        collection, condition: whose.
        tier: of the condition.
        python: version of Python, such as "3.11": the embedded collection depends on it.
        date: of the results.
        versions: of what the run was made with.
        generator: the LLM and its revision, for live conditions.
        seed: of its samples, for live conditions.
        values: metric -> value, unrounded.
    """

    collection: str
    condition: str
    tier: str
    python: str
    date: str
    versions: dict[str, str]
    generator: str | None
    seed: int | None
    values: dict[str, float]

    @property
    def key(self) -> tuple[str, str, str, str | None, int | None]:
        """Of two records of one key, the later one counts."""
        return self.collection, self.condition, self.python, self.generator, self.seed


def record(path: Path, results: Results, generator: str | None = None, seed: int | None = None) -> int:
    """Adds the measured values to a file, and returns how many records it has now.

    Args:
        path: the file; what it has already stays.
        results: what was measured.
        generator: the LLM of live conditions, with its revision.
        seed: of live conditions.

    Raises:
        InputError: the file is something else.
    """
    kept = {one.key: one for one in read_records(path)} if path.exists() else {}
    for result in results.results:
        one = _record(result, results, generator, seed)
        if one.values:
            kept[one.key] = one
    with atomic_write(path) as stream:
        json.dump({"format": FORMAT, "records": [asdict(one) for one in kept.values()]}, stream, indent=1)
        stream.write("\n")
    return len(kept)


def read_records(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        MissingResourceError: there is no such file.
        InputError: it is something else.
    """
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there", expected="a file that expandr regress --record wrote")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] == FORMAT:
            return [Record(**one) for one in data["records"]]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no records ({type(error).__name__}: {error})", expected=FORMAT) from error
    raise InputError(f"{path} has the format {data['format']!r}", expected=FORMAT)


def promote(path: Path, regressions: Regressions) -> dict[str, Path]:
    """Merges a file of records into the regressions, and returns the files written, by collection.

    A condition gets its values, rounded as they are printed, with its tier's tolerance; a live one the mean over
    its seeds and their largest distance from it. Values that were promoted before give way.

    Raises:
        InputError: a record of an unknown collection, condition or metric; of a metric that has a published figure;
            or of a live condition with fewer than three seeds.
    """
    grouped: defaultdict[str, defaultdict[tuple[str, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for one in read_records(path):
        if one.collection not in regressions.files:
            raise unknown(str(path), "collection", one.collection, regressions.files)
        grouped[one.collection][one.condition, one.python].append(one)
    tables = {name: _tables(path, regressions.load(name), groups.values()) for name, groups in grouped.items()}
    return {name: _write(regressions.folder, name, added) for name, added in tables.items() if added}


def _record(result: Result, results: Results, generator: str | None, seed: int | None) -> Record:
    live = result.tier == "live"
    packages = SPARSE_PACKAGES + (DENSE_PACKAGES if result.family in {"dense", "hybrid", "live"} else ())
    return Record(
        collection=result.collection,
        condition=result.condition,
        tier=result.tier,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        date=results.date,
        versions={name: results.versions[name] for name in packages if name in results.versions},
        generator=generator if live else None,
        seed=seed if live else None,
        values={value.metric: value.measured for value in result.values if value.measured is not None},
    )


def _tables(path: Path, spec: Spec, groups: Iterable[list[Record]]) -> list[dict[str, Any]]:
    found = []
    for records in groups:
        first = records[0]
        if first.condition not in spec.conditions:
            raise unknown(str(path), f"condition of {spec.name}", first.condition, spec.conditions)
        new = {
            name: _figure(path, spec, records, name) for name in first.values if not _is_published(spec, first, name)
        }
        if new:
            table: dict[str, Any] = {"source": _source(records), "metrics": list(new)}
            table |= {"tolerance": max(one.tolerance for one in new.values())} if first.tier == "live" else {}
            table |= {"python": first.python} if spec.embedded else {}
            found.append(table | {"rows": {first.condition: [one.value for one in new.values()]}})
    return found


def _is_published(spec: Spec, one: Record, metric: str) -> bool:
    if metric not in spec.metrics:
        raise unknown("the record", f"metric of {spec.name}", metric, spec.metrics)
    figure = spec.expected.get(one.condition, {}).get(metric)
    return figure is not None and not figure.source.startswith("recorded on ")


def _figure(path: Path, spec: Spec, records: list[Record], metric: str) -> Figure:
    precision = spec.metrics[metric].precision
    values = [one.values[metric] for one in records]
    if records[0].tier != "live":
        return Figure(float(rounded(values[-1], precision)), 0.0, "")
    seeds = {one.seed for one in records}
    models = {one.generator for one in records}
    if len(seeds) < LIVE_SEEDS or len(models) > 1:
        raise InputError(
            f"{path}: {spec.name}, {records[0].condition}: {len(seeds)} seeds of {len(models)} generators",
            expected=f"{LIVE_SEEDS} seeds or more of one generator",
            remedy="expandr regress --generator NAME --seed 0 --record FILE, then --seed 1 and --seed 2",
        )
    mean = rounded(statistics.fmean(values), precision)
    apart = max(abs(rounded(value, precision) - mean) for value in values)
    return Figure(float(mean), float(apart), "")


def _source(records: list[Record]) -> str:
    last = records[-1]
    listed = ", ".join(f"{name} {version}" for name, version in last.versions.items() if name != "platform")
    live = f"; {last.generator}, seeds {', '.join(str(one.seed) for one in records)}" if last.tier == "live" else ""
    return f"recorded on {last.date[:10]} with {listed}{live}"


def _write(folder: Path, name: str, added: list[dict[str, Any]]) -> Path:
    """The collection's file of recorded figures: those of before that are not in the new tables, and these."""
    target = folder / RECORDED / f"{name}.yaml"
    tables: list[dict[str, Any]] = []
    if target.is_file():
        tables = [table.plain() for table in read_block(target).blocks("values")]
    for table in added:
        (condition,) = table["rows"]
        for other in tables:
            if other.get("python") == table.get("python"):
                other["rows"].pop(condition, None)
    tables = _joined([table for table in tables if table["rows"]] + added)
    with atomic_write(target) as stream:
        stream.write("# Written by `expandr regress --promote`.\n")
        yaml.safe_dump(
            {"values": tables}, stream, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
        )
    return target


def _joined(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tables that differ in their rows alone, as one."""
    joined: dict[str, dict[str, Any]] = {}
    for table in tables:
        head = {name: value for name, value in table.items() if name != "rows"}
        own = joined.setdefault(json.dumps(head, sort_keys=True), head | {"rows": {}})
        own["rows"] |= table["rows"]
    return list(joined.values())
