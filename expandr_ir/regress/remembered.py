"""Encoders that stay loaded from one condition to the next, and encode each text once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import Encoder, load_encoder


class Encoders:
    """Loads encoders as `load_encoder` does, each once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Encoder] = {}

    def load(
        self, config: EncoderConfig, *, collection: str | None = None, options: EncodeOptions | None = None
    ) -> Encoder:
        """The encoder, which remembers the vectors of topics and expansions.

        Raises:
            MissingResourceError: there is no such model.
        """
        prefix = config.query_prefix_exceptions.get(collection or "")
        key = repr((config, prefix, options))
        if key not in self._loaded:
            loaded = load_encoder(config, collection=collection, options=options)
            self._loaded[key] = cast("Encoder", Remembering(loaded))
        return self._loaded[key]


class Remembering:
    """An encoder that encodes no topic and no expansion twice; in all else it is the one that it is made of."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._queries: dict[str, NDArray[np.float32]] = {}
        self._expansions: dict[str, NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The queries' vectors, float32 array of shape (n, dim), in order."""
        return self._remembered(self._queries, texts, self._encoder.encode_queries)

    def encode_expansions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The expansions' vectors, float32 array of shape (n, dim), in order."""
        return self._remembered(self._expansions, texts, self._encoder.encode_expansions)

    def _remembered(
        self,
        known: dict[str, NDArray[np.float32]],
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        if not texts:
            return encode(texts)
        return np.stack([known[text] for text in texts])
