"""--help as people read it: flags as they are typed, defaults where there are any, examples with their line breaks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from expandr_ir.cli.faults import BLOCKS, Option, choices, flag_of
from expandr_ir.config import names

PRINT_CONFIG = "print all options with their values as YAML, and stop"
UNTOLD = ("None", "False", "", "[]", "()", "{}", argparse.SUPPRESS)
"""Defaults, as text, that say nothing."""


class Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """jsonargparse's help without types, which the words say, and without defaults that are nothing."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").rstrip(".")
        if action.required:
            return f"{text} (required)"
        return text if str(action.default) in UNTOLD else f"{text} (default: %(default)s)"


def tidy(parser: ArgumentParser, options: Mapping[str, Option], short: Mapping[str, str]) -> None:
    """Shows flags as they are best typed; the other spellings parse all the same.

    Args:
        parser: what to show.
        options: the verb's options by dotted name.
        short: one-letter flags by the long one.
    """
    for action in parser._actions:
        if action.dest == "print_config":
            action.help, action.metavar = PRINT_CONFIG, ""
        if action.dest not in options:
            action.help = argparse.SUPPRESS if action.dest.endswith(".help") else action.help
            continue
        flag, (kind, hint) = flag_of(action.dest), options[action.dest]
        action.option_strings = [*([short[flag]] if flag in short else []), flag]
        if kind == "flag":
            action.metavar = ""
        elif known := choices(hint):
            action.metavar = f"{{{','.join(known)}}}"
        elif kind in {"list", "tuple"}:
            action.metavar = "VALUE"
        elif kind == "dict":
            action.metavar = "{...}"
        elif action.dest in BLOCKS:
            about = "" if (action.help or "").startswith("Path to") else f"{action.help}; "
            action.metavar, action.help = "NAME", f"{about}names are {', '.join(names(f'{action.dest}s'))}"
        elif kind == "block":
            action.help = argparse.SUPPRESS
