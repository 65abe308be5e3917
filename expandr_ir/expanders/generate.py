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
from expandr_ir.io.files import sha256_json
from expandr_ir.progress import progress
from expandr_ir.records import ExpandedTopic, Expansion, Generation
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
    work = _Work(plan, generator, store)
    try:
        if plan.due:
            with progress("samples", len(plan.due)) as advance:
                work.run(Leases(store, expiry_s), advance)
    except (ExpandrError, KeyboardInterrupt):
        if work.generated:
            logger.warning("what was generated is stored; the same command goes on from there")
        raise
    return read_expansions(plan, store, work.generated, max_words)


class _Work:
    """The generation of what a plan lacks; `generated` holds the keys of the new texts."""

    def __init__(self, plan: Plan, generator: Generator, store: Store) -> None:
        self._plan, self._generator, self._store = plan, generator, store
        self.generated: set[str] = set()
        self._start, self._tokens_out, self._failed = time.monotonic(), 0, 0

    def run(self, leases: Leases, advance: Callable[..., None]) -> None:
        """Generates batch by batch, those that other processes hold last."""
        batches = [batch for batch in self._plan.batches if self._due_keys(batch)]
        while batches:
            held_by_others = []
            for batch in batches:
                with leases.hold(sha256_json([sample.key for r in batch for sample in r.samples])) as is_ours:
                    if is_ours:
                        self._generate(batch, advance)
                    else:
                        held_by_others.append(batch)
            if len(held_by_others) == len(batches):
                time.sleep(POLL_S)
            batches = held_by_others

    def _due_keys(self, batch: Batch) -> list[str]:
        return [sample.key for request in batch for sample in request.samples if sample.key in self._plan.due]

    def _generate(self, batch: Batch, advance: Callable[..., None]) -> None:
        """Generates and stores the samples of a batch that no other process has answered since the plan."""
        plan, due = self._plan, self._due_keys(batch)
        stored = self._store.get(due)
        still_due = {key for key in due if (stored[key].created if key in stored else None) == plan.due[key]}
        advance(len(due) - len(still_due))
        requests = [replace(r, samples=tuple(s for s in r.samples if s.key in still_due)) for r in batch]
        requests = [request for request in requests if request.samples]
        if not requests:
            return
        received: list[Generation] = []
        try:
            for generation in self._generator.generate(requests):
                received.append(generation)
                advance(1, self._note(generation))
        finally:
            self._store.put(received, requests, plan.generator, plan.prompt)
            self.generated |= {g.key for g in received if g.finish_reason not in FAILED}

    def _note(self, generation: Generation) -> str:
        self._failed += generation.finish_reason in FAILED
        self._tokens_out += generation.tokens_out or 0
        rate = self._tokens_out / max(time.monotonic() - self._start, 1e-3)
        return f"{rate:,.0f} tokens/s" + (f", {self._failed} failed" if self._failed else "")


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
            elif (reason := row.generation.finish_reason) in FAILED:
                errors[sample.key] = (reason == "refused", row.generation.error or reason)
            else:
                prompt_text = request.messages[-1].content
                expansions[sample.key] = _expansion(sample.sample, row, prompt_text, plan, max_words)
    samples = {topic_id: request.samples for topic_id, request in plan.requests.items()}
    of_topic = {i: tuple(expansions[s.key] for s in samples[i] if s.key in expansions) for i in samples}
    texts = list(expansions.values())
    tokens = {"in": sum(t.tokens_in or 0 for t in texts), "out": sum(t.tokens_out or 0 for t in texts)}
    n_generated, n_refused = len(generated & expansions.keys()), sum(refused for refused, _ in errors.values())
    return Expansions(
        {i: ExpandedTopic(plan.topics[i], topic_texts) for i, topic_texts in of_topic.items() if topic_texts},
        missing=[topic_id for topic_id, topic_texts in of_topic.items() if not topic_texts],
        failures=[Failure(i, s.sample, *errors[s.key]) for i in samples for s in samples[i] if s.key in errors],
        counts={
            "stored": len(texts) - n_generated,
            "generated": n_generated,
            "failed": len(errors) - n_refused,
            "refused": n_refused,
            "empty": sum(not text.text for text in texts),
            "truncated": sum(text.extra["finish_reason"] == "length" for text in texts),
            **{f"tokens_{name}": n for name, n in tokens.items()},
        },
        reasons=dict(Counter(reason for text in texts for reason in text.reasons).most_common()),
        tokens=tokens,
        seconds=sum(text.seconds or 0.0 for text in texts),
        details={"prompt": plan.prompt, "prompt_sha256": plan.prompt_sha256, "generator": asdict(plan.generator)},
    )


def _expansion(sample: int, row: StoredGeneration, prompt_text: str, plan: Plan, max_words: int | None) -> Expansion:
    generation, text = row.generation, row.generation.text
    reasons: tuple[str, ...] = ()
    if not row.verbatim:
        cleaned = clean(text, prompt_text=prompt_text, max_words=max_words)
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
