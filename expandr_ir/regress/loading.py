"""regressions/*.yaml: read strictly; what is wrong is named with file and line."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.regress.catalogue import Catalogue, read_catalogue
from expandr_ir.regress.files import RECORDED, Block, collection_files, read_block, regressions_dir, unknown
from expandr_ir.regress.spec import Band, Condition, Figure, Figures, Metric, Spec

_KEYS = (
    *(
        "title",
        "folder",
        "irds",
        "pyserini",
        "index",
        "flat_index",
        "dense_indexes",
        "embedded",
        "split",
        "expansions",
        "statistics",
    ),
    *("statistics_source", "metrics", "sets", "conditions", "values", "published", "mean_of"),
)
_TABLE_KEYS = ("source", "tolerance", "metrics", "rows", "python")
_INDEX_FIELDS = ("flat", "multifield")
_COUNTS = ("documents", "terms")


class Regressions:
    """The regressions of a folder, each read when it is asked for.

    Args:
        folder: the folder; None is the one that comes with this package.

    Raises:
        InputError: conditions.yaml does not fit.
        MissingResourceError: there are no regressions.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or regressions_dir()
        self.files = collection_files(self.folder)
        self.catalogue: Catalogue = read_catalogue(self.folder)

    def names(self) -> list[str]:
        """The collections' names."""
        return list(self.files)

    def load(self, name: str) -> Spec:
        """The regression of a collection.

        Raises:
            InputError: no such name, or a file that does not fit.
        """
        if name not in self.files:
            raise unknown("--collection", "collection", name, self.files)
        path = self.files[name]
        group = path.parent.relative_to(self.folder).as_posix()
        return _spec(name, "" if group == "." else group, path, self.catalogue, self.folder / RECORDED / path.name)


def _spec(name: str, group: str, path: Path, catalogue: Catalogue, recorded: Path) -> Spec:
    root = read_block(path)
    root.check_keys(_KEYS)
    metrics = _metrics(root, catalogue)
    expected: Figures = {}
    published: Figures = {}
    blocks = [(table, expected) for table in root.blocks("values")]
    blocks += [(table, published) for table in root.blocks("published")]
    if recorded.is_file():
        extra = read_block(recorded)
        extra.check_keys(("values",))
        blocks += [(table, expected) for table in extra.blocks("values")]
    with_figures = dict.fromkeys(row for table, _ in blocks for row in table.block("rows"))
    for table, figures in blocks:
        _add_table(table, figures, metrics, catalogue)
    return Spec(
        name=name,
        group=group,
        path=str(path),
        title=root.take("title", str),
        folder=root.take("folder", str, None),
        irds=root.take("irds", str, None),
        pyserini=root.take("pyserini", str, None),
        index=root.take("index", str, None),
        flat_index=root.take("flat_index", str, None),
        dense_indexes=tuple(root.texts("dense_indexes")),
        embedded=root.take("embedded", bool, default=False),
        split=root.take("split", str, None),
        expansions=root.take("expansions", str, None),
        statistics=_statistics(root.block("statistics")),
        statistics_source=root.take("statistics_source", str, ""),
        metrics=metrics,
        conditions=_conditions(root, catalogue, list(with_figures)),
        expected=expected,
        published=published,
        mean_of=tuple(root.texts("mean_of")),
    )


def _metrics(root: Block, catalogue: Catalogue) -> dict[str, Metric]:
    root.take("metrics", list)
    for name in root.texts("metrics"):
        if name not in catalogue.metrics:
            raise unknown(root.where("metrics"), "metric", name, catalogue.metrics)
    return {name: catalogue.metrics[name] for name in root.texts("metrics")}


def _conditions(root: Block, catalogue: Catalogue, with_figures: list[str]) -> dict[str, Condition]:
    """Those of the sets, those that are named, and those that have figures, in the order of conditions.yaml."""
    named = root.texts("conditions")
    for name in root.texts("sets"):
        if name not in catalogue.sets:
            raise unknown(root.where("sets"), "set", name, catalogue.sets)
        named += catalogue.sets[name]
    for name in root.texts("conditions"):
        if name not in catalogue.conditions:
            raise unknown(root.where("conditions"), "condition", name, catalogue.conditions)
        if root.texts("conditions").count(name) > 1:
            raise InputError(f"{root.where('conditions')}: {name!r} a second time", expected="each condition once")
    wanted = {*named, *with_figures}
    return {name: condition for name, condition in catalogue.conditions.items() if name in wanted}


def _statistics(block: Block) -> dict[str, dict[str, Band]]:
    block.check_keys(_INDEX_FIELDS)
    found: dict[str, dict[str, Band]] = {}
    for fields in block:
        counts = block.block(fields)
        counts.check_keys(_COUNTS)
        found[fields] = {name: _band(counts, name) for name in counts}
    return found


def _band(counts: Block, name: str) -> Band:
    value = counts.take(name, (int, list))
    low, high = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if not (isinstance(low, int) and isinstance(high, int) and low <= high):
        raise InputError(f"{counts.where(name)}: {name} is {value}", expected="a number, or [smallest, largest]")
    return low, high


def _add_table(table: Block, figures: Figures, metrics: Mapping[str, Metric], catalogue: Catalogue) -> None:
    """Adds a table's figures: a row of numbers for each condition, a column for each of its metrics."""
    table.check_keys(_TABLE_KEYS)
    source = _source(table, catalogue)
    rows = table.block("rows")
    columns = table.texts("metrics") or list(metrics)
    for metric in columns:
        if metric not in metrics:
            raise unknown(table.where("metrics"), "metric of this collection", metric, metrics)
    for name in rows:
        if name not in catalogue.conditions:
            raise unknown(rows.where(name), "condition", name, catalogue.conditions)
        default = catalogue.tolerances[catalogue.conditions[name].tier]
        tolerance = float(table.take("tolerance", (int, float), default))
        own = figures.setdefault(name, {})
        for metric, value in _cells(rows, name, columns):
            if metric in own and _applies(table):
                raise InputError(
                    f"{rows.where(name)}: a second {metric} of {name!r}", expected="one figure of each metric"
                )
            if _applies(table):
                own[metric] = Figure(value, tolerance, source)


def _source(table: Block, catalogue: Catalogue) -> str:
    key: str = table.take("source", str)
    if not key.strip():
        raise InputError(f"{table.where('source')}: a figure without a source", expected="where it stands")
    if " " not in key and key not in catalogue.sources:
        raise unknown(table.where("source"), "source", key, catalogue.sources)
    return catalogue.sources.get(key, key)


def _applies(table: Block) -> bool:
    """Whether the table is of the Python that runs; one that names none is of every Python."""
    return table.take("python", str, "") in {"", f"{sys.version_info[0]}.{sys.version_info[1]}"}


def _cells(rows: Block, name: str, columns: list[str]) -> Iterator[tuple[str, float]]:
    values: list[Any] = rows.take(name, list)
    if len(values) != len(columns):
        raise InputError(
            f"{rows.where(name)}: {len(values)} figures of {name!r}", expected=f"{len(columns)}: {', '.join(columns)}"
        )
    for metric, value in zip(columns, values, strict=True):
        if value is None:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"{rows.where(name)}: {metric} of {name!r} is {value!r}", expected="a number, or null")
        yield metric, float(value)
