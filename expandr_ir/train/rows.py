"""Training rows: a query with what answers it and what does not, from files, folders, collections and data sets."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import read_jsonl, text_field

HUB = "hub:"
ID_FIELDS = ("row_id", "query_id", "topic_id", "_id", "id")
POSITIVE_FIELDS = ("positives", "positive", "pos")
NEGATIVE_FIELDS = ("negatives", "negative", "neg")
FORM = '{"query": TEXT, "positive": TEXT or [TEXT, ...], "negative": TEXT or [TEXT, ...] (may be absent)} on each line'


@dataclass(frozen=True)
class TrainingRow:
    """One row of training data.

    Args:
        row_id: the source's own id where it has one, else a hash of the query; with several files, their name goes
            before it.
        query: as it is asked.
        positives: texts that answer it, at least one.
        negatives: texts that do not; there may be none.
    """

    row_id: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def normalized(query: str) -> str:
    """The query as two rows must share it to be duplicates: NFKC, case folded, white space single and not around it."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def query_hash(query: str) -> str:
    """The SHA-256 of the normalised query, in hex."""
    return hashlib.sha256(normalized(query).encode("utf-8", "surrogatepass")).hexdigest()


def read_rows(source: str | Path, split: str | None = None) -> Iterator[TrainingRow]:
    """The rows of a source, in its order; the source is read as far as they are taken.

    Args:
        source: a JSONL file (plain or .gz) of {query, positive(s) or pos, negative(s) or neg}, as echo-embeddings has
            them and `train split` writes them; a folder of such files; a collection (a folder in BEIR's layout,
            irds:ID, pyserini:NAME, demo), whose judged documents are the positives; or hub:ID, a data set of the
            Hugging Face hub (or hub:FOLDER, a local one) with the same fields.
        split: of a collection or a data set; None is "train". Files have none.

    Raises:
        InputError: a row without query or positive, an empty text or a wrong type, with file and line; a source that
            is none of these; or a split of a file.
        MissingResourceError: there is no such file, folder or data set.
        NotInstalledError: hub: without the package `datasets`.
    """
    name = str(source)
    path = Path(name).expanduser()
    files = [path] if path.is_file() else _files_of(path)
    if files and split is not None:
        raise InputError(f"split {split!r} of {name}", expected="a collection or a data set, which have splits")
    if files:
        return _file_rows(files)
    if name.startswith(HUB):
        return hub_rows(name.removeprefix(HUB), split or "train")
    if name.endswith((".jsonl", ".jsonl.gz", ".json")):
        raise MissingResourceError(f"{name} is not there", expected="a JSONL file of training rows")
    from expandr_ir.train.collection_rows import collection_rows

    return collection_rows(name, split or "train")


def distinct_queries(rows: Iterable[TrainingRow]) -> tuple[list[TrainingRow], int]:
    """The first row of each query (`normalized`), in order, and how many further rows were left out.

    Raises:
        InputError: two rows of different queries have one id.
    """
    kept: dict[str, TrainingRow] = {}
    ids: dict[str, str] = {}
    total = 0
    for row in rows:
        total += 1
        key = query_hash(row.query)
        if key in kept:
            continue
        if row.row_id in ids:
            raise InputError(
                f"the rows of {ids[row.row_id]!r} and {row.query!r} have one id, {row.row_id!r}",
                expected="an id of its own for each query, or no ids (a hash of the query then is the id)",
            )
        kept[key], ids[row.row_id] = row, row.query
    return list(kept.values()), total - len(kept)


def parse_row(row: Mapping[str, Any], where: str, prefix: str = "") -> TrainingRow:
    """The training row of a JSON object.

    Args:
        row: the object.
        where: file and line, for the error.
        prefix: put before the row's own id.

    Raises:
        InputError: no query, no positive, an empty text or a wrong type.
    """
    fields = dict(row)
    query = text_field(fields, ("query",), where)
    if not isinstance(row["query"], str):
        raise InputError(f"{where}: 'query' is a {type(row['query']).__name__}", expected="'query' as a string")
    if not query.strip():
        raise InputError(f"{where}: the query is empty", expected="a query")
    _check_unicode(query, f"{where}: the query")
    own = next((name for name in ID_FIELDS if row.get(name) is not None), None)
    row_id = prefix + text_field(fields, (own,), where) if own else query_hash(query)[:16]
    if not row_id.strip():
        raise InputError(f"{where}: {own!r} is empty", expected="an id, or none at all")
    positives = _texts(row, POSITIVE_FIELDS, where)
    if not positives:
        raise InputError(f"{where}: no positive", expected=FORM)
    return TrainingRow(row_id, query, positives, _texts(row, NEGATIVE_FIELDS, where))


def row_json(row: TrainingRow) -> dict[str, Any]:
    """A training row as the JSON object that `read_rows` reads back."""
    return {
        "row_id": row.row_id,
        "query": row.query,
        "positives": list(row.positives),
        "negatives": list(row.negatives),
    }


def hub_rows(name: str, split: str) -> Iterator[TrainingRow]:
    """The rows of a data set of the Hugging Face hub, or of a local folder that `datasets` reads.

    Raises:
        MissingResourceError: it cannot be loaded.
        InputError: no such split, or a faulty row, with its number from 1.
    """
    from expandr_ir.generators.base import require

    datasets = require("datasets", "train")
    try:
        loaded = datasets.load_dataset(name, split=split)
    except ValueError as error:
        raise InputError(f"{HUB}{name}, split {split}: {error}", remedy="--split NAME") from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        raise MissingResourceError(
            f"{HUB}{name} cannot be loaded: {str(error).splitlines()[0]}",
            expected="a data set of the hub, or a folder that `datasets` reads",
            remedy="download it where there is a network, and name the file: --rows FILE.jsonl",
        ) from error
    return (parse_row(row, f"{HUB}{name}, split {split}, row {number}") for number, row in enumerate(loaded, start=1))


def _files_of(folder: Path) -> list[Path]:
    """The JSONL files of a folder, sorted; none where it is a collection in BEIR's layout, or no folder."""
    if not folder.is_dir() or any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz")))


def _file_rows(files: list[Path]) -> Iterator[TrainingRow]:
    for path in files:
        prefix = f"{path.name.split('.')[0]}:" if len(files) > 1 else ""
        for line, row in read_jsonl(path):
            yield parse_row(row, f"{path}, line {line}", prefix)


def _texts(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The texts under the first of the names that the row has: a string is one text, null and no field are none."""
    name = next((name for name in names if row.get(name) is not None), names[0])
    value = row.get(name)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        raise InputError(f"{where}: {name!r} is a {type(value).__name__}", expected=FORM)
    for place, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise InputError(f"{where}: text {place} of {name!r} is a {type(text).__name__}", expected=FORM)
        if not text.strip():
            raise InputError(f"{where}: text {place} of {name!r} is empty", expected="a text")
        _check_unicode(text, f"{where}: text {place} of {name!r}")
    return tuple(texts)


def _check_unicode(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where} has half a surrogate pair at character {error.start + 1}", expected="Unicode"
        ) from error
