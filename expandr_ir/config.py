"""One dataclass per block of conf/, and the one place where names of conf/ become blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import Decoding

T = TypeVar("T")


@dataclass(frozen=True)
class LocalOptions:
    """The transformers engine.

    Args:
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" takes bfloat16 where the device computes in it (half the memory, and faster), else float32.
        batch_size: samples decoded together; halved when CUDA's memory runs out.
        chat_template: path of a Jinja chat template, in place of the tokenizer's own or where it has none.
        trust_remote_code: run code that comes with the model.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int = 32
    chat_template: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class VllmOptions:
    """The vLLM offline engine; the names are vLLM's own.

    Args:
        dtype: weights' type.
        tensor_parallel_size: GPUs one model is spread over.
        gpu_memory_utilization: share of a GPU's memory vLLM may take.
        max_model_len: longest prompt + answer, in tokens; None takes the model's.
        enable_prefix_caching: reuse the keys and values of prompts' common beginning.
        enforce_eager: no CUDA graphs.
        chat_template: path of a Jinja chat template, in place of the tokenizer's own or where it has none.
        trust_remote_code: run code that comes with the model.
    """

    dtype: str = "auto"
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    chat_template: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class ApiOptions:
    """An OpenAI-compatible server.

    Args:
        base_url: such as "http://localhost:8000/v1"; None takes $OPENAI_BASE_URL, else OpenAI's own.
        api_key_env: the environment variable that holds the key, which is never logged or stored; None sends no key.
        max_in_flight: requests under way at once.
        timeout_s: seconds until one request counts as lost.
        max_attempts: tries of one request before its samples are recorded as failed.
        max_total_tokens: budget of prompt + written tokens for one command; None is no limit.
        samples_per_request: most samples asked for in one request (`n`); servers that ignore it are found out.
            1 sends every sample's own seed.
        extra_body: further fields of each request, for one server's own options; null takes a field away.
    """

    base_url: str | None = None
    api_key_env: str | None = "OPENAI_API_KEY"
    max_in_flight: int = 32
    timeout_s: float = 120.0
    max_attempts: int = 6
    max_total_tokens: int | None = None
    samples_per_request: int = 8
    extra_body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GeneratorConfig:
    """A generator: an LLM behind an engine (conf/generators/).

    Args:
        engine: what runs the LLM.
        model: hub id, folder, served model name, or the recorded texts' file for `replay`.
        revision: hub revision of the model.
        adapter: hub id or folder of a LoRA adapter over the model (engines local and vllm).
        adapter_revision: hub revision of the adapter.
        prompt: the prompt this model was trained with, where there is one; used when no prompt is named.
        decoding: how it samples.
        local, vllm, api: options of one engine each.
        notes: what a reader should know, with the source.
    """

    engine: Literal["replay", "echo", "local", "vllm", "api"]
    model: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    prompt: str | None = None
    decoding: Decoding = field(default_factory=Decoding)
    local: LocalOptions = field(default_factory=LocalOptions)
    vllm: VllmOptions = field(default_factory=VllmOptions)
    api: ApiOptions = field(default_factory=ApiOptions)
    notes: str = ""


def conf_dir() -> Path:
    """The folder that holds the named blocks: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def names(kind: str) -> list[str]:
    """The names of one kind of block, such as "prompts" or "generators", sorted."""
    return sorted(path.stem for path in (conf_dir() / kind).glob("*.yaml"))


def conf_path(kind: str, name: str) -> Path:
    """The YAML file of a named block; a value that looks like a path is that file.

    Args:
        kind: folder of conf/, such as "generators".
        name: a name of conf/KIND, or the path of a YAML file.

    Raises:
        InputError: no such name (the nearest one is suggested) or file.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InputError(f"{name} is not there", expected=f"a YAML file or one of {', '.join(names(kind))}")
        return Path(name)
    if name not in names(kind):
        raise unknown_name(kind.removesuffix("s"), name, names(kind))
    return conf_dir() / kind / f"{name}.yaml"


def load_block(block: type[T], path: Path) -> T:
    """A block of type `block` read strictly from a YAML file: unknown keys and wrong types are errors.

    Raises:
        InputError: the file does not fit the block; the message names file and key.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(block, None, sub_configs=True)
    try:
        return block(**vars(parser.instantiate(parser.parse_path(str(path)))))
    except (ArgumentError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", expected=f"the keys of {block.__name__}") from error
