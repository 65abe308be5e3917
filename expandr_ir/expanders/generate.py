"""Generates the texts that a plan lacks, a batch a commit, beside other processes that do the same."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import asdict, replace

from expandr_ir.cleaning import clean
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders.plan import Batch, Plan
from expandr_ir.generators import Generator
from expandr_ir.io.expansions import FAILED, Expansions, Failure
from expandr_ir.progress import progress
from expandr_ir.records import ExpandedTopic, Expansion, Generation, GenerationRequest
from expandr_ir.store import Store, StoredGeneration
from expandr_ir.store.leases import EXPIRY_S, Leases

logger = logging.getLogger(__name__)

POLL_S = 0.5


def generate(
    plan: Plan, generator: Generator, store: Store, *, max_words: int | None = None, expiry_s: float = EXPIRY_S
) -> Expansions:
    """The plan's topics with their texts, cleaned; missing texts are generated first, a batch a commit.

    Processes that run the same plan on the same store take different batches and wait for each other's last ones; a
    batch held by a process on another machine that was silent for `expiry_s` is taken over. An exception, Ctrl-C
    included, leaves all texts that had come in the store.
    """
    if generator.id != plan.generator:
        raise InputError(f"the generator is {generator.id}", expected=f"the plan's, {plan.generator}")
    batches = [batch for batch in plan.batches if _due_keys(batch, plan)]
    generated: set[str] = set()
    try:
        _generate_batches(batches, plan, generator, store, generated, expiry_s)
    except (ExpandrError, KeyboardInterrupt):
        if generated:
            logger.warning("what was generated is stored; the same command goes on from there")
        raise
    return read_expansions(plan, store, generated, max_words)


def read_expansions(
    plan: Plan, store: Store, generated: AbstractSet[str] = frozenset(), max_words: int | None = None
) -> Expansions:
    """The plan's texts as far as the store has them; a sample that it lacks is a failure.

    `generated` holds the keys of the texts that this process has just generated, for the counts.
    """
    stored = store.get(sample.key for request in plan.distinct_requests() for sample in request.samples)
    expansions: dict[str, Expansion] = {}
    errors: dict[str, tuple[bool, str]] = {}
    for request in plan.distinct_requests():
        for sample in request.samples:
            row = stored.get(sample.key)
            if row is None:
                errors[sample.key] = (False, "the generator gave no answer")
            elif row.generation.finish_reason in FAILED:
                reason = row.generation.finish_reason
                errors[sample.key] = (reason == "refused", row.generation.error or reason)
            else:
                expansions[sample.key] = _expansion(sample.sample, row, request, plan, max_words)
    samples = {topic.topic_id: plan.requests[topic.topic_id].samples for topic in plan.topics}
    topics = {
        topic.topic_id: ExpandedTopic(topic, of_topic)
        for topic in plan.topics
        if (of_topic := tuple(expansions[s.key] for s in samples[topic.topic_id] if s.key in expansions))
    }
    failures = [Failure(i, s.sample, *errors[s.key]) for i in samples for s in samples[i] if s.key in errors]
    missing = [topic_id for topic_id in samples if topic_id not in topics]
    texts = list(expansions.values())
    tokens = {"in": sum(t.tokens_in or 0 for t in texts), "out": sum(t.tokens_out or 0 for t in texts)}
    refused = sum(is_refusal for is_refusal, _ in errors.values())
    return Expansions(
        topics,
        missing=missing,
        failures=failures,
        counts={
            "topics": len(plan.topics),
            "stored": len(texts) - len(generated & expansions.keys()),
            "generated": len(generated & expansions.keys()),
            "failed": len(errors) - refused,
            "refused": refused,
            "empty": sum(not text.text for text in texts),
            "truncated": sum(text.extra["finish_reason"] == "length" for text in texts),
            **{f"tokens_{name}": n for name, n in tokens.items()},
            "topics_missing": len(missing),
            "topics_empty": sum(not any(e.text for e in topic.expansions) for topic in topics.values()),
        },
        reasons=dict(Counter(reason for text in texts for reason in text.reasons).most_common()),
        tokens=tokens,
        seconds=sum(text.seconds or 0.0 for text in texts),
        details={"prompt": plan.prompt, "prompt_sha256": plan.prompt_sha256, "generator": asdict(plan.generator)},
    )


def require_texts(expansions: Expansions) -> Expansions:
    """The expansions; where no topic has a text, not even an empty one, an error."""
    if not expansions:
        first = expansions.failures[0]
        raise ExpandrError(
            f"none of the {expansions.counts['topics']} topics got an expansion; topic {first.topic_id}: {first.error}",
            expected="a text for at least one topic",
            remedy="--retry-refused asks again what was refused" if first.refused else "the same command tries again",
        )
    return expansions


def _generate_batches(
    batches: list[Batch], plan: Plan, generator: Generator, store: Store, generated: set[str], expiry_s: float
) -> None:
    """Generates batch by batch, those that other processes hold last; adds the new texts' keys to `generated`."""
    if not batches:
        return
    leases = Leases(store, expiry_s)
    with progress("samples", len(plan.due)) as advance:
        counter = _SampleCounter(advance)
        while batches:
            held_by_others = []
            for batch in batches:
                with leases.hold(batch.key) as is_ours:
                    if is_ours:
                        _generate_batch(batch, plan, generator, store, counter, generated)
                    else:
                        held_by_others.append(batch)
            if len(held_by_others) == len(batches):
                time.sleep(POLL_S)
            batches = held_by_others


