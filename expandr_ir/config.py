"""One dataclass per block of conf/, and the one place where names of conf/ become blocks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir import registry
from expandr_ir.blocks import load_block
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import Decoding

JsonField: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""A field of a JSON object; str goes first, so that a string that looks like JSON stays a string."""


ENGINES = {
    "api": "expandr_ir.generators.api:ApiGenerator",
    "echo": "expandr_ir.generators.fakes:EchoGenerator",
    "local": "expandr_ir.generators.local:LocalGenerator",
    "replay": "expandr_ir.generators.fakes:ReplayGenerator",
    "vllm": "expandr_ir.generators.vllm:VllmGenerator",
}
ENGINE_GROUP = "expandr_ir.generators"
"""This package's engines with the class behind each, and the group of entry points of other packages' engines."""


@dataclass(frozen=True)
class LocalOptions:
    """The transformers engine.

    Args:
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" takes bfloat16 where the device computes in it (half the memory, and faster), else float32.
        batch_size: samples decoded together; halved when CUDA's memory runs out.
        threads: CPU threads; None takes as many as are fastest when texts are asked for, or OMP_NUM_THREADS.
        chat_template: path of a Jinja chat template, in place of the tokenizer's own or where it has none.
        trust_remote_code: run code that comes with the model.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int = 64
    threads: int | None = None
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
        base_urls: several servers of one model, in place of base_url; a request's first server follows from its key,
            and each further try goes to the next one.
        api_key_env: the environment variable that holds the key, which is never logged or stored; None sends no key.
        max_in_flight: requests under way at once, at all servers together.
        timeout_s: seconds until one request counts as lost.
        max_attempts: tries of one request before its samples are recorded as failed.
        max_total_tokens: budget of prompt and new tokens for one command; None is no limit.
        samples_per_request: most samples of one request (`n`); servers that ignore it are detected.
            1 sends every sample's own seed.
        extra_body: further fields of each request, for one server's own options; null takes a field away.
    """

    base_url: str | None = None
    base_urls: list[str] = field(default_factory=list)
    api_key_env: str | None = "OPENAI_API_KEY"
    max_in_flight: int = 32
    timeout_s: float = 120.0
    max_attempts: int = 6
    max_total_tokens: int | None = None
    samples_per_request: int = 8
    extra_body: dict[str, JsonField] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelPackage:
    """The package behind `model: package:NAME`, which brings the model as a GGUF file.

    Args:
        version: the release to install.
        sha256: of the GGUF file; None takes any.
        hub_id: the model on the hub, which serves where the package is not installed.
    """

    version: str | None = None
    sha256: str | None = None
    hub_id: str | None = None


@dataclass(frozen=True)
class GeneratorConfig:
    """A generator: an LLM behind an engine (conf/generators/).

    Args:
        engine: local, vllm, api, replay, echo, or an engine of another package.
        model: hub id, folder, GGUF file, "package:NAME" for a GGUF file that an installed package brings, served model
            name, or the recorded texts' file for `replay`.
        revision: hub revision of the model.
        adapter: hub id or folder of a LoRA adapter over the model (engines local and vllm).
        adapter_revision: hub revision of the adapter.
        prompt: the prompt that this model was trained with or that suits it; used when no prompt is named.
        decoding: of its samples.
        chat_template_kwargs: arguments of the chat template, such as enable_thinking: false; part of a text's key. A
            server gets them as a field of each request (vLLM, SGLang and llama.cpp read it).
        package: of a model "package:NAME".
        local, vllm, api: options of one engine each.
        options: options of another package's engine.
        notes: remarks, with their source.
    """

    engine: str
    model: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    prompt: str | None = None
    decoding: Decoding = field(default_factory=Decoding)
    chat_template_kwargs: dict[str, JsonField] = field(default_factory=dict)
    package: ModelPackage = field(default_factory=ModelPackage)
    local: LocalOptions = field(default_factory=LocalOptions)
    vllm: VllmOptions = field(default_factory=VllmOptions)
    api: ApiOptions = field(default_factory=ApiOptions)
    options: dict[str, JsonField] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True)
class EncodeOptions:
    """How an encoder runs.

    Args:
        devices: "auto" takes CUDA (under torchrun the process's own GPU), then MPS, then the CPU; several devices, such
            as cuda:0 and cuda:1, run one process each.
        precision: of the transformer's matrix products; "auto" takes bfloat16 where the device computes in it, else
            float32. Weights, pooling, normalisation and vectors are float32.
        batch_tokens: most tokens of one batch, padding counted; None is 4,096 on a CPU, 65,536 elsewhere. It is halved
            when CUDA's memory runs out.
        trust_remote_code: run code that comes with the model.
    """

    devices: list[str] = field(default_factory=lambda: ["auto"])
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_tokens: int | None = None
    trust_remote_code: bool = False


