"""Outputs: checked before the work, so that none is lost for want of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from expandr_ir.errors import ExpandrError, InputError


def output_file(name: str, inputs: Iterable[str | None] = ()) -> Path:
    """The file to write, which must be none of the inputs; of a symbolic link, the file that it points to."""
    path = Path(name).expanduser()
    path = path.resolve() if path.is_symlink() else path
    if path.is_dir() or name.endswith(os.sep):
        raise InputError(f"--output {name} is a folder", expected="a file", remedy=f"--output {path / 'NAME'}")
    if path.exists() and not path.is_file():
        raise InputError(f"--output {name} is no plain file", expected="a file", remedy="--output NAME, then cat NAME")
    if any(path.resolve() == Path(other).expanduser().resolve() for other in inputs if other):
        raise InputError(f"--output {name} is also read", expected="a file of its own")
    _check_folder(path.parent)
    return path


def output_folder(name: str) -> Path:
    """The folder to write into."""
    path = Path(name).expanduser()
    if path.is_file():
        raise InputError(f"--output {name} is a file", expected="a folder")
    _check_folder(path)
    return path


def _check_folder(folder: Path) -> None:
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ExpandrError(f"{nearest} cannot be written", expected="a folder of yours", remedy="--output elsewhere")