class _SampleCounter:
    """Shows samples as they come, with tokens a second and failures."""

    def __init__(self, advance: Callable[..., None]) -> None:
        self.advance = advance
        self._start, self._tokens_out, self._failed = time.monotonic(), 0, 0

    def add(self, generation: Generation) -> None:
        self._failed += generation.finish_reason in FAILED
        self._tokens_out += generation.tokens_out or 0
        rate = self._tokens_out / max(time.monotonic() - self._start, 1e-3)
        self.advance(1, f"{rate:,.0f} tokens/s" + (f", {self._failed} failed" if self._failed else ""))


def _due_keys(batch: Batch, plan: Plan) -> list[str]:
    return [sample.key for request in batch.requests for sample in request.samples if sample.key in plan.due]


def _generate_batch(
    batch: Batch, plan: Plan, generator: Generator, store: Store, counter: _SampleCounter, generated: set[str]
) -> None:
    """Generates and stores the samples of a batch that no other process has answered since the plan."""
    due = _due_keys(batch, plan)
    stored = store.get(due)
    still_due = {key for key in due if (stored[key].created if key in stored else None) == plan.due[key]}
    counter.advance(len(due) - len(still_due))
    requests = [
        replace(request, samples=tuple(sample for sample in request.samples if sample.key in still_due))
        for request in batch.requests
    ]
    requests = [request for request in requests if request.samples]
    if not requests:
        return
    received: list[Generation] = []
    try:
        for generation in generator.generate(requests):
            received.append(generation)
            counter.add(generation)
    finally:
        store.put(received, requests, plan.generator, plan.prompt)
        generated |= {g.key for g in received if g.finish_reason not in FAILED}


def _expansion(
    sample: int, row: StoredGeneration, request: GenerationRequest, plan: Plan, max_words: int | None
) -> Expansion:
    generation, text = row.generation, row.generation.text
    reasons: tuple[str, ...] = ()
    if not row.verbatim:
        cleaned = clean(text, prompt_text=request.messages[-1].content, max_words=max_words)
        text, reasons = cleaned.text, cleaned.reasons
    generator = {name: value for name, value in asdict(plan.generator).items() if value is not None}
    return Expansion(
        sample=sample,
        text=text,
        raw=generation.text,
        reasons=reasons,
        key=generation.key,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        seconds=generation.seconds,
        extra={"prompt": plan.prompt, "generator": generator, "finish_reason": generation.finish_reason},
    )
