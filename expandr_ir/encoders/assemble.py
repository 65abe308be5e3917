"""From a checkpoint's folder to a sentence-transformers model, and to a configuration without blanks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.weights import read_json
from expandr_ir.errors import InputError
from expandr_ir.generators.base import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

UNBOUNDED = 1_000_000
"""Tokenizers without a longest text say a number far above this."""


def assemble(config: EncoderConfig, folder: Path) -> tuple[SentenceTransformer, EncoderConfig]:
    """The model on the CPU in float32, and the configuration with what the folder says filled in.

    The model carries its prefixes as prompts and its similarity, so that a copy saved with `save_pretrained` is an
    encoder without a configuration of its own.

    Args:
        config: the encoder.
        folder: its files, checked.

    Raises:
        InputError: the folder does not say what the configuration leaves open, or cannot be used as it is asked for.
    """
    modules_of = require("sentence_transformers.sentence_transformer.modules")
    with _load_errors(config):
        modules = _modules(config, folder)
    _check_template(config.document_template)
    config = _filled(config, folder, normalized=any(isinstance(module, modules_of.Normalize) for module in modules))
    kept = [module for module in modules if not isinstance(module, modules_of.Normalize)]
    longest, longest_query = _lengths(kept[0], config)
    config = replace(config, max_length=longest, query_max_length=longest_query)
    prompts = {"query": config.query_prefix, "document": config.document_prefix}
    if any(prompts.values()) and not all(getattr(module, "include_prompt", True) for module in kept):
        raise InputError(f"{config.model} pools without its prompts", expected="a model that pools over the whole text")
    model = require("sentence_transformers").SentenceTransformer(
        modules=[*kept, modules_of.Normalize()] if config.normalize else kept,
        prompts=prompts,
        similarity_fn_name=config.similarity,
        device="cpu",
    )
    return model.eval(), config


def _modules(config: EncoderConfig, folder: Path) -> list[nn.Module]:
    """The modules: with the configuration's pooling, else the folder's own."""
    from expandr_ir.encoders.anchordr import FairseqT5
    from expandr_ir.encoders.readout import FirstDecoderToken

    modules_of = require("sentence_transformers.sentence_transformer.modules")
    entries = read_json(folder / "modules.json") or []
    normalize = [modules_of.Normalize()] if any(entry["type"].endswith(".Normalize") for entry in entries) else []
    saved = entries[0]["type"] if entries and config.pooling is None else None
    if config.pooling == "first-decoder-token" or saved == f"{FirstDecoderToken.__module__}.FirstDecoderToken":
        return [FirstDecoderToken.of_folder(folder, config.max_length), *normalize]
    if FairseqT5.fits(folder):
        raise InputError(f"{config.model} is AnchorDR's network", expected="pooling: first-decoder-token")
    options: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": config.options.trust_remote_code,
        "model_kwargs": {"dtype": require("torch").float32, "use_safetensors": True},
    }
    if config.pooling is not None:
        first = modules_of.Transformer.load(str(folder), subfolder=entries[0]["path"] if entries else "", **options)
        modules = [first, modules_of.Pooling(first.get_embedding_dimension(), config.pooling), *normalize]
    elif entries:
        modules = list(require("sentence_transformers").SentenceTransformer(str(folder), device="cpu", **options))
    else:
        raise InputError(
            f"{config.model} has no sentence-transformers configuration (modules.json), so its pooling is not known",
            expected="pooling: mean, cls or first-decoder-token",
            remedy="write a YAML with model and pooling, and name it as the encoder",
        )
    if getattr(modules[0], "tokenizer", None) is None or not hasattr(modules[0], "max_seq_length"):
        raise InputError(
            f"{config.model} begins with {type(modules[0]).__name__}", expected="a transformer over tokens"
        )
    if config.max_length:
        modules[0].max_seq_length = config.max_length
    return modules


def _filled(config: EncoderConfig, folder: Path, *, normalized: bool) -> EncoderConfig:
    """The configuration with prefixes, similarity and normalisation; the folder's own fill the blanks."""
    said = read_json(folder / "config_sentence_transformers.json") or {}
    prompts = said.get("prompts") or {}
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), "")
    similarity = config.similarity or said.get("similarity_fn_name") or ("dot" if config.pooling else "cosine")
    if similarity not in {"dot", "cosine"}:
        raise InputError(f"{config.model} compares by {similarity}", expected="dot or cosine")
    normalize = config.normalize if config.normalize is not None else normalized or similarity == "cosine"
    if similarity == "cosine" and not normalize:
        raise InputError("similarity: cosine with normalize: false", expected="similarity: dot, or normalize: true")
    return replace(
        config,
        similarity=similarity,
        normalize=normalize,
        query_prefix=prompts.get("query") or "" if config.query_prefix is None else config.query_prefix,
        document_prefix=passage if config.document_prefix is None else config.document_prefix,
    )


def _check_template(template: str) -> None:
    try:
        template.format(title="", text="")
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"document_template: {template!r}: {error}", expected="{title}, {text} and plain text"
        ) from error


def _lengths(first: Any, config: EncoderConfig) -> tuple[int, int]:
    """The longest document and the longest query, in tokens."""
    longest: int | None = first.max_seq_length
    if longest is None or longest > UNBOUNDED:
        raise InputError(f"{config.model} says no longest text", expected="max_length in tokens, such as 512")
    network = getattr(first, "model", None)
    positions = getattr(network.config, "max_position_embeddings", None) if network is not None else None
    longest_query = config.query_max_length or longest
    if positions is not None and max(longest, longest_query) > positions:
        raise InputError(
            f"max_length {longest}, query_max_length {longest_query}",
            expected=f"at most {positions}, as {config.model} has",
        )
    return longest, longest_query


@contextmanager
def _load_errors(config: EncoderConfig) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        remote = "trust_remote_code" in str(error)
        raise InputError(
            f"{config.model} cannot be loaded: {error}",
            expected="a model that transformers knows" if remote else "weights, tokenizer and config.json that fit",
            remedy="options.trust_remote_code: true, if you trust its authors with this machine" if remote else None,
        ) from error
