"""How a topic and its expansions become one vector: pure functions of arrays, by name.

They are arithmetic and a mean or sum over the first axis, so that training calls the same ones with torch's tensors,
and with f(q) of shape (rows, dim) and f(di) of shape (N, rows, dim) for many rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from expandr_ir.errors import ExpandrError, InputError, unknown_name
from expandr_ir.records import ExpandedTopic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from expandr_ir.encoders import Encoder

    Vectors: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class DenseOptions:
    """What the dense aggregations can be told; each name reads its own.

    Args:
        expansion_weight: for `weighted`, the expansions' share alpha, from 0 to 1; .2 is Reinforced-IR's.
        normalize_parts: L2-normalise the vector of each text before they are put together, as ExpandR's evaluation does
            and LLM-QE's does not; without effect on an encoder that normalises.
        separator: for `concat`, what stands between the texts; None takes the tokenizer's own separator, such as [SEP],
            between blanks.
    """

    expansion_weight: float = 0.2
    normalize_parts: bool = False
    separator: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.expansion_weight <= 1:
            raise InputError(f"expansion_weight is {self.expansion_weight}", expected="a share, from 0 to 1")


def none(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The topic alone: f(q)."""
    return topic


def mean(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """(f(q) + f(d)) / 2, with f(d) the mean of all f(di) (ExpandR, arXiv 2502.17057, has one expansion)."""
    return 0.5 * (topic + _mean(expansions))


def hyde(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """(f(q) + f(d1) + ... + f(dN)) / (N + 1): the topic counts as much as each expansion (HyDE, arXiv 2212.10496)."""
    total: Vectors = (topic + expansions.sum(axis=0)) / (len(expansions) + 1)
    return total


def weighted(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:
    """(1 - alpha) f(q) + alpha f(d), with f(d) as in `mean` (Reinforced-IR, arXiv 2502.11562: alpha = .2)."""
    return (1 - options.expansion_weight) * topic + options.expansion_weight * _mean(expansions)


def pairs(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The mean over all i of (f(q) + f(di)) / 2 (LameR, arXiv 2304.14233); the same as `mean`, but for rounding."""
    return _mean(0.5 * (topic + expansions))


def expansion(topic: Vectors, expansions: Vectors, options: DenseOptions) -> Vectors:  # noqa: ARG001
    """The mean of all f(di), the topic left out (what LLM-QE, arXiv 2502.17057v1, trains its retriever on)."""
    return _mean(expansions)


def _mean(vectors: Vectors) -> Vectors:
    middle: Vectors = vectors.mean(axis=0)
    return middle


def concat(topic: str, expansions: Sequence[str], separator: str) -> str:
    """The one text that is encoded: q [SEP] d1 [SEP] ... dN (Query2doc, arXiv 2303.07678, has one expansion)."""
    return separator.join([topic, *expansions])


VECTORIAL: dict[str, Callable[[Vectors, Vectors, DenseOptions], Vectors]] = {
    function.__name__: function for function in (none, mean, hyde, weighted, pairs, expansion)
}
"""The aggregations of vectors by name: f(q), shape (dim,), and all f(di), shape (N, dim), to one of shape (dim,)."""

DENSE = frozenset(VECTORIAL) | {"concat"}
"""All dense aggregations; `concat` is the one of texts."""


def dense_vectors(
    name: str, topics: Mapping[str, ExpandedTopic], encoder: Encoder, options: DenseOptions
) -> tuple[list[str], Vectors]:
    """The keys of the topics, and their vectors in that order: float32 array of shape (n_topics, dim).

    Each distinct text is encoded once, all in one go: topics and what `concat` makes as queries, expansions in the role
    that the encoder's configuration gives them. An empty expansion counts as the topic's own vector (in `concat` it is
    left out); a topic whose expansions are all empty is searched alone, exactly as without expansions.

    Args:
        name: one of DENSE.
        topics: by topic_id.
        encoder: what encodes.
        options: the options.

    Raises:
        InputError: an unknown name, a topic without an expansion, a tokenizer without a separator, or what the encoder
            raises.
        ExpandrError: a vector is not finite, or has no length where it is to be normalised.
    """
    import numpy as np

    if name not in DENSE:
        raise unknown_name("dense aggregation", name, DENSE)
    if name != "none":
        _check_expanded(name, topics)
    asked = _query_texts(name, topics, encoder, options)
    alone = _encoded(asked.values(), encoder.encode_queries, options)
    if name in {"none", "concat"}:
        rows = [alone[text] for text in asked.values()]
    else:
        written = (one.text for topic in topics.values() for one in topic.expansions if one.text.strip())
        parts = _encoded(written, encoder.encode_expansions, options)
        rows = [_combined(name, topic, alone[asked[key]], parts, options) for key, topic in topics.items()]
    return list(topics), np.array(rows, dtype=np.float32).reshape(len(rows), encoder.dim)


def _check_expanded(name: str, topics: Mapping[str, ExpandedTopic]) -> None:
    missing = [key for key, topic in topics.items() if not topic.expansions]
    if missing:
        raise InputError(
            f"the aggregation {name!r} has no expansion of {len(missing)} of {len(topics)} topics: "
            + ", ".join(missing[:5]),
            expected="an expansion of every topic; it may be empty",
            remedy="--expansions FILE" if len(missing) == len(topics) else "--skip-missing",
        )


def _query_texts(
    name: str, topics: Mapping[str, ExpandedTopic], encoder: Encoder, options: DenseOptions
) -> dict[str, str]:
    """What is encoded as a query for each topic."""
    if name != "concat":
        return {key: topic.topic.text for key, topic in topics.items()}
    separator = _own_separator(encoder) if options.separator is None else options.separator
    return {
        key: concat(topic.topic.text, [one.text for one in topic.expansions if one.text.strip()], separator)
        for key, topic in topics.items()
    }


def _own_separator(encoder: Encoder) -> str:
    token = encoder.model.tokenizer.sep_token
    if token is None:
        raise InputError(
            f"the tokenizer of {encoder.config.model} has no separator token",
            expected="a separator for the aggregation 'concat'",
            remedy="--separator ' '",
        )
    return f" {token} "


def _encoded(
    texts: Iterable[str], encode: Callable[[Sequence[str]], Vectors], options: DenseOptions
) -> dict[str, Vectors]:
    """Each distinct text with its vector."""
    distinct = list(dict.fromkeys(texts))
    vectors = encode(distinct)
    return dict(zip(distinct, _normalized(vectors) if options.normalize_parts else vectors, strict=True))


def _normalized(vectors: Vectors) -> Vectors:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise ExpandrError("a vector of length 0 cannot be normalised", expected="vectors with a direction")
    normalized: Vectors = vectors / lengths
    return normalized


def _combined(
    name: str, topic: ExpandedTopic, alone: Vectors, parts: Mapping[str, Vectors], options: DenseOptions
) -> Vectors:
    import numpy as np

    texts = [one.text for one in topic.expansions]
    if not any(map(str.strip, texts)):
        return alone
    return VECTORIAL[name](alone, np.stack([parts.get(text, alone) for text in texts]), options)
