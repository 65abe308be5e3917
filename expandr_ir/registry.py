"""Implementations by name: this package's own, imported when they are used, then those of installed packages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from expandr_ir.errors import NotInstalledError, unknown_name


def names(group: str, builtin: Mapping[str, str]) -> list[str]:
    """The names that `find` knows, sorted."""
    return sorted({*builtin, *_installed(group)})


def find(group: str, name: str, builtin: Mapping[str, str], kind: str | None = None) -> Any:
    """The object of a name in `builtin` (name -> "module:object"), else of the entry points' group.

    `kind` is the word for such an object in errors; None takes the group's last part in the singular.
    """
    if name in builtin:
        module, _, attribute = builtin[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    installed = _installed(group)
    if name not in installed:
        raise unknown_name(kind or group.rpartition(".")[2].removesuffix("s"), name, names(group, builtin))
    point = installed[name]
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist else "its package"
        raise NotInstalledError(
            f"{name!r} of {package} cannot be loaded: {error}", expected=point.value, remedy=f"pip install {package}"
        ) from error


def _installed(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
