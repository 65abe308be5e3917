"""Texts to token ids for training: the prompt and chat template of inference, lengths cut and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from expandr_ir.errors import InputError, check_number
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.records import Message
from expandr_ir.train.align.options import AlignOptions, Kind, trl_option
from expandr_ir.train.data.rows import query_hash

T = TypeVar("T")

IGNORED = -100
"""The label of a token that no loss is taken of."""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with the chosen and the rejected answer, or with one answer to imitate; `where` is its file and row."""

    where: str
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class TokenRows:
    """Rows as TRL's collators take them, of token ids (GRPO's: of messages), and their counts.

    dropped_full_prompts fill the whole length; unended_answers get no end token from the chat template.
    """

    rows: list[dict[str, Any]]
    counts: dict[str, int]


def part(items: Sequence[T], share: float, text_of: Callable[[T], str]) -> tuple[list[T], list[T]]:
    """Items to train on and a share that is held out, by a hash of their texts: stable, and no text is in both."""
    check_number("dev_share", share, least=0, below=1)
    parts: tuple[list[T], list[T]] = ([], [])
    for item in items:
        parts[int(query_hash(text_of(item))[:8], 16) / 16**8 < share].append(item)
    train, dev = parts
    if not train or (share and not dev):
        raise InputError(
            f"dev_share {share} of {len(items)} rows leaves {len(train)} to train on and {len(dev)} held out",
            expected="at least one of each",
            remedy="another --dev-share, or more rows",
        )
    return train, dev


def tokenize_parts(
    kind: Kind, options: AlignOptions, train: Sequence[Example], dev: Sequence[Example], tokenizer: Any
) -> tuple[TokenRows, TokenRows | None]:
    """The rows to train on, and the held-out ones, if there are any; a part of which no row is left is an error."""
    max_length = trl_option(kind, getattr(options, kind), "max_length")
    parts = [tokenize(examples, tokenizer, max_length, options.max_prompt_length) for examples in (train, dev)]
    for name, examples, tokens in zip(("training", "held-out"), (train, dev), parts, strict=True):
        if examples and not tokens.rows:
            raise InputError(
                f"no {name} row is left: {len(examples)} prompts fill the whole length",
                expected=f"prompts shorter than {kind}.max_length",
                remedy=f"--max-prompt-length N, or a larger --{kind}.max_length",
            )
    return parts[0], parts[1] if dev else None


def tokenize(
    examples: Iterable[Example], tokenizer: Any, max_length: int | None, max_prompt_length: int | None
) -> TokenRows:
    """The rows of examples: prompt_ids, chosen_ids and rejected_ids, or input_ids and labels; None is no limit.

    TRL's own preparation is not used: it tokenizes prompt and answer as one text, whose tokens can merge across the
    border, counts nothing, and has no longest prompt. Here a prompt has the ids that generation sees, and an answer is
    tokenized apart, as a model writes it. A prompt that is too long keeps its last tokens, where the topic and the
    assistant's header stand, as in the TRL releases that the published systems were trained with.
    """
    check_number("max_length", max_length, least=1)
    check_number("max_prompt_length", max_prompt_length, least=1)
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    names = ("rows", "truncated_prompts", "truncated_answers", "dropped_full_prompts", "unended_answers", "tokens")
    counts = dict.fromkeys(names, 0)
    rows = []
    for example in examples:
        prompt = prompt_ids(tokenizer, example.prompt)
        if max_prompt_length is not None and len(prompt) > max_prompt_length:
            counts["truncated_prompts"] += 1
            prompt = prompt[-max_prompt_length:]
        if max_length is not None and len(prompt) >= max_length:
            counts["dropped_full_prompts"] += 1
            continue
        answers = [_answer_ids(tokenizer, example, answer) for answer in example.answers]
        for place, ids in enumerate(answers):
            # Qwen's template writes a line break after its end token.
            counts["unended_answers"] += not special.intersection(ids[-2:])
            if max_length is not None and len(prompt) + len(ids) > max_length:
                counts["truncated_answers"] += 1
                answers[place] = ids[: max_length - len(prompt)]
        counts["rows"] += 1
        counts["tokens"] += sum(len(prompt) + len(ids) for ids in answers)
        if len(answers) == 1:
            rows.append({"input_ids": prompt + answers[0], "labels": [IGNORED] * len(prompt) + answers[0]})
        else:
            rows.append({"prompt_ids": prompt, "chosen_ids": answers[0], "rejected_ids": answers[1]})
    return TokenRows(rows, counts)


def _answer_ids(tokenizer: Any, example: Example, answer: str) -> list[int]:
    """The ids of an answer with what the chat template writes after it."""
    prompt: list[Mapping[str, str]] = [asdict(message) for message in example.prompt]
    start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": answer}], tokenize=False)
    if not whole.startswith(start):
        raise InputError(
            f"{example.where}: the chat template of {tokenizer.name_or_path} renders an answered prompt otherwise:"
            f" {whole[: len(start)][-60:]!r}",
            expected=f"the beginning that generation sees: {start[-60:]!r}",
            remedy="--chat-template FILE.jinja",
        )
    ids: list[int] = tokenizer(whole[len(start) :], add_special_tokens=False)["input_ids"]
    return ids
