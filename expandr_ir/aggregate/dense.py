"""Dense aggregations: pure functions of vectors, and the vectors of topics with their expansions.

The functions are arithmetic and a mean or sum over the first axis, so that training calls the same ones with torch's
tensors, and with f(q) of shape (rows, dim) and f(di) of shape (N, rows, dim) for many rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from expandr_ir import registry
from expandr_ir.errors import ExpandrError, InputError, check_fields, some
from expandr_ir.records import ExpandedTopic

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

Vectors: TypeAlias = Any
"""A float32 array, or torch's tensor."""


@dataclass(frozen=True)
class DenseOptions:
    """Numbers of the dense aggregations; each reads its own.

    Args:
        expansion_weight: for `weighted`, the expansions' share alpha, from 0 to 1; .2 is Reinforced-IR's.
        normalize_parts: L2-normalise the vector of each text before they are put together, as ExpandR's evaluation does
            and LLM-QE's does not; without effect on an encoder that normalises.
        separator: for `concat`, the text between the texts; None takes the tokenizer's own separator, such as [SEP],
            between blanks.
    """

    expansion_weight: float = 0.2
    normalize_parts: bool = False
    separator: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "expansion_weight", least=0, most=1)


def none(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The topic alone: f(q)."""
    return topic


def mean(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """(f(q) + f(d)) / 2, with f(d) the mean of all f(di) (ExpandR, arXiv 2502.17057, has one expansion)."""
    return 0.5 * (topic + expansions.mean(axis=0))


def hyde(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """(f(q) + f(d1) + ... + f(dN)) / (N + 1): the topic counts as much as each expansion (HyDE, arXiv 2212.10496)."""
    return (topic + expansions.sum(axis=0)) / (len(expansions) + 1)


def weighted(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:
    """(1 - alpha) f(q) + alpha f(d), with f(d) as in `mean` (Reinforced-IR, arXiv 2502.11562: alpha = .2)."""
    return (1 - options.expansion_weight) * topic + options.expansion_weight * expansions.mean(axis=0)


def pairs(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The mean over all i of (f(q) + f(di)) / 2 (LameR, arXiv 2304.14233); the same as `mean`, but for rounding."""
    return (0.5 * (topic + expansions)).mean(axis=0)


def expansion(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The mean of all f(di), the topic left out (LLM-QE, arXiv 2502.17057v1, trains its retriever on it)."""
    return expansions.mean(axis=0)


def concat(topic: str, expansions: Sequence[str], separator: str) -> str:
    """The one text that is encoded: q [SEP] d1 [SEP] ... dN (Query2doc, arXiv 2303.07678, has one expansion)."""
    return separator.join([topic, *expansions])


DENSE: dict[str, str] = {
    function.__name__: f"{__name__}:{function.__name__}"
    for function in (none, mean, hyde, weighted, pairs, expansion, concat)
}
"""This package's dense aggregations by name; others come by entry points of `expandr_ir.aggregations.dense`."""


@cache
def dense_aggregation(name: str) -> Callable[..., Any]:
    """The dense aggregation of a name: of f(q), shape (dim,), f(di), shape (N, dim), and options to shape (dim,)."""
    function: Callable[..., Any] = registry.find("expandr_ir.aggregations.dense", name, DENSE, kind="aggregation")
    return function


def dense_vectors(
    name: str, topics: Mapping[str, ExpandedTopic], encoder: Encoder, options: DenseOptions
) -> tuple[list[str], Vectors]:
    """The keys of the topics, and their vectors in that order: float32 array of shape (n_topics, dim).

    Each distinct text is encoded once, all in one go: topics and the texts of `concat` as queries, expansions in the
    role that the encoder's configuration gives them. An empty expansion counts as the topic's own vector (in `concat`
    it is left out); a topic whose expansions are all empty is searched alone, exactly as without expansions.
    """
    import numpy as np

    aggregate = dense_aggregation(name)
    queries = {key: topic.topic.text for key, topic in topics.items()}
    texts = {key: [e.text for e in topic.expansions] for key, topic in topics.items()}
    missing = [key for key in topics if not texts[key]]
    if name != "none" and missing:
        raise InputError(
            f"the aggregation {name!r} has no expansion of {len(missing)} of {len(topics)} topics: {some(missing)}",
            expected="an expansion of every topic; it may be empty",
            remedy="--expansions FILE" if len(missing) == len(topics) else "--skip-missing",
        )
    if name == "concat":
        separator = separator_of(encoder.model.tokenizer, encoder.config.model, options)
        queries = {key: concat(query, list(filter(str.strip, texts[key])), separator) for key, query in queries.items()}
    alone = _encode(queries.values(), encoder.encode_queries, options)
    vectors = {key: alone[query] for key, query in queries.items()}
    if name not in {"none", "concat"}:
        parts = _encode(
            (t for of_topic in texts.values() for t in of_topic if t.strip()), encoder.encode_expansions, options
        )
        for key, of_topic in texts.items():
            if any(map(str.strip, of_topic)):
                expansions = np.stack([parts.get(text, vectors[key]) for text in of_topic])
                vectors[key] = aggregate(vectors[key], expansions, options)
    return list(topics), np.array(list(vectors.values()), dtype=np.float32).reshape(len(topics), encoder.dim)


def separator_of(tokenizer: Any, model: str, options: DenseOptions, option: str = "--separator") -> str:
    """The text between the texts of `concat`: the named one, else the tokenizer's own separator between blanks."""
    if options.separator is not None:
        return options.separator
    if tokenizer.sep_token is None:
        raise InputError(
            f"the tokenizer of {model} has no separator token",
            expected="a separator for the aggregation 'concat'",
            remedy=f"{option} ' '",
        )
    return f" {tokenizer.sep_token} "


def _encode(
    texts: Iterable[str], encode: Callable[[Sequence[str]], Vectors], options: DenseOptions
) -> dict[str, Vectors]:
    """Each distinct text with its vector."""
    import numpy as np

    distinct = list(dict.fromkeys(texts))
    vectors = encode(distinct)
    if options.normalize_parts:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not lengths.all():
            raise ExpandrError("a vector of length 0 cannot be normalised", expected="vectors with a direction")
        vectors = vectors / lengths
    return dict(zip(distinct, vectors, strict=True))
