"""Texts to token ids for training: the prompt and chat template of inference, lengths cut and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.records import Message

IGNORED = -100
"""The label of a token that no loss is taken of."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with the better and the worse of two answers.

    Args:
        where: file and line, for errors.
        prompt: the rendered messages.
        chosen, rejected: the answers' texts.
    """

    where: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt with an answer to imitate.

    Args:
        where: file and line, for errors.
        prompt: the rendered messages.
        answer: the answer's text.
    """

    where: str
    prompt: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Prepared:
    """Rows of token ids, as TRL's collators take them, and what was done to them.

    Args:
        rows: prompt_ids, chosen_ids and rejected_ids; or input_ids and labels.
        counts: rows, truncated_prompts, truncated_answers, dropped_full_prompts (the prompt fills the whole length),
            unended_answers (the chat template ends them with no end token), tokens.
    """

    rows: list[dict[str, list[int]]]
    counts: dict[str, int]

    def counts_with(self, dev: Prepared | None) -> dict[str, int]:
        """The counts, and those of the held-out part with "dev_" before their names, where there is one."""
        return self.counts | ({f"dev_{name}": value for name, value in dev.counts.items()} if dev else {})


class Preparation:
    """Tokenizes with one tokenizer and one pair of lengths.

    A prompt that is too long keeps its last tokens, where the topic and the assistant's header stand, as
    `max_prompt_length` did in the TRL releases that the published systems were trained with; an answer keeps its first
    ones.

    Args:
        tokenizer: with a chat template.
        max_length: most tokens of prompt and answer; None is no limit.
        max_prompt_length: most tokens of a prompt; None is no limit.

    Raises:
        InputError: a length below 1.
    """

    def __init__(self, tokenizer: Any, max_length: int | None, max_prompt_length: int | None) -> None:
        for name, length in (("max_length", max_length), ("max_prompt_length", max_prompt_length)):
            if length is not None and length < 1:
                raise InputError(f"{name} is {length}", expected="1 token or more")
        self._tokenizer = tokenizer
        self._special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._max_length, self._max_prompt_length = max_length, max_prompt_length

    def preferences(self, pairs: Iterable[Pair]) -> Prepared:
        """The rows of preferences: prompt_ids, chosen_ids, rejected_ids.

        Raises:
            InputError: the chat template renders a prompt in another way once it is answered.
        """
        counts = self._counts()
        rows = []
        for one in pairs:
            start = self._prompt(one.prompt, counts)
            if start is not None:
                chosen = self._answer(one.prompt, one.chosen, len(start), one.where, counts)
                rejected = self._answer(one.prompt, one.rejected, len(start), one.where, counts)
                counts["tokens"] += 2 * len(start) + len(chosen) + len(rejected)
                rows.append({"prompt_ids": start, "chosen_ids": chosen, "rejected_ids": rejected})
        counts["rows"] = len(rows)
        return Prepared(rows, dict(counts))

    def demonstrations(self, demonstrations: Iterable[Demonstration]) -> Prepared:
        """The rows of demonstrations: input_ids, and labels that leave the prompt out.

        Raises:
            InputError: the chat template renders a prompt in another way once it is answered.
        """
        counts = self._counts()
        rows = []
        for one in demonstrations:
            start = self._prompt(one.prompt, counts)
            if start is not None:
                answer = self._answer(one.prompt, one.answer, len(start), one.where, counts)
                counts["tokens"] += len(start) + len(answer)
                rows.append({"input_ids": start + answer, "labels": [IGNORED] * len(start) + answer})
        counts["rows"] = len(rows)
        return Prepared(rows, dict(counts))

    @staticmethod
    def _counts() -> Counter[str]:
        names = ("rows", "truncated_prompts", "truncated_answers", "dropped_full_prompts", "unended_answers", "tokens")
        return Counter(dict.fromkeys(names, 0))

    def _prompt(self, messages: Sequence[Message], counts: Counter[str]) -> list[int] | None:
        """The prompt's ids; None where they leave no room for an answer."""
        ids = prompt_ids(self._tokenizer, messages)
        if self._max_prompt_length is not None and len(ids) > self._max_prompt_length:
            counts["truncated_prompts"] += 1
            ids = ids[-self._max_prompt_length :]
        if self._max_length is not None and len(ids) >= self._max_length:
            counts["dropped_full_prompts"] += 1
            return None
        return ids

    def _answer(
        self, messages: Sequence[Message], answer: str, taken: int, where: str, counts: Counter[str]
    ) -> list[int]:
        """The ids of an answer with what the chat template writes after it.

        It is tokenized apart from the prompt, as a model writes it: tokens never merge across the border.
        """
        prompt = [{"role": one.role, "content": one.content} for one in messages]
        whole = self._rendered([*prompt, {"role": "assistant", "content": answer}], generation=False)
        start = self._rendered(prompt, generation=True)
        if not whole.startswith(start):
            raise InputError(
                f"{where}: the chat template of {self._tokenizer.name_or_path} renders an answered prompt otherwise:"
                f" {whole[: len(start)][-60:]!r}",
                expected=f"the beginning that generation sees: {start[-60:]!r}",
                remedy="--chat-template FILE.jinja",
            )
        ids: list[int] = self._tokenizer(whole[len(start) :], add_special_tokens=False)["input_ids"]
        if not self._special.intersection(ids[-2:]):  # Qwen's template writes a line break after its end token
            counts["unended_answers"] += 1
        if self._max_length is not None and taken + len(ids) > self._max_length:
            counts["truncated_answers"] += 1
            ids = ids[: self._max_length - taken]
        return ids

    def _rendered(self, chat: list[dict[str, str]], *, generation: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(chat, add_generation_prompt=generation, tokenize=False)
        return text
