"""What a synthetic query must be: a few words, no copy of its document, and not asked before in nearly these words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from expandr_ir.errors import InputError
from expandr_ir.records import Document
from expandr_ir.train.rows import query_hash
from expandr_ir.train.synthesize.sample import whole_text
from expandr_ir.train.synthesize.words import folded

Reason: TypeAlias = Literal[
    "failed",  # the LLM gave no text
    "empty",  # nothing is left of it once it is cleaned
    "too_short",
    "too_long",
    "copied",  # much of the document, word for word
    "duplicate",  # an earlier query, once it is normalised
    "near_duplicate",  # nearly the words of an earlier query
    "bad",  # the LLM's verdict
    "no_verdict",  # the LLM's verdict is neither 1 nor 0
    "not_found",  # BM25 does not find the document by it
]
"""Why a query is dropped, in the order in which it is looked at."""


@dataclass(frozen=True)
class Candidate:
    """A query that was made of a document.

    Args:
        document: what it asks for.
        text: on one line.
        origin: how it was made: its kind, or prompt, manner and key in the store.
    """

    document: Document
    text: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def topic_id(self) -> str:
        """A hash of the normalised query: one text has one id, whatever it was made of."""
        return f"s{query_hash(self.text)[:16]}"


@dataclass(frozen=True)
class Limits:
    """What a query's text must be.

    Args:
        min_query_words: fewest words.
        max_query_words: most words.
        copied_share: largest share of the document's words that a query may take over in one stretch.
        near_duplicate: share of their words, |a and b| / |a or b|, at which a query counts as an earlier one; 1 drops
            only those of the same words in another order.
    """

    min_query_words: int = 2
    max_query_words: int = 40
    copied_share: float = 0.5
    near_duplicate: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.min_query_words <= self.max_query_words:
            found = f"queries of {self.min_query_words} to {self.max_query_words} words"
            raise InputError(found, expected="--min-query-words of 1 or more, and not above --max-query-words")
        for name in ("copied_share", "near_duplicate"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}", expected="above 0, at most 1")


def fault(candidate: Candidate, limits: Limits) -> Reason | None:
    """What is wrong with a query by itself; None where nothing is."""
    asked = folded(candidate.text)
    if not asked:
        return "empty"
    if len(asked) < limits.min_query_words:
        return "too_short"
    if is_copied(asked, folded(whole_text(candidate.document)), limits.copied_share):
        return "copied"
    return "too_long" if len(asked) > limits.max_query_words else None


def is_copied(query: Sequence[str], document: Sequence[str], share: float) -> bool:
    """Whether the query has more than this share of the document's words in one stretch.

    Args:
        query: words.
        document: words.
        share: of the document's words.
    """
    least = math.floor(share * len(document)) + 1
    if len(query) < least:
        return False
    text = f" {' '.join(document)} "
    return any(f" {' '.join(query[start : start + least])} " in text for start in range(len(query) - least + 1))


def near_duplicates(texts: Sequence[str], share: float) -> set[int]:
    """The places of texts whose words are nearly those of an earlier text that is kept itself.

    Two sets of words count as one where |a and b| >= share |a or b|. Exact: texts are compared that share one of their
    rarest words, enough of them for none to be missed (the prefix filter of Chaudhuri et al. 2006).

    Args:
        texts: the earlier one stays.
        share: above 0, at most 1.
    """
    sets = [frozenset(folded(text)) for text in texts]
    common = Counter(word for one in sets for word in one)
    by_word: dict[str, list[int]] = defaultdict(list)
    dropped: set[int] = set()
    for place, own in enumerate(sets):
        prefix = sorted(own, key=lambda word: (common[word], word))[: len(own) - _least(share, len(own)) + 1]
        seen = {other for word in prefix for other in by_word[word]}
        if any(_overlap(own, sets[other]) >= share for other in seen):
            dropped.add(place)
            continue
        for word in prefix:
            by_word[word].append(place)
    return dropped


def sift(candidates: Iterable[Candidate], limits: Limits) -> tuple[list[Candidate], list[tuple[Candidate, Reason]]]:
    """The queries whose texts are fit, each once, and the others with the reason."""
    fit: list[Candidate] = []
    dropped: list[tuple[Candidate, Reason]] = []
    seen: set[str] = set()
    for one in candidates:
        reason = fault(one, limits)
        if reason is None and one.topic_id in seen:
            reason = "duplicate"
        if reason:
            dropped.append((one, reason))
        else:
            seen.add(one.topic_id)
            fit.append(one)
    near = near_duplicates([one.text for one in fit], limits.near_duplicate)
    dropped += [(one, "near_duplicate") for place, one in enumerate(fit) if place in near]
    return [one for place, one in enumerate(fit) if place not in near], dropped


def _least(share: float, words: int) -> int:
    """The least whole number that is this share of so many words, rounding errors aside."""
    return math.ceil(share * words - 1e-9)


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)
