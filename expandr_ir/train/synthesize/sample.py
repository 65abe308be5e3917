"""Which documents queries are made of: drawn by a hash of their ids, evenly from short ones and long ones."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expandr_ir.records import Document
from expandr_ir.train.rows import normalized
from expandr_ir.train.synthesize.words import words

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Survey:
    """What is known of every document after one pass; about 40 bytes each.

    Args:
        numbers: places in the corpus, from 0, of the documents that queries can be made of, shape (n,).
        lengths: their words, shape (n,).
        hashes: of seed and id; the lowest are drawn first, shape (n,).
        documents: how many documents there are.
        short: documents with fewer words than asked for; left out.
        duplicates: documents whose title and text an earlier one has; left out.
    """

    numbers: np.ndarray
    lengths: np.ndarray
    hashes: np.ndarray
    documents: int
    short: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Stratum:
    """Documents of about one length.

    Args:
        least, most: words of the shortest and of the longest.
        documents: how many there are.
        drawn: how many of them were drawn.
    """

    least: int
    most: int
    documents: int
    drawn: int


def whole_text(document: Document) -> str:
    """Title and text, on a line each."""
    return "\n".join(part for part in (document.title, document.text) if part)


def survey(documents: Iterable[Document], min_words: int, seed: int) -> Survey:
    """One pass over the corpus.

    Args:
        documents: read once, as a stream.
        min_words: fewest words of title and text.
        seed: another seed is another draw.
    """
    import numpy as np

    numbers, lengths, hashes = array("q"), array("q"), array("Q")
    seen: set[bytes] = set()
    short = duplicates = count = 0
    for number, document in enumerate(documents):
        count += 1
        text = whole_text(document)
        length = len(words(text))
        if length < min_words:
            short += 1
            continue
        digest = hashlib.sha256(normalized(text).encode("utf-8", "surrogatepass")).digest()[:16]
        if digest in seen:
            duplicates += 1
            continue
        seen.add(digest)
        numbers.append(number)
        lengths.append(length)
        hashes.append(_hash(seed, document.doc_id))
    return Survey(
        np.array(numbers, dtype=np.int64),
        np.array(lengths, dtype=np.int64),
        np.array(hashes, dtype=np.uint64),
        count,
        short,
        duplicates,
    )


def draw(found: Survey, count: int, strata: int) -> tuple[list[int], list[Stratum]]:
    """The places of the documents drawn, rising, and the strata they come from.

    The documents, ordered by length, are cut into `strata` parts of equal size, and each gives the same number (one
    more or less): those with the lowest hashes. Of a larger draw, the smaller one is a part.

    Args:
        found: the survey.
        count: how many; more than there are takes all.
        strata: how many parts; never more than documents drawn.
    """
    import numpy as np

    ordered = np.lexsort((found.hashes, found.lengths))
    count = min(count, len(ordered))
    parts = [part for part in np.array_split(ordered, max(1, min(strata, count))) if len(part)]
    taken: list[int] = []
    described = []
    for place, part in enumerate(parts):
        wanted = -(-(count - len(taken)) // (len(parts) - place))  # larger parts come first, and take the rest first
        lowest = part[np.argsort(found.hashes[part], kind="stable")][:wanted]
        taken += found.numbers[lowest].tolist()
        lengths = found.lengths[part]
        described.append(Stratum(int(lengths.min()), int(lengths.max()), len(part), len(lowest)))
    return sorted(taken), described


def lowest(found: Survey, count: int) -> list[int]:
    """The places of the `count` documents with the lowest hashes, rising, whatever their lengths."""
    import numpy as np

    places: list[int] = sorted(found.numbers[np.argsort(found.hashes, kind="stable")[:count]].tolist())
    return places


def documents_at(read: Callable[[], Iterable[Document]], places: Sequence[int]) -> Iterator[Document]:
    """The documents at these places of the corpus, in its order."""
    wanted = iter(places)
    place = next(wanted, None)
    for number, document in enumerate(read()):
        if place is None:
            return
        if number == place:
            yield document
            place = next(wanted, None)


def _hash(seed: int, doc_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"document:{seed}:{doc_id}".encode()).digest()[:8], "big")
