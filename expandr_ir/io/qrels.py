"""Relevance judgements: TREC's four columns or BEIR's TSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.io.files import read_lines
from expandr_ir.io.topics import check_id
from expandr_ir.records import Qrels

BEIR_HEADER = ["query-id", "corpus-id", "score"]
TREC_COLUMNS = ["topic_id", "iteration", "doc_id", "grade"]

_BLANKS = re.compile(r"[ \t\r\n\f\v]+")


def read_qrels(path: str | Path) -> Qrels:
    """The judgements of a file, plain or .gz: topic_id -> doc_id -> grade; a repeated judgement counts once.

    Args:
        path: TREC's `topic_id iteration doc_id grade`, or BEIR's TSV, known by its header `query-id corpus-id score`.

    Raises:
        MissingResourceError: there is no such file.
        InputError: a line that does not fit, two grades of one document, or no judgement.
    """
    path = Path(path)
    qrels: Qrels = {}
    for where, topic_id, doc_id, grade in _rows(path):
        try:
            number = int(grade)
        except ValueError as error:
            raise InputError(f"{where}: the grade {grade!r}", expected="an integer grade, such as 0 or 1") from error
        add_judgement(qrels, topic_id, doc_id, number, where)
    if not qrels:
        raise InputError(f"{path}: no judgements", expected="at least one judgement")
    return qrels


def add_judgement(qrels: Qrels, topic_id: str, doc_id: str, grade: int, where: str) -> None:
    """Adds a judgement; another grade for the same topic and document is an error."""
    check_id(topic_id, "topic", where)
    check_id(doc_id, "document", where)
    earlier = qrels.setdefault(topic_id, {}).setdefault(doc_id, grade)
    if earlier != grade:
        raise InputError(
            f"{where}: topic {topic_id!r}, document {doc_id!r} has grade {grade}, but {earlier} before",
            expected="one grade for a topic and document",
        )


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
