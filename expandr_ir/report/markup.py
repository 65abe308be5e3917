"""HTML built from calls, so that no text can get into it unescaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

VOID = frozenset({"br", "col", "hr", "link", "meta"})
"""HTML's elements without content."""

SHAPES = frozenset({"circle", "line", "path", "polygon", "rect"})
"""SVG's."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content: TypeAlias = "str | int | Markup | Sequence[Content] | None"


def tag(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """An element; plain strings in it are escaped.

    Args:
        name: of the element.
        content: strings, markup, or lists of both; None is left out.
        attributes: by name; `class_` is class, an underscore is a hyphen. True has no value; None and False are left
            out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    if name in SHAPES:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(*content)}</{name}>")


def join(*content: Content) -> Markup:
    """The contents one after the other, escaped where they are plain text."""
    parts = []
    for one in content:
        if isinstance(one, list | tuple):
            parts.append(join(*one))
        elif isinstance(one, Markup):
            parts.append(one)
        elif one is not None:
            parts.append(Markup(escape(str(one))))
    return Markup("".join(parts))


def data(value: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
