"""A verb of the command line."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Verb(NamedTuple):  # no dataclass: what that imports is half of the time of `expandr --help`
    """A verb of the command line.

    Args:
        about: one line.
        function: "module:function" below expandr_ir; it takes one dataclass, which is the verb's options, and returns
            a result whose text is printed and which may have an `exit_code`.
        examples: commands a reader can copy, one a line.
        positional: the option that takes bare arguments.
        elsewhere: options of a block that the verb sets itself, by dotted name: the option that goes over them where it
            has a value, or what to type in their place.
    """

    about: str
    function: str
    examples: str
    positional: str | None = None
    elsewhere: Mapping[str, str] = MappingProxyType({})

    def load(self) -> tuple[Callable[[Any], Any], type[Any]]:
        """The function and the class of its options, imported."""
        module, _, attribute = self.function.partition(":")
        function: Callable[[Any], Any] = getattr(importlib.import_module(f"expandr_ir.{module}"), attribute)
        return function, next(iter(typing.get_type_hints(function).values()))
