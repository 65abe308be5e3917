"""Sparse aggregations: pure functions of a topic with its expansions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from expandr_ir import registry
from expandr_ir.errors import InputError, check_fields
from expandr_ir.records import ExpandedTopic, SparseQuery

Analyze: TypeAlias = Callable[[str], list[str]]
"""A text -> its index terms, in order and with repetitions, as the index's analyzer gives them."""


@dataclass(frozen=True, kw_only=True)
class SparseOptions:
    """Numbers of the sparse aggregations; each reads its own.

    Args:
        repeats: for `repeat`, how often the topic stands before the expansions; 5 is Query2doc's (arXiv 2303.07678).
            "row" takes each topic's own `query_repeats`: from the expansions file, or as the expander counted it.
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
        check_fields(self, "beta", least=1)
        check_fields(self, "weight", least=0, most=1)


@dataclass(frozen=True, slots=True)
class SparseInput:
    """Input of an aggregation: a topic, and the texts, at least one, of its expansions that are not empty.

    `analyze` is None where no index is at hand.
    """

    topic: str
    texts: list[str]
    options: SparseOptions
    analyze: Analyze | None
    expanded: ExpandedTopic


def none(given: SparseInput) -> str:
    """The topic alone: q."""
    return given.topic


def append(given: SparseInput) -> str:
    """The topic once, then all expansions: q d1 ... dN."""
    return " ".join([given.topic, *given.texts])


def expansion(given: SparseInput) -> str:
    """The expansions without the topic: d1 ... dN, for rewritten queries (ReFormeR, arXiv 2604.01417, has one)."""
    return " ".join(given.texts)


def repeat(given: SparseInput) -> str:
    """The topic n times, then all expansions: q x n + d1 ... dN (Query2doc, arXiv 2303.07678, has one expansion)."""
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


SPARSE: dict[str, str] = {
    function.__name__: f"{__name__}:{function.__name__}"
    for function in (none, append, expansion, repeat, adaptive, interleave, weighted)
}
"""This package's sparse aggregations by name; others come by entry points of `expandr_ir.aggregations.sparse`."""

TEXTUAL = frozenset(SPARSE) - {"weighted"}
"""Those of this package whose query is a text, which any other search program can read."""


@cache
def sparse_aggregation(name: str) -> Callable[[SparseInput], SparseQuery]:
    """The sparse aggregation of a name: a function of a SparseInput to a text, or to weights of analysed terms."""
    function: Callable[[SparseInput], SparseQuery]
    function = registry.find("expandr_ir.aggregations.sparse", name, SPARSE, kind="aggregation")
    return function


def sparse_query(
    name: str, expanded: ExpandedTopic, options: SparseOptions, analyze: Analyze | None = None
) -> SparseQuery:
    """The query of a topic; where all its expansions are empty, or it has none, exactly the topic alone."""
    aggregate, topic = sparse_aggregation(name), expanded.topic.text
    texts = [expansion.text for expansion in expanded.expansions if expansion.text.strip()]
    return aggregate(SparseInput(topic, texts, options, analyze, expanded)) if texts else topic
