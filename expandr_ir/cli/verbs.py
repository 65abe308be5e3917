"""Verbs that have verbs of their own, such as `expandr store ls`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from expandr_ir.errors import InputError, unknown_name


def dispatch(verb: str, table: Mapping[str, Callable[[list[str]], int]], argv: list[str]) -> int:
    """Runs the verb's verb and returns its exit code.

    Raises:
        InputError: there is no such one, or none is named.
    """
    if argv[:1] in (["--help"], ["-h"]):
        print(f"usage: expandr {verb} {'|'.join(table)} [--help] [options]")
        return 0
    if not argv:
        raise InputError(f"expandr {verb} has verbs of its own", expected=f"expandr {verb} {'|'.join(table)}")
    if argv[0] not in table:
        raise unknown_name(f"verb of expandr {verb}", argv[0], table)
    return table[argv[0]](argv[1:])
