"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/*.tsv or *.jsonl, each plain or .gz."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from expandr_ir.collections import Collection
from expandr_ir.collections.facts import match_folder
from expandr_ir.errors import InputError, some
from expandr_ir.io.files import home, read_jsonl, sha256_file, sha256_json, text_field, write_text
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.topics import check_id, read_topics
from expandr_ir.records import Document, Qrels, Topic

logger = logging.getLogger(__name__)

QRELS_ENDINGS = (".jsonl.gz", ".jsonl", ".tsv.gz", ".tsv")
"""Of two files of one split, the one that ends in the later of these is read."""


class BeirFolder(Collection):
    """A collection in BEIR's layout. A folder without qrels/ has topics that nobody judged."""

    def __init__(self, folder: Path) -> None:
        name, facts = match_folder(folder.resolve())
        super().__init__(str(folder), name, facts)
        self.corpus_file, self._queries = _part(folder, "corpus.jsonl"), _part(folder, "queries.jsonl")
        files = [path for path in sorted((folder / "qrels").glob("[!.]*")) if path.is_file()]
        self._qrels = {
            path.name.removesuffix(ending): path
            for ending in QRELS_ENDINGS
            for path in files
            if path.name.endswith(ending)
        }
        if unread := [path.name for path in files if path not in self._qrels.values()]:
            logger.warning("%s: not read as judgements: %s", folder / "qrels", some(unread))

    def splits(self) -> list[str]:
        """The names of the files in qrels/ without their endings, sorted."""
        return sorted(self._qrels)

    def fingerprint(self) -> str:
        """The SHA-256 of the corpus file, kept under `home()` by path, size and time of change."""
        path = self.corpus_file.resolve()
        stat = path.stat()
        record = home() / "fingerprints" / sha256_json([str(path), stat.st_size, stat.st_mtime_ns])
        if not record.is_file():
            write_text(record, sha256_file(path))
        return record.read_text(encoding="utf-8")

    def _read_topics(self) -> dict[str, Topic]:
        return read_topics(self._queries, "text")

    def _read_qrels(self, split: str) -> Qrels:
        return read_qrels(self._qrels[split])

    def _read_documents(self) -> Iterator[tuple[str, Document]]:
        for number, row in read_jsonl(self.corpus_file):
            where = f"{self.corpus_file}, line {number}"
            doc_id = text_field(row, ("_id", "doc_id", "id"), where)
            check_id(doc_id, "document", where)
            title = "" if row.get("title") is None else text_field(row, ("title",), where)
            yield where, Document(doc_id, title, text_field(row, ("text",), where))


def _part(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(
        f"the folder {folder} has no {name}, and no {name}.gz",
        expected="BEIR's layout: corpus.jsonl, queries.jsonl and qrels/*.tsv or *.jsonl, each plain or .gz",
        remedy="for topics alone: --topics FILE and --qrels FILE, with --index",
    )
