"""The nouns of all other modules: frozen dataclasses, no logic, no imports of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Topic:
    """A user's question. Ids are strings: "007" stays "007"."""

    topic_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """One retrievable text. A document without a title has the title ""."""

    doc_id: str
    title: str
    text: str


Qrels: TypeAlias = dict[str, dict[str, int]]
"""Relevance judgements: topic_id -> doc_id -> grade (0 or less is not relevant)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message of a rendered prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Decoding:
    """How an LLM samples; every field is part of a generation's key in the store.

    Args:
        temperature: softmax temperature; 0 is greedy.
        top_p: nucleus mass in (0, 1].
        max_new_tokens: most tokens one sample may have.
        stop: texts that end a sample; they are not part of it.
        repetition_penalty: 1.0 is none.
        seed: the run's seed; each sample's own seed is derived from its key, which holds this one.
    """

    temperature: float = 1.0
    top_p: float = 0.9
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GeneratorId:
    """The LLM that wrote a text, as a part of the generation's key."""

    engine: str
    model: str
    revision: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One text still to be written: its index (from 0), its SHA-256 key and the seed derived from that key."""

    sample: int
    key: str
    seed: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One rendered prompt and the samples to write; recorded texts are found by the topic, which is in no key."""

    topic: Topic
    messages: tuple[Message, ...]
    samples: tuple[SampleKey, ...]
    decoding: Decoding


FinishReason: TypeAlias = Literal["stop", "length", "refused", "error"]


@dataclass(frozen=True, slots=True)
class Generation:
    """An LLM's raw answer to one sample of a request, or the reason why there is none.

    Args:
        key: the sample's key.
        text: the raw text; "" where finish_reason is "refused" or "error".
        finish_reason: "stop" (the model ended), "length" (max_new_tokens reached), "refused" (content filter), "error".
        tokens_in, tokens_out: prompt tokens and new tokens; None where the engine does not say.
        seconds: share in the wall time; that of a batch, or of requests under way together, is shared out evenly.
        engine_version: such as "transformers 5.23.0".
        error: the cause, for "refused" and "error".
    """

    key: str
    text: str
    finish_reason: FinishReason
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    engine_version: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """One text an LLM wrote for a topic.

    Args:
        sample: counts the expansions of a topic from 0.
        text: the cleaned text; "" is an expansion that was written and is empty.
        raw: the LLM's own text, where known.
        reasons: the steps of cleaning that changed it, by name.
        key: the generation's key in the store, where it came from there.
        tokens_in, tokens_out: prompt tokens and new tokens, where known.
        seconds: generation time of this sample, where known.
        extra: fields of an expansions file that this package does not read.
    """

    sample: int
    text: str
    raw: str | None = None
    reasons: tuple[str, ...] = ()
    key: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExpandedTopic:
    """A topic with its expansions, ordered by sample; `query_repeats` is an expansions file's word for this topic."""

    topic: Topic
    expansions: tuple[Expansion, ...] = ()
    query_repeats: int | None = None


SparseQuery: TypeAlias = str | Mapping[str, float]
"""Lucene's query: a text to analyse, or weights of terms that are analysed already."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved document, `rank` counted from 1."""

    doc_id: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hits:
    """A topic's ranking as parallel columns, best first: a thousand hits are two lists, not a thousand objects."""

    doc_ids: list[str]
    scores: list[float]

    def __iter__(self) -> Iterator[Hit]:
        pairs = zip(self.doc_ids, self.scores, strict=True)
        return (Hit(doc_id, rank, score) for rank, (doc_id, score) in enumerate(pairs, start=1))

    def __len__(self) -> int:
        return len(self.doc_ids)


Rankings: TypeAlias = dict[str, Hits]
"""topic_id -> ranking."""
