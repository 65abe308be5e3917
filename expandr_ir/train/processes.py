"""Vectors of all processes in each, with gradients that find their way back."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from expandr_ir.train.losses import NOWHERE


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _together() else 1


def this_process() -> int:
    """The number of this one, from 0."""
    return distributed.get_rank() if _together() else 0


def join(own: Tensor) -> tuple[Tensor, int]:
    """The rows of all processes, one process after the other, and where this process's own begin.

    Processes may have different numbers of rows. The gradient of a joined row is the sum over all processes' losses:
    where each process's loss is the mean over its own rows, DDP's averaging then gives exactly the gradient of the mean
    over all rows, and nothing is to be multiplied by the number of processes.

    Args:
        own: shape (rows,) or (rows, dim); of one dtype and dim everywhere.
    """
    if not _together():
        return own, 0
    sizes = [torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(processes())]
    distributed.all_gather(sizes, torch.tensor([len(own)], device=own.device))
    counts = [int(size) for size in sizes]
    missing = max(counts) - len(own)
    filler = own.new_full((missing, *own.shape[1:]), 0 if own.is_floating_point() else NOWHERE)
    padded = torch.cat([own, filler]).contiguous()
    if own.is_floating_point() and torch.is_grad_enabled():
        from torch.distributed.nn.functional import all_gather

        parts = list(all_gather(padded))  # type: ignore[no-untyped-call]
    else:
        parts = [torch.zeros_like(padded) for _ in counts]
        distributed.all_gather(parts, padded.detach())
    rows = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    return rows, sum(counts[: this_process()])


def share_of(rows: int, device: torch.device) -> float:
    """What this process's sum over its rows is multiplied with, so that DDP's average is the mean over all rows."""
    if not _together():
        return 1 / max(1, rows)
    total = torch.tensor([rows], device=device)
    distributed.all_reduce(total)
    return processes() / max(1, int(total))


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
