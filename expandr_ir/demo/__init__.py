"""The embedded collection: questions about the Python standard library, and its docstrings.

The documents are the docstrings of the Python that runs (`stdlib`); none of that text is stored here. Beside them lie
topics.jsonl, graded judgements by qualified name (qrels.tsv: 2 answers the question, 1 helps) and two recorded LLM
expansions of each topic (expansions.jsonl), written from the question alone. docs/demo.md tells how all were made.
"""

from __future__ import annotations

from pathlib import Path

from expandr_ir.demo.stdlib import documents
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.topics import read_topics
from expandr_ir.records import Qrels, Topic

__all__ = ["documents", "expansions_path", "qrels", "topics"]

_FOLDER = Path(__file__).parent


def topics() -> dict[str, Topic]:
    """The questions by topic_id, in the order of their ids."""
    return read_topics(_FOLDER / "topics.jsonl")


def qrels() -> Qrels:
    """The judgements of every topic: topic_id -> doc_id -> 2 (answers the question) or 1 (helps)."""
    return read_qrels(_FOLDER / "qrels.tsv")


def expansions_path() -> Path:
    """The recorded LLM expansions: JSONL with topic_id, sample (0 and 1), topic_text and text."""
    return _FOLDER / "expansions.jsonl"
