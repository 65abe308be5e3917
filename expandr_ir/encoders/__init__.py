"""Texts to vectors: queries, documents and expansions, each as the model was made for them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.config import EncodeOptions, EncoderConfig, conf_path, load_block, names
from expandr_ir.encoders.assemble import assemble
from expandr_ir.encoders.batching import Forward, check_unicode
from expandr_ir.encoders.pool import EncoderPool
from expandr_ir.encoders.weights import PACKAGE, fingerprint, model_folder
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.generators.local import pick_dtype
from expandr_ir.records import Document

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["queries", "documents", "expansions"]

CODE_VERSION = 1
"""Counts the changes of this package that change vectors, so that none meets vectors from before it."""


def encoder_config(name: str) -> EncoderConfig:
    """The configuration that a name means.

    Args:
        name: a name of conf/encoders/, a YAML file, a model's folder, or a hub id.

    Raises:
        InputError: none of these; the nearest name is suggested.
    """
    if name in names("encoders") or name.endswith((".yaml", ".yml")):
        return load_block(EncoderConfig, conf_path("encoders", name))
    if "/" in name or name.startswith(PACKAGE) or Path(name).is_dir():
        return EncoderConfig(model=name)
    raise unknown_name("encoder", name, names("encoders"))


def load_encoder(
    encoder: str | EncoderConfig, *, collection: str | None = None, options: EncodeOptions | None = None
) -> Encoder:
    """The encoder, loaded and on its device.

    Args:
        encoder: a name of conf/encoders/, a YAML file, a model's folder, a hub id, or a configuration.
        collection: a name of conf/collections/; some models take another query prefix for some collections.
        options: in place of the configuration's own.

    Raises:
        InputError: an unknown name, pickled weights, or a model that cannot be used as it is asked for.
        MissingResourceError: there is no such model, or a part of it is missing.
        NotInstalledError: the package with the weights is not installed.
    """
    config = encoder_config(encoder) if isinstance(encoder, str) else encoder
    if collection in config.query_prefix_exceptions:
        config = replace(config, query_prefix=config.query_prefix_exceptions[collection])
    return Encoder(replace(config, options=options) if options else config)


class Encoder:
    """An encoder on its device, or on several.

    Args:
        config: the encoder.

    Attributes:
        config: with everything filled in that the configuration left to the model.
        model: the sentence-transformers model, as training takes it.
        precision: torch's type of the transformer's matrix products; weights and vectors are float32.
        dim: the vectors' dimension.
        encoded, truncated, empty: how many texts were encoded, cut at the longest length, and empty (these are encoded
            all the same), by "queries", "documents" and "expansions".
    """

    def __init__(self, config: EncoderConfig) -> None:
        self._folder = model_folder(config)
        self.model, self.config = assemble(config, self._folder)
        self.dim: int = self.model.get_embedding_dimension()
        device = pick_device(config.options.devices[0])
        self.precision = pick_dtype(config.options.precision, device)
        self.encoded: Counter[str] = Counter()
        self.truncated: Counter[str] = Counter()
        self.empty: Counter[str] = Counter()
        several = len(config.options.devices) > 1
        self._pool = EncoderPool(config, self.dim) if several else None
        if not several:
            self.forward = Forward(self.model, device, self.precision, config.options.batch_tokens)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The queries' vectors, float32 array of shape (n, dim), in order.

        Raises:
            InputError: a text that is no Unicode text.
            ExpandrError: a vector that is not finite.
        """
        return self._encode("queries", texts, self.config.query_prefix, self.config.query_max_length)

    def encode_documents(self, documents: Sequence[Document] | Sequence[str]) -> NDArray[np.float32]:
        """The documents' vectors, float32 array of shape (n, dim), in order.

        A document's text is title + " " + text, as in Pyserini and BEIR, where the configuration says nothing else; a
        string is taken as it is.

        Raises:
            InputError: a text that is no Unicode text.
            ExpandrError: a vector that is not finite.
        """
        texts = [self._document_text(document) for document in documents]
        return self._encode("documents", texts, self.config.document_prefix, self.config.max_length)

    def encode_expansions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The expansions' vectors, float32 array of shape (n, dim), in order; role and prefix are the configuration's.

        Raises:
            InputError: a text that is no Unicode text.
            ExpandrError: a vector that is not finite.
        """
        config = self.config
        as_query = config.expansion_role == "query"
        prefix = config.query_prefix if as_query else config.document_prefix
        prefix = prefix if config.expansion_prefix is None else config.expansion_prefix
        return self._encode("expansions", texts, prefix, config.query_max_length if as_query else config.max_length)

    def identity(self) -> dict[str, Any]:
        """What corpus vectors depend on besides the corpus, as plain data: two encoders with equal ones agree on it."""
        config = self.config
        return {
            "model": self._fingerprint,
            "pooling": config.pooling or "own",
            "normalize": config.normalize,
            "document_prefix": config.document_prefix,
            "document_template": config.document_template,
            "max_length": config.max_length,
            "precision": str(self.precision).removeprefix("torch."),
            "code": CODE_VERSION,
        }

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._folder)

    def close(self) -> None:
        """Ends the other processes, where there are some; the encoder is not used again."""
        if self._pool is not None:
            self._pool.close()

    def _document_text(self, document: Document | str) -> str:
        if isinstance(document, str):
            return document
        return self.config.document_template.format(title=document.title, text=document.text).strip()

    def _encode(self, kind: Kind, texts: Sequence[str], prefix: str | None, longest: int | None) -> NDArray[np.float32]:
        assert prefix is not None
        assert longest is not None
        check_unicode(texts)
        prefixed = [prefix + text for text in texts] if prefix else list(texts)
        vectors, truncated = (self._pool or self.forward).encode(prefixed, longest)
        self.encoded[kind] += len(texts)
        self.truncated[kind] += truncated
        self.empty[kind] += sum(not text.strip() for text in texts)
        if truncated:
            logger.info("%d of %d %s cut at %d tokens", truncated, len(texts), kind, longest)
        return vectors


def pick_device(name: str) -> torch.device:
    """The device that a name means here.

    Args:
        name: as torch spells it, such as "cuda:1"; "auto" is CUDA (under torchrun the process's own GPU), then MPS,
            then the CPU.

    Raises:
        InputError: no such device here.
    """
    import torch

    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        if found is None or found.type not in {"cuda", "mps"}:
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if found.type == "cuda" else found
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r}: {str(error).splitlines()[0]}", expected="auto, cpu, cuda:N or mps"
        ) from error
    return device
