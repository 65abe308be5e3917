"""Candidates: what an LLM writes for each training query at several temperatures, and its answer to query + positive.

Everything is generated through the expansion store: what is there is not written again, a killed run goes on, and
processes that share the store share the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.expand import Expanded, Plan, ProgressHook, expand, plan
from expandr_ir.generators import Generator
from expandr_ir.prompts import Prompt
from expandr_ir.records import Decoding, Document, Expansion, Message, Topic
from expandr_ir.store import Store
from expandr_ir.train.rows import TrainingRow


@dataclass(frozen=True)
class Writer:
    """An LLM with what it is asked and how it samples.

    Args:
        generator: the LLM.
        prompt: what it is asked.
        decoding: how it samples; the temperatures of candidates go before its own.
    """

    generator: Generator
    prompt: Prompt
    decoding: Decoding


@dataclass(frozen=True)
class Candidate:
    """One text that an LLM wrote for a query.

    Args:
        text: cleaned, as it is searched.
        key: the generation's key in the store.
        temperature: it was sampled at.
        sample: its index among the samples of this temperature.
    """

    text: str
    key: str
    temperature: float
    sample: int


@dataclass(frozen=True)
class Written:
    """What there is for one training row.

    Args:
        row: the row.
        messages: the rendered prompt.
        candidates: distinct and not empty, by temperature in the order asked for, then by sample.
        answer: the LLM's answer to query + positive; None where none was asked for, or it is empty or failed.
        dropped: samples that are no candidates, by reason: "failed", "refused", "empty", "duplicate".
    """

    row: TrainingRow
    messages: tuple[Message, ...]
    candidates: tuple[Candidate, ...]
    answer: Candidate | None
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class Drafts:
    """What is to be written.

    Args:
        rows: of distinct queries.
        candidates: a plan for each temperature.
        answers: the plan of the answers; None where no reward needs them.
        answer_temperature: the answers'.
    """

    rows: tuple[TrainingRow, ...]
    candidates: Mapping[float, Plan]
    answers: Plan | None
    answer_temperature: float

    @property
    def plans(self) -> list[Plan]:
        """All plans."""
        return [*self.candidates.values(), *([self.answers] if self.answers else [])]


def draft(
    rows: Sequence[TrainingRow],
    writer: Writer,
    temperatures: Sequence[float],
    samples: int,
    store: Store,
    answerer: Writer | None,
    *,
    retry_refused: bool = False,
    batch_samples: int | None = None,
) -> Drafts:
    """The plans of `samples` candidates at each temperature and, with an answerer, of one answer for each row.

    Args:
        rows: of distinct queries and ids.
        writer: of the candidates.
        temperatures: distinct ones.
        samples: of each temperature.
        store: where texts may be already.
        answerer: of the answers; its prompt is shown the first positive.
        retry_refused: generate again what was refused before.
        batch_samples: as in `expand.plan`.

    Raises:
        InputError: a temperature twice or below 0, fewer than 2 candidates, a candidates' prompt that shows documents,
            or an answers' prompt that shows passages.
    """
    if not temperatures or len(set(temperatures)) < len(temperatures) or min(temperatures) < 0:
        raise InputError(f"the temperatures {list(temperatures)}", expected="distinct ones of 0 or more")
    if samples < 1 or samples * len(temperatures) < 2:
        raise InputError(f"{samples} samples at {len(temperatures)} temperatures", expected="at least 2 candidates")
    if writer.prompt.needs:
        raise InputError(
            f"prompt {writer.prompt.id!r} shows {' and '.join(writer.prompt.needs)}",
            expected="a prompt of the query alone: the expander sees nothing else when it is used",
            remedy="--prompt passage",
        )
    topics = [Topic(row.row_id, row.query) for row in rows]
    shared: dict[str, Any] = {"retry_refused": retry_refused, "batch_samples": batch_samples}
    plans = {
        temperature: plan(
            topics,
            writer.prompt,
            writer.generator,
            replace(writer.decoding, temperature=float(temperature)),
            samples,
            store,
            **shared,
        )
        for temperature in temperatures
    }
    if answerer is None:
        return Drafts(tuple(rows), plans, None, 0.0)
    context = _positives(rows, answerer.prompt)
    answers = plan(topics, answerer.prompt, answerer.generator, answerer.decoding, 1, store, context=context, **shared)
    return Drafts(tuple(rows), plans, answers, float(answerer.decoding.temperature))


@dataclass(frozen=True)
class Texts:
    """All that was written.

    Args:
        written: of each row, in the rows' order.
        expanded: what came of each plan, answers last.
    """

    written: tuple[Written, ...]
    expanded: tuple[Expanded, ...]

    @property
    def failures(self) -> int:
        """Samples without a text."""
        return sum(len(one.failures) for one in self.expanded)


def write(
    drafts: Drafts,
    writer: Writer,
    answerer: Writer | None,
    store: Store,
    on_progress: ProgressHook | None = None,
    max_words: int | None = None,
) -> Texts:
    """The candidates and answers of the drafts, generated where the store lacks them.

    Args:
        drafts: what is asked for.
        writer: of the candidates.
        answerer: of the answers.
        store: the drafts' store.
        on_progress: as in `expand`, over all plans.
        max_words: most words of a cleaned text; None is no limit.

    Raises:
        ExpandrError: the store fails, or a generator can give nothing more.
    """
    hook = _Joined(sum(len(one.due) for one in drafts.plans), on_progress)
    expanded = {}
    for temperature, one in drafts.candidates.items():
        expanded[temperature] = expand(one, writer.generator, store, hook.of(one), max_words=max_words)
    answers: Expanded | None = None
    if drafts.answers is not None:
        assert answerer is not None
        answers = expand(drafts.answers, answerer.generator, store, hook.of(drafts.answers), max_words=max_words)
    texts = {
        temperature: {one.topic.topic_id: one.expansions for one in done.topics}
        for temperature, done in expanded.items()
    }
    failures: dict[str, Counter[str]] = {row.row_id: Counter() for row in drafts.rows}
    for done in expanded.values():
        for failure in done.failures:
            failures[failure.topic_id]["refused" if failure.refused else "failed"] += 1
    answered = {one.topic.topic_id: one.expansions for one in answers.topics} if answers else {}
    first = next(iter(drafts.candidates.values()))
    written = []
    for row in drafts.rows:
        own = {temperature: by_row[row.row_id] for temperature, by_row in texts.items()}
        candidates, dropped = _distinct(own)
        reply = next((one for one in answered.get(row.row_id, ()) if one.text), None)
        written.append(
            Written(
                row,
                first.requests[row.row_id].messages,
                candidates,
                _candidate(reply, drafts.answer_temperature) if reply else None,
                dict(dropped + failures[row.row_id]),
            )
        )
    return Texts(tuple(written), (*expanded.values(), *([answers] if answers else [])))


class _Joined:
    """The progress of several plans, shown as of one."""

    def __init__(self, total: int, hook: ProgressHook | None) -> None:
        self._total, self._hook = total, hook
        self._base = self._last = (0, 0, 0)

    def of(self, plan: Plan) -> ProgressHook | None:  # noqa: ARG002
        """The hook of the next plan."""
        if self._hook is None:
            return None
        self._base = self._last
        return self._show

    def _show(self, done: int, total: int, tokens_out: int, failed: int) -> None:  # noqa: ARG002
        assert self._hook is not None
        before, tokens, failures = self._base
        self._last = (before + done, tokens + tokens_out, failures + failed)
        self._hook(self._last[0], self._total, *self._last[1:])


def _distinct(own: Mapping[float, Sequence[Expansion]]) -> tuple[tuple[Candidate, ...], Counter[str]]:
    """The candidates, the first of equal texts each, and how many were empty or duplicates."""
    kept: dict[str, Candidate] = {}
    dropped: Counter[str] = Counter()
    for temperature, expansions in own.items():
        for expansion in expansions:
            if not expansion.text:
                dropped["empty"] += 1
            elif expansion.text in kept:
                dropped["duplicate"] += 1
            else:
                kept[expansion.text] = _candidate(expansion, temperature)
    return tuple(kept.values()), dropped


def _candidate(expansion: Expansion, temperature: float) -> Candidate:
    assert expansion.key is not None
    return Candidate(expansion.text, expansion.key, temperature, expansion.sample)


def _positives(rows: Sequence[TrainingRow], prompt: Prompt) -> dict[str, dict[str, Document]]:
    """What the answers' prompt shows: the first positive, where it shows a document."""
    if "passages" in prompt.needs:
        raise InputError(
            f"prompt {prompt.id!r} shows passages", expected="a prompt of query and document", remedy="answer"
        )
    if "document" not in prompt.needs:
        return {}
    return {row.row_id: {"document": Document(row.row_id, "", row.positives[0])} for row in rows}
