"""How a topic and its expansions become one sparse query: pure functions, by name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import ExpandedTopic, SparseQuery

Analyze: TypeAlias = Callable[[str], list[str]]
"""A text -> its index terms, in order and with repetitions, as the index's analyzer gives them."""


@dataclass(frozen=True)
class SparseOptions:
    """What the sparse aggregations can be told; each name reads its own.

    Args:
        repeats: for `repeat`, how often the topic stands before the expansions; 5 is Query2doc's (arXiv 2303.07678).
            "row" takes each topic's own `query_repeats` from the expansions file.
        beta: for `adaptive`, characters of expansions per character of topic for one repeat more; 6 is the default of
            MuGI's code (its description says 5).
        weight: for `weighted`, the topic's share lambda in [0, 1]; .5 is the original query's share in Anserini's RM3.
    """

    repeats: int | Literal["row"] = 5
    beta: int = 6
    weight: float = 0.5

    def __post_init__(self) -> None:
        if self.repeats != "row" and self.repeats < 1:
            raise InputError(f"repeats is {self.repeats}", expected="1 or more, or row: the topic is never dropped")
        if self.beta < 1:
            raise InputError(f"beta is {self.beta}", expected="1 or more")
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight is {self.weight}", expected="the topic's share, from 0 to 1")


@dataclass(frozen=True, slots=True)
class SparseInput:
    """What an aggregation works on: a topic with at least one expansion that is not empty.

    Args:
        expanded: the topic with all its expansions.
        texts: the expansions that are not empty, by sample.
        options: the options.
        analyze: the analyzer, for `weighted`.
    """

    expanded: ExpandedTopic
    texts: list[str]
    options: SparseOptions
    analyze: Analyze | None

    @property
    def topic(self) -> str:
        """The topic's text."""
        return self.expanded.topic.text


def none(given: SparseInput) -> str:
    """The topic alone: q."""
    return given.topic


def append(given: SparseInput) -> str:
    """The topic once, then all expansions: q d1 ... dN."""
    return " ".join([given.topic, *given.texts])


def repeat(given: SparseInput) -> str:
    """The topic n times, then all expansions: q x n + d1 ... dN (Query2doc, arXiv 2303.07678, has one expansion).

    Raises:
        InputError: the repeats are the row's, and this topic's row says none.
    """
    repeats = given.options.repeats
    if repeats == "row":
        row = given.expanded.query_repeats
        if row is None or row < 1:
            raise InputError(
                f"topic {given.expanded.topic.topic_id!r} has query_repeats {row}",
                expected="query_repeats of 1 or more in its row of the expansions file, for repeats: row",
                remedy="--repeats 5",
            )
        repeats = row
    return " ".join([given.topic] * repeats + given.texts)


def adaptive(given: SparseInput) -> str:
    """The topic as often as the expansions are long: q x t + d1 ... dN, t = max(1, |d1 ... dN| // |q| // beta).

    Lengths are in characters (MuGI, arXiv 2401.06311). MuGI's released code has no minimum: there t is 0, and the topic
    gone, where it is long and the expansions are short.
    """
    expansions = " ".join(given.texts)
    repeats = len(expansions) // max(1, len(given.topic)) // given.options.beta
    return " ".join([given.topic] * max(1, repeats) + [expansions])


def interleave(given: SparseInput) -> str:
    """The topic before every expansion: q d1 q d2 ... q dN (LameR, arXiv 2304.14233)."""
    return " ".join(f"{given.topic} {text}" for text in given.texts)


def weighted(given: SparseInput) -> dict[str, float]:
    """The analysed terms t with lambda tf(t, q) / |q| + (1 - lambda) / N sum_i tf(t, di) / |di|; they add up to 1.

    |x| counts the terms of x, so that neither a long expansion nor a long topic weighs more. Terms of weight 0 are left
    out. Where the topic or every expansion has no terms at all (stop words only), the other has all the weight.

    Raises:
        InputError: no analyzer was given.
    """
    if given.analyze is None:
        raise InputError(
            "aggregation 'weighted' without an analyzer", expected="the analyzer of the index that is searched"
        )
    topic = _shares(given.analyze(given.topic))
    expansions = [shares for text in given.texts if (shares := _shares(given.analyze(text)))]
    weight = given.options.weight if topic and expansions else float(bool(topic))
    weights: defaultdict[str, float] = defaultdict(float)
    for term, share in topic.items():
        weights[term] += weight * share
    for shares in expansions:
        for term, share in shares.items():
            weights[term] += (1 - weight) * share / len(expansions)
    return {term: value for term, value in weights.items() if value > 0}


def _shares(terms: list[str]) -> dict[str, float]:
    return {term: count / len(terms) for term, count in Counter(terms).items()}


SPARSE: dict[str, Callable[[SparseInput], SparseQuery]] = {
    function.__name__: function for function in (none, append, repeat, adaptive, interleave, weighted)
}
"""Sparse aggregations by name."""

TEXTUAL = frozenset(SPARSE) - {"weighted"}
"""Those whose query is a text, which any other search program can read."""


def sparse_query(
    name: str, expanded: ExpandedTopic, options: SparseOptions, analyze: Analyze | None = None
) -> SparseQuery:
    """What is searched for a topic: a text to be analysed, or weights of terms that are analysed already.

    A topic whose expansions are all empty, or that has none, is searched alone, exactly as without expansions.

    Args:
        name: one of SPARSE.
        expanded: the topic with its expansions.
        options: the options.
        analyze: the analyzer of the index, which `weighted` needs.

    Raises:
        InputError: an unknown name, or what the aggregation raises.
    """
    if name not in SPARSE:
        raise unknown_name("sparse aggregation", name, SPARSE)
    texts = [expansion.text for expansion in expanded.expansions if expansion.text.strip()]
    return SPARSE[name](SparseInput(expanded, texts, options, analyze)) if texts else expanded.topic.text
