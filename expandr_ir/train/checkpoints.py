"""Checkpoints that are whole: a marker is written last, and one without it, or that lost a file, is passed over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from expandr_ir.files import atomic_write

MARKER = "complete.json"
"""In a checkpoint: its files and their sizes in bytes, written when all of them are there."""


@dataclass(frozen=True)
class Found:
    """The checkpoints of a run's folder.

    Args:
        last: the newest whole one; None where there is none.
        skipped: newer ones that are not whole, with the reason, newest first.
    """

    last: Path | None
    skipped: tuple[tuple[Path, str], ...]


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def mark_complete(checkpoint: Path) -> None:
    """Writes the marker into a checkpoint that is whole now."""
    with atomic_write(checkpoint / MARKER) as stream:
        json.dump(_sizes(checkpoint), stream, indent=2)
        stream.write("\n")


def find_checkpoints(folder: Path) -> Found:
    """The newest whole checkpoint of a run's folder, and what had to be passed over to find it."""
    named = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]
    skipped: list[tuple[Path, str]] = []
    for checkpoint in sorted(named, key=step_of, reverse=True):
        fault = why_incomplete(checkpoint)
        if fault is None:
            return Found(checkpoint, tuple(skipped))
        skipped.append((checkpoint, fault))
    return Found(None, tuple(skipped))


def why_incomplete(checkpoint: Path) -> str | None:
    """What a checkpoint lacks; None where it is whole."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return f"no {MARKER}: it was not written to its end"
    try:
        wanted: dict[str, int] = json.loads(marker.read_text(encoding="utf-8"))
        pairs = sorted(wanted.items())
    except (ValueError, AttributeError):
        return f"{MARKER} is not readable"
    found = _sizes(checkpoint)
    for name, size in pairs:
        if name not in found:
            return f"{name} is missing"
        if found[name] != size:
            return f"{name} has {found[name]} bytes and not {size}"
    return None


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MARKER and not path.name.endswith(".tmp")
    }
