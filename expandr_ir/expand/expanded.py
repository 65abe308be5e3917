"""What came of a plan: its topics with their expansions, read from the store, cleaned and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from expandr_ir.clean import clean
from expandr_ir.expand.plan import Plan
from expandr_ir.records import ExpandedTopic, Expansion, GenerationRequest, Topic
from expandr_ir.store import Store, StoredGeneration


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample of a topic that has no text, and why.

    Args:
        topic_id: the topic.
        sample: the sample's index.
        refused: a content filter stopped it; it is not tried again unless asked.
        error: what the engine said.
    """

    topic_id: str
    sample: int
    refused: bool
    error: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What an expansion came to; samples are distinct ones, however many topics share them.

    Args:
        stored: texts that were there, or that another process wrote meanwhile.
        generated: texts that this process wrote.
        failed: samples without a text, because of an error.
        refused: samples without a text, because a content filter stopped them.
        empty: texts that are empty once they are cleaned.
        truncated: texts cut at max_new_tokens.
        reasons: what cleaning did, by name, with the number of texts.
        tokens_in: prompt tokens of all texts, where known.
        tokens_out: written tokens of all texts, where known.
        seconds: generation time of all texts.
        topics_missing: topics all of whose samples failed or were refused.
        topics_empty: topics that have expansions, none of which holds a word; they are searched alone.
    """

    stored: int
    generated: int
    failed: int
    refused: int
    empty: int
    truncated: int
    reasons: Mapping[str, int]
    tokens_in: int
    tokens_out: int
    seconds: float
    topics_missing: int
    topics_empty: int


@dataclass(frozen=True)
class Expanded:
    """The topics of a plan, each once and in its order, with the expansions there are.

    Args:
        plan: what was asked for.
        topics: the expanded topics.
        failures: the samples without a text, in the topics' order.
        counts: what it came to.
    """

    plan: Plan
    topics: tuple[ExpandedTopic, ...]
    failures: tuple[Failure, ...]
    counts: Counts


def read(plan: Plan, store: Store, written: AbstractSet[str] = frozenset(), max_words: int | None = None) -> Expanded:
    """The expanded topics of a plan as far as the store has them; a sample it does not have is a failure.

    Args:
        plan: what is asked for.
        store: the plan's store.
        written: keys of the texts that this process has just written, for the counts.
        max_words: most words of a cleaned text; None is no limit.

    Raises:
        StoreCorruptError: the store is damaged.
    """
    found = store.get(sample.key for request in plan.distinct_requests() for sample in request.samples)
    expansions: dict[str, Expansion] = {}
    errors: dict[str, tuple[bool, str]] = {}
    for request in plan.distinct_requests():
        for sample in request.samples:
            stored = found.get(sample.key)
            if stored is None:
                errors[sample.key] = (False, "the generator gave no answer")
            elif stored.generation.finish_reason in ("error", "refused"):
                reason = stored.generation.finish_reason
                errors[sample.key] = (reason == "refused", stored.generation.error or reason)
            else:
                expansions[sample.key] = _expansion(sample.sample, stored, request, max_words)
    topics = tuple(ExpandedTopic(topic, _of(topic, plan, expansions)) for topic in plan.topics)
    failures = tuple(
        Failure(topic.topic_id, sample.sample, *errors[sample.key])
        for topic in plan.topics
        for sample in plan.requests[topic.topic_id].samples
        if sample.key in errors
    )
    return Expanded(plan, topics, failures, _counts(topics, expansions, errors, written))


def rows(expanded: Expanded) -> Iterator[dict[str, Any]]:
    """One JSON object an expansion, as an expansions file holds them; `raw` is there only where cleaning changed it."""
    plan = expanded.plan
    generator = {name: value for name, value in asdict(plan.generator).items() if value is not None}
    for one in expanded.topics:
        for expansion in one.expansions:
            yield {
                "topic_id": one.topic.topic_id,
                "sample": expansion.sample,
                "topic_text": one.topic.text,
                "text": expansion.text,
                **({"raw": expansion.raw} if expansion.raw != expansion.text else {}),
                "reasons": list(expansion.reasons),
                "key": expansion.key,
                "prompt": plan.prompt,
                "generator": generator,
                **expansion.extra,
                "tokens_in": expansion.tokens_in,
                "tokens_out": expansion.tokens_out,
                "seconds": expansion.seconds,
            }


def _expansion(sample: int, stored: StoredGeneration, request: GenerationRequest, max_words: int | None) -> Expansion:
    generation = stored.generation
    text: str = generation.text
    reasons: tuple[str, ...] = ()
    if not stored.verbatim:
        cleaned = clean(generation.text, prompt_text=request.messages[-1].content, max_words=max_words)
        text, reasons = cleaned.text, cleaned.reasons
    return Expansion(
        sample=sample,
        text=text,
        raw=generation.text,
        reasons=reasons,
        key=generation.key,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        seconds=generation.seconds,
        extra={"finish_reason": generation.finish_reason},
    )


def _of(topic: Topic, plan: Plan, expansions: Mapping[str, Expansion]) -> tuple[Expansion, ...]:
    samples = plan.requests[topic.topic_id].samples
    return tuple(expansions[sample.key] for sample in samples if sample.key in expansions)


def _counts(
    topics: tuple[ExpandedTopic, ...],
    expansions: Mapping[str, Expansion],
    errors: Mapping[str, tuple[bool, str]],
    written: AbstractSet[str],
) -> Counts:
    texts = expansions.values()
    generated = len(written & expansions.keys())
    refused = sum(refused for refused, _ in errors.values())
    return Counts(
        stored=len(texts) - generated,
        generated=generated,
        failed=len(errors) - refused,
        refused=refused,
        empty=sum(not one.text for one in texts),
        truncated=sum(one.extra["finish_reason"] == "length" for one in texts),
        reasons=dict(Counter(reason for one in texts for reason in one.reasons).most_common()),
        tokens_in=sum(one.tokens_in or 0 for one in texts),
        tokens_out=sum(one.tokens_out or 0 for one in texts),
        seconds=sum(one.seconds or 0.0 for one in texts),
        topics_missing=sum(not one.expansions for one in topics),
        topics_empty=sum(bool(one.expansions) and not any(text.text for text in one.expansions) for one in topics),
    )
