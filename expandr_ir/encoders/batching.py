"""Texts to vectors on one device: tokenised once, sorted by length, as many tokens at a time as the device likes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expandr_ir.errors import ExpandrError, InputError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

CPU_TOKENS = 4_096
"""Activations of more tokens leave a CPU's cache; fewer leave its cores waiting."""
GPU_TOKENS = 65_536

STATES = {"token_embeddings", "sentence_embedding"}

WINDOW = 8_192
"""Texts that are sorted by length together; the next ones are tokenised meanwhile."""


def token_ids(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[list[NDArray[np.int32]], int]:
    """The ids of each text, special tokens included, and how many texts were cut at `max_length`.

    Args:
        tokenizer: of transformers.
        texts: any texts.
        max_length: longest text in tokens.
    """
    if not tokenizer.is_fast:
        return _slow_token_ids(tokenizer, texts, max_length)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(max_length)
    encodings = backend.encode_batch_fast(list(texts))
    ids = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
    return ids, sum(len(row) == max_length and bool(code.overflowing) for row, code in zip(ids, encodings, strict=True))


def _slow_token_ids(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[list[NDArray[np.int32]], int]:
    rows, truncated = [], 0
    for text in texts:
        ids = tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > max_length:
            ids, truncated = tokenizer(text, truncation=True, max_length=max_length)["input_ids"], truncated + 1
        rows.append(np.array(ids, dtype=np.int32))
    return rows, truncated


def check_unicode(texts: Sequence[str]) -> None:
    """Nothing, where all texts are Unicode texts.

    Raises:
        InputError: a text with half of a surrogate pair, which no tokenizer takes.
    """
    for place, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {place}: half a surrogate pair at character {error.start + 1} ({text[:40]!r})",
                expected="Unicode text",
                remedy="text.encode('utf-8', 'replace').decode()",
            ) from error


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of the rows of each batch: longest rows first, each batch at most `budget` tokens with its padding.

    A row longer than the budget is a batch of its own. Equal lengths give equal batches.

    Args:
        lengths: tokens of each row.
        budget: most tokens of one batch.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


class Forward:
    """A model on its device, its transformer's matrix products in `precision`, all else in float32.

    Weights of two bytes would be a little faster than this autocast, and less close: min cosine .99992 in place of
    .99997 (MiniLM), which moved nDCG@10 on SciFact by up to .0024.

    Args:
        model: from tokens to `sentence_embedding`.
        device: where it goes.
        precision: of the transformer's matrix products.
        batch_tokens: most tokens of one batch, padding counted; None is what suits the device.
    """

    def __init__(
        self, model: SentenceTransformer, device: torch.device, precision: torch.dtype, batch_tokens: int | None
    ) -> None:
        self.model = model.to(device)
        self.device = device
        self.precision = precision
        self.batch_tokens = batch_tokens or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)
        self._dim: int = model.get_embedding_dimension()
        self._pad = model.tokenizer.pad_token_id or 0

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[NDArray[np.float32], int]:
        """The vectors, float32 array of shape (len(texts), dim), in order, and how many texts were cut.

        Args:
            texts: with their prefixes.
            max_length: longest text in tokens.

        Raises:
            ExpandrError: a vector that is not finite, or the device has no memory for one text.
        """
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        truncated = 0
        starts = range(0, len(texts), WINDOW)
        with ThreadPoolExecutor(1) as tokeniser:
            ahead = (
                tokeniser.submit(token_ids, self.model.tokenizer, texts[start : start + WINDOW], max_length)
                for start in starts
            )
            coming = next(ahead, None)
            for start in starts:
                assert coming is not None
                ids, cut = coming.result()
                coming = next(ahead, None)
                truncated += cut
                vectors[start : start + len(ids)] = self._sorted_by_length(ids)
        if not np.isfinite(vectors).all():
            first = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ExpandrError(
                f"the vector of a text is not finite: {texts[first][:60]!r}",
                expected="finite numbers",
                remedy="options.precision: float32, or another checkpoint where the weights themselves are broken",
            )
        return vectors, truncated

    def _sorted_by_length(self, ids: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        import torch

        rows: list[int] = []
        parts: list[torch.Tensor] = []
        enabled = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.precision, enabled=enabled):
            for batch in batches([len(row) for row in ids], self.batch_tokens):
                parts.extend(self._within_memory([ids[row] for row in batch]))
                rows.extend(batch)
        vectors = np.empty((len(ids), self._dim), dtype=np.float32)
        vectors[rows] = torch.cat(parts).cpu().numpy()
        return vectors

    def _within_memory(self, ids: list[NDArray[np.int32]]) -> list[torch.Tensor]:
        """The batch's vectors on the device; where its memory runs out, by halves, and smaller batches afterwards."""
        import torch

        try:
            return [self._vectors(ids)]
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                raise ExpandrError(
                    f"{self.device} has no memory for one text of {len(ids[0])} tokens", expected="a shorter max_length"
                ) from error
        if self.device.type == "cuda":  # outside the handler: its traceback keeps the batch's tensors alive
            torch.cuda.empty_cache()
        half = len(ids) // 2
        self.batch_tokens = min(self.batch_tokens, half * len(ids[0]))
        logger.warning("%s is out of memory: batches of %d tokens from here on", self.device, self.batch_tokens)
        return self._within_memory(ids[:half]) + self._within_memory(ids[half:])

    def _vectors(self, ids: list[NDArray[np.int32]]) -> torch.Tensor:
        import torch

        width = max(1, len(ids[0]))
        padded = np.full((len(ids), width), self._pad, dtype=np.int64)
        mask = np.zeros_like(padded)
        for place, row in enumerate(ids):
            padded[place, : len(row)] = row
            mask[place, : len(row)] = 1
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(padded).to(self.device, non_blocking=True),
            "attention_mask": torch.from_numpy(mask).to(self.device, non_blocking=True),
        }
        transformer, *others = self.model
        features = transformer(features)
        for name in STATES & features.keys():
            features[name] = features[name].float()
        with torch.autocast(self.device.type, enabled=False):
            for module in others:
                features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors
