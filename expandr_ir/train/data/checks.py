"""The checks of a synthetic query: a few words, no copy of its document, and not nearly the words of an earlier one."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from expandr_ir.records import Document
from expandr_ir.train.data.documents import folded, whole_text
from expandr_ir.train.data.rows import query_hash

if TYPE_CHECKING:
    from expandr_ir.train.data.synthesize import SynthesizeOptions

REMEDIES = {
    "failed": "the same command tries again",  # the LLM gave no text
    "empty": "look at dropped.jsonl: another prompt, or another LLM",
    "too_short": "--min-query-words 1, or another prompt",
    "copied": "an LLM that follows its prompt, or --copied-share 1 where documents are short",
    "too_long": "--max-query-words 80, or an LLM that follows its prompt",
    "duplicate": "an LLM that looks at the document, or --generator.decoding.temperature 1",
    "near_duplicate": "--near-duplicate 1, or a corpus of different documents",
    "bad": "another prompt or LLM, or no --quality",  # the LLM's verdict
    "no_verdict": "--quality-generator with an LLM that follows its prompt, or no --quality",
    "not_found": "--round-trip 100, or null; BM25 analyses English here",
}
"""The reasons for which a query is dropped, in the order of the checks, each with what to try where none is left."""


@dataclass(frozen=True)
class Query:
    """A query that was made of a document, and its origin: a kind, or prompt, manner and key in the store."""

    document: Document
    text: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def topic_id(self) -> str:
        """A hash of the normalised query: one text has one id, whatever it was made of."""
        return f"s{query_hash(self.text)[:16]}"


Dropped: TypeAlias = tuple[Query, str]
"""A query and the reason for which it is dropped."""


def sift(queries: Iterable[Query], limits: SynthesizeOptions) -> tuple[list[Query], list[Dropped]]:
    """The queries whose texts are fit, each once, and the others with the reason."""
    fit: dict[str, Query] = {}
    dropped: list[Dropped] = []
    for query in queries:
        reason = fault(query, limits) or ("duplicate" if query.topic_id in fit else None)
        if reason:
            dropped.append((query, reason))
        else:
            fit[query.topic_id] = query
    near = near_duplicates([query.text for query in fit.values()], limits.near_duplicate)
    dropped += [(query, "near_duplicate") for place, query in enumerate(fit.values()) if place in near]
    return [query for place, query in enumerate(fit.values()) if place not in near], dropped


def fault(query: Query, limits: SynthesizeOptions) -> str | None:
    """The fault of a query by itself; None where there is none."""
    words = folded(query.text)
    if not words:
        return "empty"
    if len(words) < limits.min_query_words:
        return "too_short"
    if is_copied(words, folded(whole_text(query.document)), limits.copied_share):
        return "copied"
    return "too_long" if len(words) > limits.max_query_words else None


def is_copied(query: Sequence[str], document: Sequence[str], share: float) -> bool:
    """Reports a query with more than this share of the document's words in one stretch."""
    least = math.floor(share * len(document)) + 1
    text = f" {' '.join(document)} "
    return any(f" {' '.join(query[start : start + least])} " in text for start in range(len(query) - least + 1))


def near_duplicates(texts: Sequence[str], share: float) -> set[int]:
    """The places of texts with |a and b| >= share |a or b| words in common with an earlier text that is kept itself.

    Exact: texts are compared that share one of their rarest words, enough of them for none to be missed (the prefix
    filter of Chaudhuri et al. 2006).
    """
    sets = [frozenset(folded(text)) for text in texts]
    documents = Counter(word for words in sets for word in words)
    by_word: dict[str, list[int]] = defaultdict(list)
    dropped: set[int] = set()
    for place, words in enumerate(sets):
        least = math.ceil(share * len(words) - 1e-9)  # .8 x 5 is a little above 4
        prefix = sorted(words, key=lambda word: (documents[word], word))[: len(words) - least + 1]
        earlier = {other for word in prefix for other in by_word[word]}
        if any(len(words & sets[other]) / len(words | sets[other]) >= share for other in earlier):
            dropped.add(place)
            continue
        for word in prefix:
            by_word[word].append(place)
    return dropped
