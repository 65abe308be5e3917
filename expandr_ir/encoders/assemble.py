"""From the folder of a checkpoint to a sentence-transformers model and a configuration without blanks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.blocks import placeholders
from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.weights import read_settings
from expandr_ir.errors import InputError
from expandr_ir.runtime import require

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

UNBOUNDED = 1_000_000
"""Tokenizers without a longest text say a number far above this."""


def assemble(config: EncoderConfig, folder: Path) -> tuple[SentenceTransformer, EncoderConfig]:
    """The model on the CPU in float32, and the configuration with the folder's own values in place of None.

    The model carries its prefixes as prompts and its similarity, so that a copy saved with `save_pretrained` is an
    encoder without a configuration of its own.
    """
    normalize_module = require("sentence_transformers.sentence_transformer.modules").Normalize
    try:
        modules = _modules(config, folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        expected, remedy = "weights, tokenizer and config.json that fit", None
        if "trust_remote_code" in str(error):
            expected = "a model that transformers knows"
            remedy = "options.trust_remote_code: true, if you trust its authors with this machine"
        raise InputError(f"{config.model} cannot be loaded: {error}", expected=expected, remedy=remedy) from error
    placeholders(config.document_template, ("title", "text"), "document_template")
    inner = [module for module in modules if not isinstance(module, normalize_module)]
    config = _with_lengths(_with_folder_values(config, folder, normalized=len(inner) < len(modules)), inner[0])
    prompts = {"query": config.query_prefix, "document": config.document_prefix}
    if any(prompts.values()) and not all(getattr(module, "include_prompt", True) for module in inner):
        raise InputError(f"{config.model} pools without its prompts", expected="a model that pools over the whole text")
    model = require("sentence_transformers").SentenceTransformer(
        modules=[*inner, normalize_module()] if config.normalize else inner,
        prompts=prompts,
        similarity_fn_name=config.similarity,
        device="cpu",
    )
    return model.eval(), config


def _modules(config: EncoderConfig, folder: Path) -> list[nn.Module]:
    """The modules: with the configuration's pooling, else the folder's own."""
    from expandr_ir.encoders.anchordr import FairseqT5
    from expandr_ir.encoders.readout import FirstDecoderToken

    library = require("sentence_transformers.sentence_transformer.modules")
    entries = read_settings(folder / "modules.json")
    normalize = [library.Normalize()] if any(entry["type"].endswith(".Normalize") for entry in entries) else []
    first_type = entries[0]["type"] if entries and config.pooling is None else ""
    if config.pooling == "first-decoder-token" or first_type.endswith(".FirstDecoderToken"):
        return [FirstDecoderToken.of_folder(folder, config.max_length), *normalize]
    if FairseqT5.fits(folder):
        raise InputError(f"{config.model} is AnchorDR's network", expected="pooling: first-decoder-token")
    options: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": config.options.trust_remote_code,
        "model_kwargs": {"dtype": require("torch").float32, "use_safetensors": True},
    }
    if config.pooling is not None:
        first = library.Transformer.load(str(folder), subfolder=entries[0]["path"] if entries else "", **options)
        modules = [first, library.Pooling(first.get_embedding_dimension(), config.pooling), *normalize]
    elif entries:
        modules = list(require("sentence_transformers").SentenceTransformer(str(folder), device="cpu", **options))
    else:
        raise InputError(
            f"{config.model} has no sentence-transformers configuration (modules.json), so its pooling is not known",
            expected="pooling: mean, cls or first-decoder-token",
            remedy="write a YAML with model and pooling, and name it as the encoder",
        )
    if getattr(modules[0], "tokenizer", None) is None or not hasattr(modules[0], "max_seq_length"):
        problem = f"{config.model} begins with {type(modules[0]).__name__}"
        raise InputError(problem, expected="a transformer over tokens")
    if config.max_length:
        modules[0].max_seq_length = config.max_length
    return modules


def _with_folder_values(config: EncoderConfig, folder: Path, *, normalized: bool) -> EncoderConfig:
    settings = read_settings(folder / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), "")
    similarity = config.similarity or settings.get("similarity_fn_name") or ("dot" if config.pooling else "cosine")
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


def _with_lengths(config: EncoderConfig, transformer: Any) -> EncoderConfig:
    longest: int | None = transformer.max_seq_length
    if longest is None or longest > UNBOUNDED:
        raise InputError(f"{config.model} says no longest text", expected="max_length in tokens, such as 512")
    longest_query = config.query_max_length or longest
    network = getattr(transformer, "model", None)
    positions = getattr(network.config, "max_position_embeddings", None) if network is not None else None
    if positions is not None and max(longest, longest_query) > positions:
        problem = f"max_length {longest}, query_max_length {longest_query}"
        raise InputError(problem, expected=f"at most {positions}, as {config.model} has")
    return replace(config, max_length=longest, query_max_length=longest_query)
