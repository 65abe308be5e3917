"""Arrays computed once, part by part, on disk: a killed run goes on at the first missing part."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expandr_ir.io.files import atomic_write, exclusive, sha256_json
from expandr_ir.progress import progress


def compute_once(
    folder: Path | None, key: Mapping[str, Any], compute: Callable[[Path | None], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The arrays kept under the hash of the key, computed by one process at a time where they are not there.

    Without a folder they are computed and not kept.
    """
    if folder is None:
        return compute(None)
    name = sha256_json(key)[:16]
    path, parts = folder / f"{name}.npz", folder / f"{name}.parts"
    with exclusive(folder / ".lock"):
        if not path.is_file():
            arrays = compute(parts)
            with atomic_write(path, "wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]
            shutil.rmtree(parts, ignore_errors=True)
    with np.load(path) as stored:
        return dict(stored)


def in_parts(
    folder: Path | None, description: str, total: int, size: int, compute: Callable[[slice], NDArray[Any]]
) -> list[NDArray[Any]]:
    """An array for each `size` of the items; memory-mapped files of the folder, where there is one.

    A part that is on the disk is not computed again.
    """
    if folder is None:
        return [compute(slice(start, start + size)) for start in range(0, total, size)]
    parts = []
    with progress(description, total) as advance:
        for start in range(0, total, size):
            path = folder / f"{start:08d}.npy"
            if not path.is_file():
                array = compute(slice(start, start + size))
                with atomic_write(path, "wb") as stream:
                    np.save(stream, array)
            parts.append(np.load(path, mmap_mode="r"))
            advance(min(size, total - start))
    return parts