TextKind: TypeAlias = Literal["queries", "documents", "expansions"]


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder (conf/encoders/). A value of None is taken from the model's own sentence-transformers configuration.

    Vectors are always compared by their dot product; cosine similarity is a dot product of normalised vectors.

    Args:
        model: hub id, folder, or "package:NAME" for weights that an installed package brings (its get_model_path()).
        engine: sentence-transformers, or one that an installed package adds (entry points `expandr_ir.encoders`).
        revision: hub revision.
        pooling: how token states become one vector; "first-decoder-token" is a T5's read-out.
        normalize: L2-normalise every vector.
        similarity: of the model's training; "cosine" needs normalize.
        query_prefix, document_prefix: put before each text as they are, blanks included.
        query_prefix_exceptions: other query prefixes for single collections, by their name in conf/collections/.
        document_template: a document's text, of {title} and {text}.
        max_length: longest text in tokens, special tokens counted.
        query_max_length: the same for queries, where it differs.
        expansion_role: encode an expansion as a query or as a document.
        expansion_prefix: put before each expansion; None takes the prefix of its role.
        weights_sha256: SHA-256 that model.safetensors must have.
        options: device, precision and batches.
        licence: of the weights, as their source states it.
        source: where these facts stand.
        notes: remarks.
    """

    model: str
    engine: str = "sentence-transformers"
    revision: str | None = None
    pooling: Literal["mean", "cls", "first-decoder-token"] | None = None
    normalize: bool | None = None
    similarity: Literal["dot", "cosine"] | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    query_prefix_exceptions: dict[str, str] = field(default_factory=dict)
    document_template: str = "{title} {text}"
    max_length: int | None = None
    query_max_length: int | None = None
    expansion_role: Literal["query", "document"] = "document"
    expansion_prefix: str | None = None
    weights_sha256: str | None = None
    options: EncodeOptions = field(default_factory=EncodeOptions)
    licence: str = ""
    source: str = ""
    notes: str = ""

    def prefix_and_length(self, kind: TextKind) -> tuple[str, int]:
        """The prefix and the longest length in tokens of such texts, of a configuration without blanks."""
        as_query = kind == "queries" or (kind == "expansions" and self.expansion_role == "query")
        prefix = self.query_prefix if as_query else self.document_prefix
        if kind == "expansions" and self.expansion_prefix is not None:
            prefix = self.expansion_prefix
        length = self.query_max_length if as_query else self.max_length
        assert prefix is not None
        assert length is not None
        return prefix, length


def conf_dir() -> Path:
    """The folder that holds the named blocks: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


TRAINING = "training"
"""The folder of the regressions for trajectories of training and, in `proofs`, the figures of longer trainings."""


def regressions_dir() -> Path:
    """The folder of the regressions, beside conf/."""
    return conf_dir().parent / "regressions"


def names(kind: str) -> list[str]:
    """The names of one kind of block, such as "prompts" or "generators", sorted."""
    return sorted(path.stem for path in (conf_dir() / kind).glob("*.yaml"))


def conf_path(kind: str, name: str) -> Path:
    """The YAML file of a name in a folder of conf/ ("generators"); a name that looks like a path is that file."""
    if name.endswith((".yaml", ".yml")):
        if not os.path.isfile(name):
            raise InputError(f"{name} is not there", expected=f"a YAML file or one of {', '.join(names(kind))}")
        return Path(name)
    if name not in names(kind):
        error = unknown_name(kind.removesuffix("s"), name, names(kind))
        if os.path.isfile(f"{name}.yaml"):
            raise InputError(error.found, expected=error.expected, remedy=f"{name}.yaml, the file")
        raise error
    return conf_dir() / kind / f"{name}.yaml"


def fitted_options(block: type[Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given options in the types of the block's fields: "2e-5" becomes a number; nothing is added.

    It serves configurations of other packages, such as TRL's, which do not check their fields' types.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    known = {field.name for field in fields(block)}
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {block.__name__} in {where}", name, known)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(block, None, instantiate=False, fail_untyped=False)
    try:
        return dict(vars(parser.parse_object(dict(given), defaults=False)))
    except ArgumentError as error:
        raise InputError(f"{where}: {error}", expected=f"options of {block.__name__}") from error


def drop_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def generator_block(spec: str) -> Path | dict[str, str]:
    """The YAML file of a generator's name or path, or the block that `engine:model` stands for."""
    engine, _, model = spec.partition(":")
    if engine in registry.names(ENGINE_GROUP, ENGINES) and spec not in names("generators"):
        if not model:
            raise InputError(
                f"the engine {engine!r} without a model", expected="engine:model", remedy=f"{engine}:MODEL"
            )
        return {"engine": engine, "model": model}
    return conf_path("generators", spec)


def generator_config(spec: str) -> GeneratorConfig:
    """The configuration of a generator's name, YAML file or `engine:model`."""
    block = generator_block(spec)
    return load_block(GeneratorConfig, block) if isinstance(block, Path) else GeneratorConfig(**block)  # type: ignore[arg-type]
