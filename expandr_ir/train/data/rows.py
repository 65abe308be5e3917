"""Training rows: a query, texts that answer it and texts that do not; from files, collections and data sets."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import read_jsonl, text_field
from expandr_ir.runtime import require

logger = logging.getLogger(__name__)

HUB = "hub:"
ID_FIELDS = ("row_id", "query_id", "topic_id", "_id", "id")
POSITIVE_FIELDS = ("positives", "positive", "pos")
NEGATIVE_FIELDS = ("negatives", "negative", "neg")
FORM = '{"query": TEXT, "positive": TEXT or [TEXT, ...], "negative": TEXT or [TEXT, ...] (may be absent)} on each line'


@dataclass(frozen=True)
class TrainingRow:
    """A query with texts that answer it, at least one, and texts that do not."""

    row_id: str  # the source's own, else a hash of the query; of several files, with their name before it
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def normalized(query: str) -> str:
    """The form that duplicates share: NFKC, case folded, white space single and not around it."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def query_hash(query: str) -> str:
    """The SHA-256 of the normalised query, in hex."""
    return hashlib.sha256(normalized(query).encode("utf-8", "surrogatepass")).hexdigest()


def read_rows(source: str | Path, split: str | None = None) -> Iterator[TrainingRow]:
    """The rows of a source, in its order; the source is read as far as they are taken.

    Args:
        source: a JSONL file (plain or .gz) of {query, positive(s) or pos, negative(s) or neg}, as echo-embeddings has
            them and `train split` writes them; a folder of such files; a collection (a folder in BEIR's layout,
            irds:ID, pyserini:NAME, demo), whose relevant documents are the positives; or hub:ID, a data set of the
            Hugging Face hub (or hub:FOLDER, a local one) with the same fields.
        split: of a collection or a data set; None is "train". Files have none.
    """
    name = str(source)
    path = Path(name).expanduser()
    files = [path] if path.is_file() else _jsonl_files(path)
    if files and split is not None:
        raise InputError(f"split {split!r} of {name}", expected="a collection or a data set, which have splits")
    if files:
        return _file_rows(files)
    if name.startswith(HUB):
        return _hub_rows(name.removeprefix(HUB), split or "train")
    if name.endswith((".jsonl", ".jsonl.gz", ".json")):
        raise MissingResourceError(f"{name} is not there", expected="a JSONL file of training rows")
    return _collection_rows(name, split or "train")


def all_rows(sources: Sequence[str], split: str | None) -> Iterator[TrainingRow]:
    """The rows of all sources; with several, a source's name stands before its rows' ids."""
    for source in sources:
        prefix = f"{Path(source).name.split('.')[0]}:" if len(sources) > 1 else ""
        for row in read_rows(source, split):
            yield replace(row, row_id=prefix + row.row_id) if prefix else row


def mark_new_queries(rows: Iterable[TrainingRow]) -> Iterator[tuple[TrainingRow, bool]]:
    """Each row, and whether its query (`normalized`) is new; two different queries of one id are an error."""
    queries: set[bytes] = set()
    ids: dict[str, bytes] = {}
    for row in rows:
        query = bytes.fromhex(query_hash(row.query))
        if ids.setdefault(row.row_id, query) != query:
            raise InputError(
                f"two queries have the id {row.row_id!r}; one is {row.query!r}",
                expected="an id of its own for each query, or no ids (a hash of the query then is the id)",
            )
        yield row, query not in queries
        queries.add(query)


def distinct_queries(rows: Iterable[TrainingRow]) -> tuple[list[TrainingRow], int]:
    """The first row of each query, in order, and the number of further rows, which are left out."""
    marked = list(mark_new_queries(rows))
    return [row for row, is_new in marked if is_new], sum(not is_new for _, is_new in marked)


def parse_row(row: Mapping[str, Any], where: str, prefix: str = "") -> TrainingRow:
    """The training row of a JSON object; `where` is its file and line, `prefix` goes before an id of its own."""
    query = text_field(dict(row), ("query",), where)
    if not isinstance(row["query"], str):
        raise InputError(f"{where}: 'query' is a {type(row['query']).__name__}", expected="'query' as a string")
    _check_text(query, f"{where}: the query")
    id_field = next((name for name in ID_FIELDS if row.get(name) is not None), None)
    row_id = prefix + text_field(dict(row), (id_field,), where) if id_field else query_hash(query)[:16]
    _check_text(row_id, f"{where}: {id_field!r}", expected="an id, or none at all")
    positives = _texts(row, POSITIVE_FIELDS, where)
    if not positives:
        raise InputError(f"{where}: no positive", expected=FORM)
    return TrainingRow(row_id, query, positives, _texts(row, NEGATIVE_FIELDS, where))


def row_json(row: TrainingRow) -> dict[str, Any]:
    """A training row as the JSON object that `read_rows` reads back."""
    texts = {"positives": list(row.positives), "negatives": list(row.negatives)}
    return {"row_id": row.row_id, "query": row.query, **texts}


def relevant_ids(grades: Mapping[str, int]) -> list[str]:
    """The relevant documents of a topic, best grade first, by id where grades are equal."""
    return sorted(
        (doc_id for doc_id, grade in grades.items() if grade > 0), key=lambda doc_id: (-grades[doc_id], doc_id)
    )


def document_texts(collection: Collection, doc_ids: AbstractSet[str]) -> dict[str, str]:
    """The documents as training texts, title, a blank, and text, as far as the collection has them."""
    documents = (document for document in collection.documents() if document.doc_id in doc_ids)
    return {document.doc_id: f"{document.title} {document.text}".strip() for document in documents}


def _collection_rows(spec: str, split: str) -> Iterator[TrainingRow]:
    """A row for each judged topic with a relevant document, in the topics' order."""
    collection = load_collection(spec)
    topics, qrels = collection.topics(split), collection.qrels(split)
    relevant = {topic_id: ids for topic_id in topics if (ids := relevant_ids(qrels.get(topic_id, {})))}
    if not relevant:
        raise InputError(f"{spec}, split {split}: no topic has a relevant document", expected="grades above 0")
    if len(relevant) < len(topics):
        logger.warning("%s, split %s: %d topics without a relevant document", spec, split, len(topics) - len(relevant))
    doc_ids = {doc_id for ids in relevant.values() for doc_id in ids}
    texts = document_texts(collection, doc_ids)
    if missing := sorted(doc_ids - texts.keys()):
        raise InputError(f"{spec} lacks the documents {', '.join(missing[:3])} ({len(missing)} in all)")
    if empty := sorted(doc_id for doc_id in doc_ids if not texts[doc_id]):
        raise InputError(f"{spec}: document {empty[0]!r} is relevant and empty", expected="a text")
    for topic_id, ids in relevant.items():
        yield TrainingRow(topic_id, topics[topic_id].text, tuple(texts[doc_id] for doc_id in ids), ())


def _hub_rows(name: str, split: str) -> Iterator[TrainingRow]:
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


def _jsonl_files(folder: Path) -> list[Path]:
    """The JSONL files of a folder, sorted; none where it is a collection in BEIR's layout, or no folder."""
    files = sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.jsonl.gz"))
    return [] if {"corpus.jsonl", "corpus.jsonl.gz"} & {path.name for path in files} else sorted(files)


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
        _check_text(text, f"{where}: text {place} of {name!r}")
    return tuple(texts)


def _check_text(text: str, where: str, expected: str = "a text") -> None:
    if not text.strip():
        raise InputError(f"{where} is empty", expected=expected)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = error.start + 1
        raise InputError(f"{where} has half a surrogate pair at character {place}", expected="Unicode") from error
