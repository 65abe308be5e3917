"""One encoder on several devices: a process each, windows of texts to whichever is free."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.batching import WINDOW, Forward

_forward: Forward
"""In a worker: its own model on its own device."""


class EncoderPool:
    """The processes.

    Args:
        config: the encoder; `options.devices` has one entry for each process.
        dim: the vectors' dimension.
    """

    def __init__(self, config: EncoderConfig, dim: int) -> None:
        context = multiprocessing.get_context("spawn")  # never fork: a JVM or CUDA may be up
        devices = config.options.devices
        free: Any = context.Queue()
        for device in devices:
            free.put(device)
        self._processes = len(devices)
        self._dim = dim
        self._pool = ProcessPoolExecutor(len(devices), context, _start, (config, free))

    def encode(self, texts: Sequence[str], max_length: int) -> tuple[NDArray[np.float32], int]:
        """As `Forward.encode`: the vectors in order, and how many texts were cut."""
        size = max(1, min(WINDOW, -(-len(texts) // (4 * self._processes))))
        windows = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        done = list(self._pool.map(_encode, windows, [max_length] * len(windows)))
        vectors = np.concatenate([np.empty((0, self._dim), dtype=np.float32), *(part for part, _ in done)])
        return vectors, sum(truncated for _, truncated in done)

    def close(self) -> None:
        """Ends the processes."""
        self._pool.shutdown()


def _start(config: EncoderConfig, free: Any) -> None:
    global _forward  # noqa: PLW0603  (a process has one model)
    import torch

    from expandr_ir.encoders import Encoder

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // len(config.options.devices)))
    options = replace(config.options, devices=[free.get()])
    _forward = Encoder(replace(config, options=options)).forward


def _encode(texts: list[str], max_length: int) -> tuple[NDArray[np.float32], int]:
    return _forward.encode(texts, max_length)
