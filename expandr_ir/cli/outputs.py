"""Where a command writes: looked at before the work, so that none is lost for want of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from expandr_ir.errors import ExpandrError, InputError


def output_file(name: str, inputs: Iterable[str | None] = ()) -> Path:
    """The file to write; of a symbolic link, the file that it points to.

    Args:
        name: as it was typed.
        inputs: what the command reads.

    Raises:
        InputError: it is a folder or a device, which a finished file would take the place of, or what the command
            reads.
        ExpandrError: its folder cannot be written.
    """
    path = Path(name).expanduser()
    path = path.resolve() if path.is_symlink() else path
    if path.is_dir() or name.endswith(os.sep):
        raise InputError(f"--output {name} is a folder", expected="a file", remedy=f"--output {path / 'NAME'}")
    if path.exists() and not path.is_file():
        raise InputError(f"--output {name} is no plain file", expected="a file", remedy="--output NAME, then cat NAME")
    for other in filter(None, inputs):
        if path.resolve() == Path(other).expanduser().resolve():
            raise InputError(f"--output {name} is also read", expected="a file of its own")
    _check_folder(path.parent)
    return path


def output_folder(name: str) -> Path:
    """The folder to write into.

    Raises:
        InputError: it is a file.
        ExpandrError: it cannot be written.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise InputError(f"--output {name} is a file", expected="a folder")
    _check_folder(path)
    return path


def _check_folder(folder: Path) -> None:
    """Refuses a folder that could not be made or written."""
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ExpandrError(f"{nearest} cannot be written", expected="a folder of yours", remedy="--output elsewhere")
