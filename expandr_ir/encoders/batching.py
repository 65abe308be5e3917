"""Texts to vectors on one device or several: sorted by length, as many tokens at a time as the device likes."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import ExpandrError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

Vectors: TypeAlias = NDArray[np.float32]

CPU_TOKENS = 4_096
"""Activations of more tokens leave a CPU's cache; fewer leave its cores waiting."""
GPU_TOKENS = 65_536

STATES = {"token_embeddings", "sentence_embedding"}

WINDOW = 8_192
"""Texts that are sorted by length together; the next ones are tokenised meanwhile."""


def token_ids(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[list[NDArray[np.int32]], int]:
    """The ids of each text, special tokens included, and how many texts were cut at `max_length` tokens."""
    if tokenizer.is_fast:
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        backend.enable_truncation(max_length)
        encodings = backend.encode_batch_fast(list(texts))
        rows = [encoding.ids for encoding in encodings]
        cut = sum(len(code.ids) == max_length and bool(code.overflowing) for code in encodings)
    else:
        whole = [tokenizer(text, verbose=False)["input_ids"] for text in texts]
        longer = [len(ids) > max_length for ids in whole]
        rows = [
            tokenizer(text, truncation=True, max_length=max_length)["input_ids"] if is_longer else ids
            for text, ids, is_longer in zip(texts, whole, longer, strict=True)
        ]
        cut = sum(longer)
    return [np.array(ids, dtype=np.int32) for ids in rows], cut


def padded(ids: Sequence[NDArray[np.int32]], pad: int) -> dict[str, torch.Tensor]:
    """The input_ids and attention_mask of rows of token ids, the longest first, padded on the right."""
    import torch

    shape = len(ids), max(1, len(ids[0]))
    rows, mask = np.full(shape, pad, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for number, row in enumerate(ids):
        rows[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": torch.from_numpy(rows), "attention_mask": torch.from_numpy(mask)}


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of the rows of each batch: longest first, at most `budget` tokens with the padding, or a single row.

    Equal lengths give equal batches.
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
    .99997 (MiniLM), which moved nDCG@10 on SciFact by up to .0024. sentence-transformers' own `encode` takes 1.65-2.0
    times as long (docs/benchmarks.md): it batches by texts, not by tokens.

    `batch_tokens` is the most tokens of one batch, padding counted; None is what suits the device.
    """

    def __init__(
        self, model: SentenceTransformer, device: torch.device, precision: torch.dtype, batch_tokens: int | None
    ) -> None:
        self.model, self.device, self.precision = model.to(device), device, precision
        self.batch_tokens = batch_tokens or (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS)

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Vectors, int]:
        """The vectors, float32 array of shape (len(texts), dim), in order, and how many texts were cut."""
        vectors = np.empty((len(texts), self.model.get_embedding_dimension()), dtype=np.float32)
        starts = range(0, len(texts), WINDOW)
        windows = [texts[start : start + WINDOW] for start in starts]
        truncated = 0
        with ThreadPoolExecutor(1) as tokeniser:
            tokenised = tokeniser.map(
                token_ids, itertools.repeat(self.model.tokenizer), windows, [max_length] * len(windows)
            )
            for start, (ids, cut) in zip(starts, tokenised, strict=True):
                vectors[start : start + len(ids)] = self._sorted_by_length(ids)
                truncated += cut
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            problem = f"the vector of a text is not finite: {texts[int(np.argmin(finite))][:60]!r}"
            remedy = "options.precision: float32, or another checkpoint where the weights themselves are broken"
            raise ExpandrError(problem, expected="finite numbers", remedy=remedy)
        return vectors, truncated

    def _sorted_by_length(self, ids: Sequence[NDArray[np.int32]]) -> Vectors:
        import torch

        rows: list[int] = []
        parts: list[torch.Tensor] = []
        enabled = self.precision != torch.float32
        with torch.inference_mode(), torch.autocast(self.device.type, self.precision, enabled=enabled):
            for batch in batches([len(row) for row in ids], self.batch_tokens):
                parts += self._within_memory([ids[row] for row in batch])
                rows += batch
        vectors: Vectors = np.empty((len(ids), parts[0].shape[1]), dtype=np.float32)
        vectors[rows] = torch.cat(parts).cpu().numpy()
        return vectors

    def _within_memory(self, ids: list[NDArray[np.int32]]) -> list[torch.Tensor]:
        """The batch's vectors on the device; where its memory runs out, by halves, and smaller batches afterwards."""
        import torch

        try:
            return [self._vectors(ids)]
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                problem = f"{self.device} has no memory for one text of {len(ids[0])} tokens"
                raise ExpandrError(problem, expected="a shorter max_length") from error
        if self.device.type == "cuda":  # outside the handler: its traceback keeps the batch's tensors alive
            torch.cuda.empty_cache()
        half = len(ids) // 2
        self.batch_tokens = min(self.batch_tokens, half * len(ids[0]))
        logger.warning("%s is out of memory: batches of %d tokens from here on", self.device, self.batch_tokens)
        return self._within_memory(ids[:half]) + self._within_memory(ids[half:])

    def _vectors(self, ids: list[NDArray[np.int32]]) -> torch.Tensor:
        import torch

        arrays = padded(ids, self.model.tokenizer.pad_token_id or 0)
        features = {name: array.to(self.device, non_blocking=True) for name, array in arrays.items()}
        transformer, *rest = self.model
        features = transformer(features)
        for name in STATES & features.keys():
            features[name] = features[name].float()
        with torch.autocast(self.device.type, enabled=False):
            for module in rest:
                features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors


class EncoderPool:
    """One encoder on the several devices of its options: a process each, windows of texts to whichever is free."""

    def __init__(self, config: EncoderConfig, dim: int) -> None:
        context = multiprocessing.get_context("spawn")  # never fork: a JVM or CUDA may be up
        free: Any = context.Queue()
        for device in config.options.devices:
            free.put(device)
        self._processes, self._dim = len(config.options.devices), dim
        self._executor = ProcessPoolExecutor(self._processes, context, _start, (config, free))

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[Vectors, int]:
        """As `Forward.encode`: the vectors in order, and how many texts were cut."""
        size = max(1, min(WINDOW, -(-len(texts) // (4 * self._processes))))
        windows = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        parts = list(self._executor.map(_encode, windows, [max_length] * len(windows)))
        vectors = np.concatenate([np.empty((0, self._dim), dtype=np.float32), *(part for part, _ in parts)])
        return vectors, sum(cut for _, cut in parts)

    def close(self) -> None:
        """Ends the processes."""
        self._executor.shutdown()


_forward: Forward
"""In a worker: its own model on its own device."""


def _start(config: EncoderConfig, free: Any) -> None:
    global _forward  # noqa: PLW0603  (a process has one model)
    import torch

    from expandr_ir.encoders import Encoder

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // len(config.options.devices)))
    encoder = Encoder(replace(config, options=replace(config.options, devices=[free.get()])))
    assert isinstance(encoder.forward, Forward)
    _forward = encoder.forward


def _encode(texts: list[str], max_length: int) -> tuple[Vectors, int]:
    return _forward.encode(texts, max_length)
