"""From rendered messages to token ids, the same for every engine that holds the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig, LocalOptions, VllmOptions
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators.base import require
from expandr_ir.records import Message


def chat_template(config: GeneratorConfig) -> str | None:
    """The text of the chat template that the engine's options name; None where they name none.

    Raises:
        MissingResourceError: there is no such file.
    """
    named = _options(config).chat_template
    if named is None:
        return None
    if not Path(named).is_file():
        raise MissingResourceError(f"{config.engine}.chat_template: {named} is not there", expected="a Jinja file")
    return Path(named).read_text(encoding="utf-8")


@contextmanager
def model_errors(model: str) -> Iterator[None]:
    """Turns what transformers, peft and the hub raise when a model cannot be loaded into errors of this package.

    Raises:
        MissingResourceError: the model is not there, or not for everybody.
        InputError: it is there and cannot be used as it is asked for.
    """
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


def _options(config: GeneratorConfig) -> LocalOptions | VllmOptions:
    return config.vllm if config.engine == "vllm" else config.local


def load_tokenizer(config: GeneratorConfig) -> Any:
    """The transformers tokenizer of a model, with a chat template.

    Raises:
        InputError: it has no chat template and the options name none.
        MissingResourceError: there is no such model.
    """
    transformers = require("transformers")
    with model_errors(config.model):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            config.model, revision=config.revision, trust_remote_code=_options(config).trust_remote_code
        )
    template = chat_template(config)
    if template is not None:
        tokenizer.chat_template = template
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer of {config.model} has no chat template",
            expected="an instruction-tuned model, or a template for this one",
            remedy=f"{config.engine}.chat_template: FILE.jinja in the generator's YAML",
        )
    return tokenizer


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The token ids of a chat up to where the assistant begins to write.

    The template writes the special tokens itself, so none are added: BOS stands there once.

    Raises:
        InputError: the chat template refuses the messages, as some do with a system message.
    """
    chat = [{"role": message.role, "content": message.content} for message in messages]
    try:
        encoded = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    except require("jinja2").TemplateError as error:
        raise InputError(
            f"the chat template of {tokenizer.name_or_path} refuses the prompt: {error}",
            expected=f"messages it knows; these are {', '.join(message.role for message in messages)}",
            remedy="a prompt without a system message",
        ) from error
    ids: list[int] = encoded["input_ids"]
    return ids


def too_long(tokens_in: int, max_new_tokens: int, context: int | None) -> str | None:
    """Why a prompt and its answer do not fit the model's context; None where they do.

    Args:
        tokens_in: prompt tokens.
        max_new_tokens: most tokens of the answer.
        context: the model's longest sequence, in tokens; None is unlimited.
    """
    if context is None or tokens_in + max_new_tokens <= context:
        return None
    return f"{tokens_in} prompt tokens + {max_new_tokens} new ones do not fit the model's context of {context}"


def adapter_folder(config: GeneratorConfig) -> Path | None:
    """The folder of the LoRA adapter, fetched from the hub where it is a hub id; None without an adapter.

    Raises:
        MissingResourceError: there is no such adapter.
        InputError: its weights are not safetensors.
    """
    if config.adapter is None:
        return None
    folder = Path(config.adapter)
    if not folder.is_dir():
        hub = require("huggingface_hub")
        with model_errors(config.adapter):
            wanted = ["adapter_config.json", "adapter_model.safetensors"]
            folder = Path(
                hub.snapshot_download(config.adapter, revision=config.adapter_revision, allow_patterns=wanted)
            )
    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError(
            f"adapter {config.adapter} has no adapter_model.safetensors",
            expected="a PEFT adapter saved as safetensors",
            remedy="load it once with peft and save it with save_pretrained(folder)",
        )
    return folder
