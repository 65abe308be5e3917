"""An index in the making: documents go in part by part, so that what was killed goes on after the last part."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.files import atomic_write
from expandr_ir.jvm import java_text
from expandr_ir.lucene import Fields, open_index
from expandr_ir.lucene.anserini import add_index, index_corpus
from expandr_ir.records import Document

log = logging.getLogger(__name__)

PART_DOCUMENTS = 100_000
"""Documents that are committed together: what a killed process loses, and what bounds memory."""

_FILE_DOCUMENTS = 5_000
"""Documents of a file of a part; Anserini counts, and shares among its threads, whole files."""


@dataclass(frozen=True, slots=True)
class Done:
    """How far an index is.

    Args:
        identity: what is indexed, and how: another one starts anew.
        documents: read so far, from the first.
        empty: of these, left out because they are empty.
        ids_sha256: hash of their ids.
    """

    identity: str
    documents: int = 0
    empty: int = 0
    ids_sha256: str = ""


def index_in_parts(
    documents: Iterable[Document],
    folder: Path,
    identity: str,
    fields: Fields,
    threads: int,
    on_progress: Callable[[int], None],
) -> Done:
    """What is in the index `folder`/index when all documents are, after going on where an earlier process was stopped.

    Args:
        documents: read once, as a stream; always the same for one identity.
        folder: of this index alone; made where it is not there.
        identity: what is indexed, and how.
        fields: "flat" or "multifield".
        threads: Anserini's.
        on_progress: called now and then with how many documents are done; one that is read, and not indexed yet,
            counts half.

    Raises:
        InputError: the documents are others than those that an earlier process began with; what it left is deleted.
        ExpandrError: Java threw an exception, or documents were lost.
        OSError: the folder cannot be written, or the disk is full.
    """
    done, ids = _resume(folder, identity), hashlib.sha256()
    stream = iter(documents)
    for document in itertools.islice(stream, done.documents):
        ids.update(document.doc_id.encode() + b"\n")
    if done.documents and ids.hexdigest() != done.ids_sha256:
        shutil.rmtree(folder)
        raise InputError(
            f"{folder}: the first {done.documents} documents are others than when this index was begun",
            expected="a collection that stays as it is",
            remedy="the same command again: it starts anew",
        )
    while True:
        corpus = folder / "corpus"
        shutil.rmtree(corpus, ignore_errors=True)
        start = done.documents
        count = 0
        for count, doc_id in enumerate(_write(itertools.islice(stream, PART_DOCUMENTS), corpus), start=1):
            ids.update(doc_id.encode() + b"\n")
            if count % 1000 == 0:
                on_progress(start + count // 2)
        if not count:
            return done
        reach = _Reach(start, count, on_progress)
        empty = _index_part(corpus, folder / "index", fields, threads, count, reach)
        done = Done(identity, start + count, done.empty + empty, ids.hexdigest())
        with atomic_write(_state(folder)) as state:
            json.dump(asdict(done), state)
        on_progress(done.documents)


def documents_done(folder: Path) -> int:
    """How many documents a next run need not index again."""
    return _read(folder).documents if _state(folder).is_file() else 0


def _index_part(
    corpus: Path, index: Path, fields: Fields, threads: int, count: int, reach: Callable[[int], None]
) -> int:
    """The number of empty documents of a part, after the others are committed to the index."""
    part = index.with_name("part")
    shutil.rmtree(part, ignore_errors=True)
    empty = index_corpus(corpus, part, fields, threads, count, reach)
    shutil.rmtree(corpus)  # the disk may need its room
    if index.exists():
        add_index(part, index)
        shutil.rmtree(part)
    else:
        part.rename(index)
    return empty


class _Reach:
    """Progress of a part that is read as a whole: each indexed document counts its second half."""

    def __init__(self, start: int, count: int, on_progress: Callable[[int], None]) -> None:
        self._start, self._count, self._told = start, count, on_progress

    def __call__(self, indexed: int) -> None:
        self._told(self._start + (self._count + indexed) // 2)


def _write(documents: Iterable[Document], corpus: Path) -> Iterator[str]:
    """Each document's id, after writing it as Anserini's BEIR collections read it, some documents to a file."""
    stream = iter(documents)
    for number in itertools.count():
        first = next(stream, None)
        if first is None:
            return
        corpus.mkdir(parents=True, exist_ok=True)
        with (corpus / f"{number:06d}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for document in itertools.chain([first], itertools.islice(stream, _FILE_DOCUMENTS - 1)):
                # Anserini loses the rest of the file where a document has no title.
                row = {"_id": document.doc_id, "title": document.title, "text": document.text}
                file.write(java_text(json.dumps(row, ensure_ascii=False)) + "\n")
                yield document.doc_id


def _resume(folder: Path, identity: str) -> Done:
    """How far the index in `folder` is; what cannot be gone on with is deleted, and that is said."""
    if not folder.exists():
        return Done(identity)
    done = _read(folder) if _state(folder).is_file() else Done("")
    if done.identity == identity and done.documents and _committed(folder / "index") == done.documents - done.empty:
        log.warning("goes on after %d documents, where an earlier run was stopped (%s)", done.documents, folder)
        return done
    log.warning("starts anew: what an earlier run left has no complete part (%s)", folder)
    shutil.rmtree(folder)
    return Done(identity)


def _committed(index: Path) -> int:
    """How many documents the newest commit of an index has; -1 where it cannot be opened."""
    try:
        with closing(open_index(index)) as opened:
            return opened.stats().documents
    except ExpandrError:
        return -1


def _state(folder: Path) -> Path:
    return folder / "done.json"


def _read(folder: Path) -> Done:
    try:
        return Done(**json.loads(_state(folder).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return Done("")
