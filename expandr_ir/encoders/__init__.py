"""Texts to vectors: queries, documents and expansions, each as the model was made for them.

Imports records, errors, config, runtime, registry and io.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from expandr_ir import registry
from expandr_ir.blocks import load_block
from expandr_ir.config import EncodeOptions, EncoderConfig, TextKind, conf_path, names
from expandr_ir.encoders.assemble import assemble
from expandr_ir.encoders.batching import EncoderPool, Forward, Vectors
from expandr_ir.encoders.weights import PACKAGE, fingerprint, model_folder
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.records import Document
from expandr_ir.runtime import pick_device, pick_dtype

logger = logging.getLogger(__name__)

CODE_VERSION = 1
"""Counts the changes of this package that change vectors, so that none meets vectors from before it."""

GROUP = "expandr_ir.encoders"
ENGINES = {"sentence-transformers": "expandr_ir.encoders:Encoder"}
"""Factories from a configuration to an encoder; installed packages add theirs by entry points of GROUP."""


def encoder_config(name: str) -> EncoderConfig:
    """The configuration that a name means.

    Args:
        name: a name of conf/encoders/, a YAML file, a model's folder, a hub id, or an installed package's engine.

    Raises:
        InputError: none of these; the nearest name is suggested.
    """
    if name in names("encoders") or name.endswith((".yaml", ".yml")):
        return load_block(EncoderConfig, conf_path("encoders", name))
    if "/" in name or name.startswith(PACKAGE) or os.path.isdir(name):
        return EncoderConfig(model=name)
    installed = registry.names(GROUP, {})
    if name in installed:
        return EncoderConfig(model=name, engine=name)
    raise unknown_name("encoder", name, [*names("encoders"), *installed])


def load_encoder(
    encoder: str | EncoderConfig, *, collection: str | None = None, options: EncodeOptions | None = None
) -> Encoder:
    """The encoder, loaded and on its device.

    Args:
        encoder: a name as `encoder_config` takes it, or a configuration.
        collection: a name of conf/collections/; some models take another query prefix for some collections.
        options: in place of the configuration's own.

    Raises:
        InputError: an unknown name, pickled weights, or a model that cannot be used as it is configured.
        MissingResourceError: there is no such model, or a part of it is missing.
        NotInstalledError: the package with the weights is not installed.
    """
    config = encoder_config(encoder) if isinstance(encoder, str) else encoder
    if collection in config.query_prefix_exceptions:
        config = replace(config, query_prefix=config.query_prefix_exceptions[collection])
    loaded: Encoder = registry.find(GROUP, config.engine, ENGINES)(
        replace(config, options=options) if options else config
    )
    return loaded


class Encoder:
    """An encoder on its device, or on several.

    All `encode_...` methods return float32 arrays of shape (n, dim), in order, and raise an InputError for a text that
    is no Unicode text, and an ExpandrError for a vector that is not finite.

    Args:
        config: the encoder.

    Attributes:
        config: the same without None: the model's own values are filled in.
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
        self.encoded, self.truncated, self.empty = Counter[str](), Counter[str](), Counter[str]()
        self.forward: Forward | EncoderPool = (
            Forward(self.model, device, self.precision, config.options.batch_tokens)
            if len(config.options.devices) == 1
            else EncoderPool(config, self.dim)
        )

    def __repr__(self) -> str:
        return f"Encoder({self.config.model!r}, dim={self.dim})"

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """The queries' vectors."""
        return self._encode("queries", texts)

    def encode_documents(self, documents: Sequence[Document] | Sequence[str]) -> Vectors:
        """The documents' vectors; a string is taken as it is.

        A document's text is title + " " + text, as in Pyserini and BEIR, where the configuration has no other template.
        """
        template = self.config.document_template
        texts = [
            document if isinstance(document, str) else template.format(title=document.title, text=document.text).strip()
            for document in documents
        ]
        return self._encode("documents", texts)

    def encode_expansions(self, texts: Sequence[str]) -> Vectors:
        """The expansions' vectors; role and prefix are the configuration's."""
        return self._encode("expansions", texts)

    def identity(self) -> dict[str, Any]:
        """All that corpus vectors depend on besides the corpus, as plain data: equal identities give equal vectors."""
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
        if isinstance(self.forward, EncoderPool):
            self.forward.close()

    def _encode(self, kind: TextKind, texts: Sequence[str]) -> Vectors:
        prefix, longest = self.config.prefix_and_length(kind)
        for number, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                problem = f"text {number}: half a surrogate pair at character {error.start + 1} ({text[:40]!r})"
                remedy = "text.encode('utf-8', 'replace').decode()"
                raise InputError(problem, expected="Unicode text", remedy=remedy) from error
        vectors, truncated = self.forward.encode([prefix + text for text in texts], longest)
        self.encoded[kind] += len(texts)
        self.truncated[kind] += truncated
        self.empty[kind] += sum(not text.strip() for text in texts)
        if truncated:
            logger.debug("%d of %d %s cut at %d tokens", truncated, len(texts), kind, longest)
        return vectors
