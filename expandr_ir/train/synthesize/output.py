"""Synthetic queries as a collection in BEIR's layout, with the corpus they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from expandr_ir.collection import Collection
from expandr_ir.collection.beir import BeirFolder
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write
from expandr_ir.qrels import BEIR_HEADER
from expandr_ir.train.synthesize.checks import Candidate, Reason

QUERIES = "queries.jsonl"
DROPPED = "dropped.jsonl"


def check_place(collection: Collection, folder: Path) -> None:
    """Nothing, where the documents can be put into the folder.

    A corpus there counts as written by an earlier run where it is a link or dropped queries stand beside it.

    Raises:
        InputError: it is the collection's own, or holds other documents.
    """
    source, target = _source(collection), _target(collection, folder)
    if source and target.resolve() == source and not target.is_symlink():
        raise InputError(f"{folder} is where the corpus stands", expected="a folder of its own", remedy="--output DIR")
    for path in (folder / "corpus.jsonl", folder / "corpus.jsonl.gz"):
        mine = path == target and (path.is_symlink() or (folder / DROPPED).is_file())
        if (path.exists() or path.is_symlink()) and not mine:
            raise InputError(f"{path} is there already", expected="an empty folder", remedy="--output elsewhere")


def place_corpus(collection: Collection, folder: Path, how: Literal["link", "copy"]) -> Path:
    """Puts the collection's documents into the folder; returns their file there.

    A corpus file is linked to (its absolute path) or copied as it is; the documents of other collections are written
    out.

    Args:
        collection: whose documents.
        folder: of the synthetic collection.
        how: link or copy.

    Raises:
        InputError: as `check_place`.
    """
    check_place(collection, folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, target = _source(collection), _target(collection, folder)
    if source and how == "link":
        target.unlink(missing_ok=True)
        target.symlink_to(source)
        return target
    if source:
        temporary = folder / f".{target.name}.tmp"
        shutil.copyfile(source, temporary)
        temporary.replace(target)
        return target
    with atomic_write(target) as stream:
        for document in collection.documents():
            row = {"_id": document.doc_id, "title": document.title, "text": document.text}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return target


def _source(collection: Collection) -> Path | None:
    """The documents' own file, where they have one."""
    return collection.corpus_file.resolve() if isinstance(collection, BeirFolder) else None


def _target(collection: Collection, folder: Path) -> Path:
    source = _source(collection)
    return folder / f"corpus.jsonl{'.gz' if source and source.suffix == '.gz' else ''}"


def write_queries(folder: Path, parts: Mapping[str, Sequence[Candidate]]) -> Path:
    """Writes qrels/PART.tsv of each part, and the queries of all parts last; returns the queries' file.

    Files of parts that an earlier run wrote and that are none of these are deleted.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for other in (folder / "qrels").glob("*.tsv"):
        if other.stem not in parts:
            other.unlink()
    for name, candidates in parts.items():
        with atomic_write(folder / "qrels" / f"{name}.tsv") as stream:
            stream.write("\t".join(BEIR_HEADER) + "\n")
            stream.writelines(f"{one.topic_id}\t{one.document.doc_id}\t1\n" for one in candidates)
    with atomic_write(folder / QUERIES) as stream:
        for one in (one for candidates in parts.values() for one in candidates):
            row = {"_id": one.topic_id, "text": one.text, "metadata": {"doc_id": one.document.doc_id, **one.origin}}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return folder / QUERIES


def write_dropped(folder: Path, dropped: Iterable[tuple[Candidate, Reason]]) -> None:
    """Writes the queries that were dropped, each with its reason."""
    with atomic_write(folder / DROPPED) as stream:
        for one, reason in dropped:
            row = {"reason": reason, "text": one.text, "doc_id": one.document.doc_id, **one.origin}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
