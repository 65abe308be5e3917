"""Relevance judgements: TREC's four columns, BEIR's TSV or JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.io.files import read_jsonl, read_lines, text_field
from expandr_ir.io.topics import check_id
from expandr_ir.records import Qrels

BEIR_HEADER = ["query-id", "corpus-id", "score"]
JSON_FIELDS = (
    ("query-id", "query_id", "topic_id"),
    ("corpus-id", "corpus_id", "doc_id"),
    ("score", "grade", "relevance"),
)
TREC_COLUMNS = ["topic_id", "iteration", "doc_id", "grade"]

LARGEST_GRADE = 1_000
"""Above, trec_eval needs seconds a topic (10^5) or all memory (10^8), and gains of 2^grade are beyond a float."""

_GRADE = re.compile("[+-]?[0-9]{1,300}")
_BLANKS = re.compile(r"[ \t\r\n\f\v]+")


def read_qrels(path: str | Path) -> Qrels:
    """The judgements of a file, plain or .gz: topic_id -> doc_id -> grade; a repeated judgement counts once.

    Args:
        path: TREC's `topic_id iteration doc_id grade`; BEIR's TSV, known by its header `query-id corpus-id score`; or
            in a file that ends in .jsonl an object a line with the fields of that header.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a line that does not fit, a grade beyond LARGEST_GRADE, two grades of one document, or no judgement.
    """
    path = Path(path)
    qrels: Qrels = {}
    for where, topic_id, doc_id, grade in _json_rows(path) if _is_json(path) else _rows(path):
        if not _GRADE.fullmatch(grade):
            raise InputError(f"{where}: the grade {grade[:20]!r}", expected="an integer grade, such as 0 or 1")
        add_judgement(qrels, topic_id, doc_id, int(grade), where)
    if not qrels:
        raise InputError(f"{path}: no judgements", expected="at least one judgement")
    return qrels


def add_judgement(qrels: Qrels, topic_id: str, doc_id: str, grade: int, where: str) -> None:
    """Adds a judgement; another grade for the same topic and document is an error."""
    check_id(topic_id, "topic", where)
    check_id(doc_id, "document", where)
    check_grade(grade, where)
    earlier = qrels.setdefault(topic_id, {}).setdefault(doc_id, grade)
    if earlier != grade:
        raise InputError(
            f"{where}: topic {topic_id!r}, document {doc_id!r} has grade {grade}, but {earlier} before",
            expected="one grade for a topic and document",
        )


def check_grade(grade: int, where: str) -> None:
    """Refuses a grade that measures cannot be computed with."""
    if not -LARGEST_GRADE <= grade <= LARGEST_GRADE:
        raise InputError(
            f"{where}: the grade {grade}", expected=f"a grade from {-LARGEST_GRADE:,} to {LARGEST_GRADE:,}"
        )


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def _json_rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """As `_rows`, of JSON lines; a grade may be 1.0, as data frames write it."""
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        fields = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in row.items()}
        topic_id, doc_id, grade = (text_field(fields, names, where) for names in JSON_FIELDS)
        yield where, topic_id, doc_id, grade


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """File and line, topic_id, doc_id and grade of each judgement."""
    header: list[str] | None = None
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        columns = line.split("\t") if header == BEIR_HEADER else _BLANKS.split(line.strip(" \t\f\v"))
        if header is None:
            header = BEIR_HEADER if columns == BEIR_HEADER else TREC_COLUMNS
            if header == BEIR_HEADER:
                continue
        if len(columns) != len(header):
            raise InputError(
                f"{where}: {len(columns)} columns",
                expected=f"{len(header)} columns: {' '.join(header)}",
                remedy=f"BEIR's TSV starts with the line {'<TAB>'.join(BEIR_HEADER)}" if len(columns) == 3 else None,
            )
        yield where, columns[0], columns[-2], columns[-1]
