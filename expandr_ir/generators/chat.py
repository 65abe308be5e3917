"""From rendered messages to token ids, the same for every engine that holds the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators import gguf
from expandr_ir.generators.base import chat_template, failure, identify
from expandr_ir.generators.replies import Reply, judge
from expandr_ir.reasoning import is_reasoning_mark, opens_reasoning
from expandr_ir.records import Decoding, Generation, GenerationRequest, Message, SampleKey
from expandr_ir.runtime import require

PROMPT_END_TOKENS = 32  # enough for the longest mark of reasoning, a byte a token


@dataclass(frozen=True, slots=True)
class Row:
    """One sample to be written: the prompt's token ids, its key and seed, and how to sample.

    `in_reasoning`: the prompt ends within reasoning.
    """

    ids: list[int]
    sample: SampleKey
    decoding: Decoding
    in_reasoning: bool = False

    def generation(self, reply: Reply, tokens_out: int, seconds: float, version: str) -> Generation:
        """Returns the generation that a reply to this row is."""
        verdict = judge(replace(reply, in_reasoning=self.in_reasoning), self.decoding)
        cost = (len(self.ids), tokens_out, seconds)
        return Generation(self.sample.key, verdict.text, verdict.finish_reason, *cost, version, verdict.error)


class ChatGenerator:
    """The part of the local and vllm engines that needs the tokenizer alone; `_limits` and `_answer` are their own."""

    def __init__(self, config: GeneratorConfig) -> None:
        self._config = gguf.with_weights(config)
        self.id = identify(self._config)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._config)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Returns the prompt's tokens, exactly; the model itself is not loaded for it."""
        return len(self._prompt_ids(messages))

    def _prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return prompt_ids(self._tokenizer, messages, self._config.chat_template_kwargs)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields a Generation for every sample; a prompt that does not fit the context is an error of its own."""
        context, version = self._limits()
        rows: list[Row] = []
        for request in requests:
            ids, new = self._prompt_ids(request.messages), request.decoding.max_new_tokens
            if context is None or len(ids) + new <= context:
                in_reasoning = opens_reasoning(self._tokenizer.decode(ids[-PROMPT_END_TOKENS:]))
                rows += [Row(ids, sample, request.decoding, in_reasoning) for sample in request.samples]
                continue
            error = f"{len(ids)} prompt tokens + {new} new ones do not fit the model's context of {context}"
            yield from (failure(sample.key, error, version, tokens_in=len(ids)) for sample in request.samples)
        if rows:
            yield from self._answer(rows)

    def _limits(self) -> tuple[int | None, str]:
        """Returns the context in tokens (None: no limit) and the engine's version."""
        raise NotImplementedError

    def _answer(self, rows: list[Row]) -> Iterator[Generation]:
        raise NotImplementedError


@contextmanager
def model_errors(model: str) -> Iterator[None]:
    """Turns what transformers, peft and the hub raise when a model cannot be loaded into errors of this package."""
    try:
        yield
    except OSError as error:
        raise MissingResourceError(
            f"{model} cannot be loaded: {error}",
            expected="a folder or a hub id with safetensors weights",
            remedy="check the name; where the model is gated, accept its licence on the hub and run: hf auth login",
        ) from error
    except ValueError as error:
        raise InputError(f"{model} cannot be used: {error}", expected="a causal language model") from error


def load_tokenizer(config: GeneratorConfig) -> Any:
    """Returns the transformers tokenizer of a model, with the chat template that the options name or its own."""
    options = config.vllm if config.engine == "vllm" else config.local
    with model_errors(config.model):
        tokenizer = require("transformers").AutoTokenizer.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=options.trust_remote_code
        )
    tokenizer.chat_template = chat_template(config) or tokenizer.chat_template
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer of {config.model} has no chat template",
            expected="an instruction-tuned model, or a template for this one",
            remedy=f"--chat-template FILE.jinja in training, {config.engine}.chat_template in a generator's YAML",
        )
    return tokenizer


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], template_arguments: Mapping[str, Any] | None = None
) -> list[int]:
    """Returns the token ids of a chat up to where the assistant begins to write.

    The template writes the special tokens itself, so none are added: BOS stands there once.
    """
    chat = [{"role": message.role, "content": message.content} for message in messages]
    try:
        encoded = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True, **(template_arguments or {})
        )
    except require("jinja2").TemplateError as error:
        raise InputError(
            f"the chat template of {tokenizer.name_or_path} refuses the prompt: {error}",
            expected=f"messages it knows; these are {', '.join(message.role for message in messages)}",
            remedy="a prompt without a system message",
        ) from error
    ids: list[int] = encoded["input_ids"]
    return ids


@lru_cache(maxsize=4)
def reasoning_tokens(tokenizer: Any) -> dict[int, str]:
    """Returns the special tokens that mark reasoning (Magistral's [THINK], harmony's channels), by id."""
    special = {index: token.content for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {index: special[index] for index in special if is_reasoning_mark(special[index], {*special.values()})}


def read_back(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Returns the texts of rows of token ids as they were generated, without special tokens but marks of reasoning."""
    marks = reasoning_tokens(tokenizer)

    def decode(ids: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return texts

    if not any(marks.keys() & ids for ids in rows):
        return decode(rows)
    texts = []
    for ids in rows:
        places = [-1, *(place for place, token in enumerate(ids) if token in marks), len(ids)]
        pieces = decode([ids[before + 1 : after] for before, after in pairwise(places)])
        texts.append("".join(a + b for a, b in zip(pieces, [*(marks[ids[p]] for p in places[1:-1]), ""], strict=True)))
    return texts
