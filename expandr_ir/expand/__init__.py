"""Generates what the store does not have, a batch a commit, beside other processes that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from expandr_ir.errors import InputError
from expandr_ir.expand.expanded import Counts, Expanded, Failure, read, rows
from expandr_ir.expand.plan import Batch, Plan, plan
from expandr_ir.generators.base import Generator
from expandr_ir.records import Generation, GenerationRequest
from expandr_ir.store import Store
from expandr_ir.store.leases import EXPIRY_S, Leases

__all__ = ["Counts", "Expanded", "Failure", "Plan", "ProgressHook", "expand", "plan", "rows"]

POLL_S = 0.5

ProgressHook: TypeAlias = Callable[[int, int, int, int], None]
"""Is called with: samples done, samples to do in all, tokens written so far, samples failed so far."""


def expand(
    plan: Plan,
    generator: Generator,
    store: Store,
    on_progress: ProgressHook | None = None,
    *,
    max_words: int | None = None,
    expiry_s: float = EXPIRY_S,
) -> Expanded:
    """The expanded topics of a plan; what is due is generated first, a batch a commit.

    Processes that run the same plan on the same store take different batches and wait for each other's last ones. An
    exception, Ctrl-C included, leaves everything stored that had come.

    Args:
        plan: what is asked for.
        generator: the plan's generator.
        store: the plan's store.
        on_progress: is called after each sample.
        max_words: most words of a cleaned text; None is no limit.
        expiry_s: seconds after which a batch held by a process on another machine that fell silent is taken over.

    Raises:
        InputError: the generator is not the plan's.
        ExpandrError: the store fails, or the generator can give nothing more.
    """
    if generator.id != plan.generator:
        raise InputError(f"the generator is {generator.id}", expected=f"the plan's, {plan.generator}")
    tally = _Tally(len(plan.due), on_progress)
    leases = Leases(store, expiry_s)
    waiting = [batch for batch in plan.batches if _due(batch, plan)]
    while waiting:
        held_by_others = []
        for batch in waiting:
            with leases.hold(batch.key) as held:
                if held:
                    _answer(batch, plan, generator, store, tally)
                else:
                    held_by_others.append(batch)
        if len(held_by_others) == len(waiting):
            time.sleep(POLL_S)
        waiting = held_by_others
    return read(plan, store, tally.written, max_words)


@dataclass
class _Tally:
    """How far the work is."""

    total: int
    hook: ProgressHook | None
    done: int = 0
    tokens_out: int = 0
    failed: int = 0
    written: set[str] = field(default_factory=set)

    def count(self, generation: Generation) -> None:
        if generation.finish_reason in ("error", "refused"):
            self.failed += 1
        else:
            self.written.add(generation.key)
        self.tokens_out += generation.tokens_out or 0
        self.advance(1)

    def advance(self, samples: int) -> None:
        self.done += samples
        if self.hook and samples:
            self.hook(self.done, self.total, self.tokens_out, self.failed)


def _due(batch: Batch, plan: Plan) -> list[str]:
    return [sample.key for request in batch.requests for sample in request.samples if sample.key in plan.due]


def _answer(batch: Batch, plan: Plan, generator: Generator, store: Store, tally: _Tally) -> None:
    """Generates and stores what is still due of a batch: what another process answered since the plan is not."""
    due = _due(batch, plan)
    found = store.get(due)
    still = {key for key in due if (found[key].created if key in found else None) == plan.due[key]}
    tally.advance(len(due) - len(still))
    requests = [request for request in (_only(request, still) for request in batch.requests) if request.samples]
    if not requests:
        return
    received: list[Generation] = []
    try:
        for generation in generator.generate(requests):
            received.append(generation)
            tally.count(generation)
    finally:
        store.put(received, requests, plan.generator, plan.prompt)


def _only(request: GenerationRequest, keys: set[str]) -> GenerationRequest:
    return replace(request, samples=tuple(sample for sample in request.samples if sample.key in keys))
