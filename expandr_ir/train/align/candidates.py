"""Candidates: an LLM's texts for each training query at several temperatures, and its answer to query and positive.

Everything is generated through the expansion store: a killed run goes on, and several processes share the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from expandr_ir.errors import InputError, check_fields
from expandr_ir.expanders import Expander, ExpanderConfig, ReuseOptions, load_expander
from expandr_ir.io.expansions import Expansions
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Document, Expansion, Message, Topic
from expandr_ir.retrievers.base import select_fields
from expandr_ir.train.align.rewards import Evidence, Floats
from expandr_ir.train.data.rows import TrainingRow

if TYPE_CHECKING:
    from expandr_ir.config import GeneratorConfig
    from expandr_ir.generators import Generator


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(ReuseOptions):
    """Options of the LLM's own answers to query and positive, which the reward `self` reads.

    Args:
        answer_prompt: of the answers, shown query and positive.
        answer_generator: writes the answers; None is the candidates' generator.
        answer_temperature: of the answers.
    """

    answer_prompt: str = "answer"
    answer_generator: str | None = None
    answer_temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CandidateOptions(AnswerOptions):
    """Options of the candidates and answers; what is None is the generator's own.

    Args:
        prompt: of the candidates, a name of conf/prompts or a YAML file; None takes the one the generator was trained
            with, else "passage". The aligned expander is to be used with the same one.
        temperatures: of the candidates.
        samples: candidates at each temperature.
        top_p: nucleus mass, of candidates and answers.
        max_new_tokens: most tokens of a candidate or answer.
        repetition_penalty: of candidates and answers.
        max_words: most words of a candidate or answer once it is cleaned; None is no limit.
    """

    prompt: str | None = None
    temperatures: list[float] = field(default_factory=lambda: [0.8, 0.9, 1.0, 1.1])
    samples: int = 8
    top_p: float | None = None
    max_new_tokens: int | None = None
    repetition_penalty: float | None = None
    max_words: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "samples", "max_words", "max_new_tokens", least=1)
        temperatures, samples = self.temperatures, self.samples
        if not temperatures or len(set(temperatures)) < len(temperatures) or min(temperatures) < 0:
            raise InputError(f"the temperatures {temperatures}", expected="distinct ones of 0 or more")
        if samples * len(temperatures) < 2:
            raise InputError(f"{samples} samples at temperature {temperatures[0]}", expected="at least 2 candidates")


@dataclass
class Candidates:
    """A training row with the distinct texts that an LLM wrote for it; each later step fills in its columns."""

    row: TrainingRow
    texts: list[str] = field(default_factory=list)  # cleaned and not empty, by temperature, then by sample
    origins: list[dict[str, Any]] = field(default_factory=list)  # "key" in the store, "temperature", "sample"
    answer: str | None = None  # None where no reward needs it, or it is empty or failed
    answer_origin: dict[str, Any] | None = None
    messages: tuple[Message, ...] = ()  # the rendered prompt
    dropped: Counter[str] = field(default_factory=Counter)  # samples that are "failed", "refused", "empty", "duplicate"
    evidence: Evidence = field(default_factory=Evidence)
    rewards: dict[str, Floats] = field(default_factory=dict)  # by name; empty where nothing was compared
    total: Floats = field(default_factory=lambda: np.empty(0))
    reason: str | None = None  # one of rewards.REASONS, where there is no preference
    chosen: int = 0  # place of the text with the highest total
    rejected: int = 0


class CandidateWriter:
    """The LLMs that write candidates and, with_answers, answers, with one store; the stack closes them."""

    def __init__(
        self,
        options: CandidateOptions,
        generator: GeneratorConfig | Generator,
        rows: Sequence[TrainingRow],
        stack: ExitStack,
        *,
        with_answers: bool,
    ) -> None:
        self.options, self.rows, self.texts = options, rows, list[Expansions]()
        decoding = {name: getattr(options, name) for name in ("top_p", "max_new_tokens", "repetition_penalty")}
        more = options.expand_options(prompt=options.prompt, samples=options.samples, max_words=options.max_words)
        config = ExpanderConfig(generator="", **decoding)
        self.expander = stack.enter_context(load_expander(config, generator=generator, options=more))
        self.prompt, self.answer_prompt = self.expander.prompt, load_prompt(options.answer_prompt)
        if self.prompt.needs:
            raise InputError(
                f"prompt {self.prompt.id!r} shows {' and '.join(self.prompt.needs)}",
                expected="a prompt of the query alone: the expander sees nothing else when it is used",
                remedy="--prompt passage",
            )
        if with_answers and "passages" in self.answer_prompt.needs:
            raise InputError(
                f"prompt {self.answer_prompt.id!r} shows passages",
                expected="a prompt of query and document",
                remedy="--answer-prompt answer",
            )
        self.answerer = self.expander if with_answers else None
        if with_answers and options.answer_generator:
            more = replace(more, prompt=options.answer_prompt)
            answerer = load_expander(
                config, generator=options.answer_generator, store=self.expander.store, options=more
            )
            self.answerer = stack.enter_context(answerer)

    def calls(self) -> list[tuple[Expander, dict[str, Any]]]:
        """The arguments of `Expander.generate`: one call for each temperature, then one for the answers."""
        topics = {row.row_id: Topic(row.row_id, row.query) for row in self.rows}
        calls: list[tuple[Expander, dict[str, Any]]] = []
        for temperature in self.options.temperatures:
            decoding = replace(self.expander.decoding, temperature=float(temperature))
            calls.append((self.expander, {"prompt": self.prompt, "topics": topics, "decoding": decoding}))
        if self.answerer:
            decoding = replace(self.answerer.decoding, temperature=float(self.options.answer_temperature))
            answers = {"prompt": self.answer_prompt, "topics": topics, "decoding": decoding, "samples": 1}
            if "document" in self.answer_prompt.needs:
                positives = {row.row_id: Document(row.row_id, "", row.positives[0]) for row in self.rows}
                answers["context"] = {row_id: {"document": document} for row_id, document in positives.items()}
            calls.append((self.answerer, answers))
        return calls

    def forecast(self) -> dict[str, int]:
        """The work of writing; nothing is generated."""
        forecasts = [expander.plan(**call).forecast() for expander, call in self.calls()]
        return {name: count for name, count in reduce(add, forecasts).rows().items() if name != "topics"}

    def write(self) -> list[Candidates]:
        """The candidates of each row, in order; `texts` then has what was generated."""
        self.texts = [expander.generate(**call) for expander, call in self.calls()]
        table = {
            row.row_id: Candidates(row, messages=self.prompt.render(Topic(row.row_id, row.query))) for row in self.rows
        }
        for temperature, expansions in zip(self.options.temperatures, self.texts, strict=False):
            for row_id, topic in expansions.items():
                entry = table[row_id]
                for expansion in topic.expansions:
                    if not expansion.text:
                        entry.dropped["empty"] += 1
                    elif expansion.text in entry.texts:
                        entry.dropped["duplicate"] += 1
                    else:
                        entry.texts.append(expansion.text)
                        entry.origins.append(_origin(expansion, temperature))
            for failure in expansions.failures:
                table[failure.topic_id].dropped["refused" if failure.refused else "failed"] += 1
        for row_id, topic in self.texts[-1].items() if self.answerer else ():
            answer, entry = topic.expansions[0], table[row_id]
            if answer.text:
                entry.answer, entry.answer_origin = answer.text, _origin(answer, self.options.answer_temperature)
        return list(table.values())

    def provenance(self) -> dict[str, Any]:
        """Everything that candidates and answers depend on besides the rows, as plain data."""
        options = self.options
        writer = _llm(self.expander, self.prompt, temperatures=options.temperatures, samples=options.samples)
        del writer["decoding"]["temperature"]
        answers = self.answerer and _llm(self.answerer, self.answer_prompt, temperature=options.answer_temperature)
        return writer | {"answers": answers}


def write_answers(options: AnswerOptions, generator: GeneratorConfig, rows: Sequence[TrainingRow]) -> dict[str, str]:
    """The LLM's own answer to each row's query and positive, by row_id; empty and failed ones are left out."""
    with ExitStack() as stack:
        given = CandidateOptions(**select_fields(options, AnswerOptions))
        expander, call = CandidateWriter(given, generator, rows, stack, with_answers=True).calls()[-1]
        answers = {row_id: topic.expansions[0].text for row_id, topic in expander.generate(**call).items()}
    return {row_id: text for row_id, text in answers.items() if text}


def _origin(expansion: Expansion, temperature: float) -> dict[str, Any]:
    return {"key": expansion.key, "temperature": float(temperature), "sample": expansion.sample}


def _llm(expander: Expander, prompt: Prompt, **decoding: Any) -> dict[str, Any]:
    return {
        "generator": asdict(expander.generator.id),
        "prompt": {"id": f"{prompt.id}@{prompt.version}", "sha256": prompt.sha256},
        "decoding": asdict(expander.decoding) | decoding,
    }
