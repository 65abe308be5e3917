"""The documents that queries are made of: drawn by a hash of their ids, evenly from short ones and long ones."""

from __future__ import annotations

import hashlib
import re
import shutil
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expandr_ir.collections import Collection, load_collection
from expandr_ir.collections.beir import BeirFolder
from expandr_ir.collections.facts import match_folder
from expandr_ir.errors import InputError
from expandr_ir.io.files import write_jsonl
from expandr_ir.records import Document, Topic
from expandr_ir.train.data.rows import normalized

CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")
DROPPED = "dropped.jsonl"
"""The queries that were dropped: the file marks a folder that was written here."""

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"(?:(?![{_UNSPACED}])[^\W_])"
WORD = re.compile(rf"[{_UNSPACED}]|{_LETTER}+(?:['\u2019.-]{_LETTER}+)*")
"""A word: a run of letters and digits; in scripts without blanks between words, each character."""


def words(text: str) -> list[str]:
    """The words of a text as they are spelled; "state-of-the-art", "don't" and "3.5" are one each."""
    return WORD.findall(text)


def folded(text: str) -> list[str]:
    """The words of a text, case folded."""
    return [word.casefold() for word in words(text)]


def whole_text(document: Document) -> str:
    """Title and text, on a line each."""
    return "\n".join(part for part in (document.title, document.text) if part)


class BareCorpus(BeirFolder):
    """The documents of a corpus file, without topics."""

    def __init__(self, corpus: Path) -> None:
        name, facts = match_folder(corpus.resolve().parent)
        Collection.__init__(self, str(corpus), name, facts)
        self.corpus_file, self._qrels = corpus, {}

    def _read_topics(self) -> dict[str, Topic]:
        return {}


def load_corpus(spec: str) -> Collection:
    """The documents of a corpus file, of a folder with one and without queries, or of any collection."""
    path = Path(spec).expanduser()
    if path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz")):
        return BareCorpus(path)
    has_queries = any((path / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz"))
    corpus = next((path / name for name in CORPUS if (path / name).is_file()), None)
    return BareCorpus(corpus) if corpus and not has_queries else load_collection(spec)


@dataclass(frozen=True)
class Survey:
    """One pass over a corpus: documents that are long enough and different, by their place in it; 24 bytes each."""

    places: NDArray[np.int64]
    lengths: NDArray[np.int64]  # in words
    hashes: NDArray[np.uint64]  # of seed and id; the lowest are drawn first
    documents: int
    short: int
    duplicates: int


def survey_corpus(collection: Collection, min_words: int, seed: int) -> Survey:
    """Reads the corpus once; duplicates have the title and text of an earlier document."""
    places, lengths, hashes = array("q"), array("q"), array("Q")
    seen: set[bytes] = set()
    total = short = 0
    for place, document in enumerate(collection.documents()):
        total += 1
        text = whole_text(document)
        length = len(words(text))
        digest = hashlib.sha256(normalized(text).encode("utf-8", "surrogatepass")).digest()[:16]
        if length < min_words:
            short += 1
        elif digest not in seen:
            seen.add(digest)
            places.append(place)
            lengths.append(length)
            drawn_by = hashlib.sha256(f"document:{seed}:{document.doc_id}".encode()).digest()
            hashes.append(int.from_bytes(drawn_by[:8], "big"))
    duplicates = total - short - len(places)
    if len(places) < 2:
        raise InputError(
            f"{collection.spec}: of {total} documents {short} have fewer than {min_words} words"
            f" and {duplicates} are duplicates; {len(places)} is left",
            expected="at least two different documents: nothing can be learned of one",
            remedy="--min-words 1" if short else "a corpus of different documents",
        )
    columns = np.array(places, np.int64), np.array(lengths, np.int64), np.array(hashes, np.uint64)
    return Survey(*columns, total, short, duplicates)


def draw(survey: Survey, count: int, strata: int) -> tuple[list[int], list[dict[str, int]]]:
    """The places of the documents drawn, rising, and their strata: "least" and "most" words, and numbers of documents.

    The documents, ordered by length, are cut into `strata` parts of equal size, and each gives the same number (one
    more or less): those with the lowest hashes. Of a larger draw, the smaller one is a part.
    """
    ordered = np.lexsort((survey.hashes, survey.lengths))
    count = min(count, len(ordered))
    parts = [part for part in np.array_split(ordered, max(1, min(strata, count))) if len(part)]
    places: list[int] = []
    rows = []
    for number, part in enumerate(parts):
        share = -(-(count - len(places)) // (len(parts) - number))  # larger parts come first, and take the rest first
        lowest = part[np.argsort(survey.hashes[part], kind="stable")][:share]
        places += survey.places[lowest].tolist()
        shortest, longest = (int(edge(survey.lengths[part])) for edge in (np.min, np.max))
        rows.append({"least": shortest, "most": longest, "documents": len(part), "drawn": len(lowest)})
    return sorted(places), rows


def documents_at(collection: Collection, places: Sequence[int]) -> Iterator[Document]:
    """The documents at these places of the corpus, in its order; it is read no further than it must be."""
    due = set(places)
    for place, document in enumerate(collection.documents() if due else ()):
        if place in due:
            yield document
            due.remove(place)
            if not due:
                return


def corpus_place(collection: Collection, folder: Path) -> tuple[Path | None, Path]:
    """The documents' own file, where they have one, and their file in the folder, which must be ours to write."""
    source = collection.corpus_file.resolve() if isinstance(collection, BeirFolder) else None
    target = folder / f"corpus.jsonl{'.gz' if source and source.suffix == '.gz' else ''}"
    if source and target.resolve() == source and not target.is_symlink():
        raise InputError(f"{folder} is where the corpus stands", expected="a folder of its own", remedy="--output DIR")
    for path in (folder / name for name in CORPUS):
        is_ours = path == target and (path.is_symlink() or (folder / DROPPED).is_file())  # of an earlier run
        if (path.exists() or path.is_symlink()) and not is_ours:
            raise InputError(f"{path} is there already", expected="an empty folder", remedy="--output elsewhere")
    return source, target


def place_corpus(collection: Collection, source: Path | None, target: Path, how: Literal["link", "copy"]) -> None:
    """Links to the corpus file (its absolute path), copies it, or writes the documents out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source and how == "link":
        target.unlink(missing_ok=True)
        target.symlink_to(source)
    elif source:
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    else:
        documents = collection.documents()
        write_jsonl(
            target, ({"_id": document.doc_id, "title": document.title, "text": document.text} for document in documents)
        )
