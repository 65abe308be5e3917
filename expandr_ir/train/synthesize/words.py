"""Words of any language: runs of letters and digits; in scripts without blanks between words, each character."""

from __future__ import annotations

import re
from collections.abc import Iterator

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"(?:(?![{_UNSPACED}])[^\W_])"
_WORD = re.compile(rf"[{_UNSPACED}]|{_LETTER}+(?:['\u2019.-]{_LETTER}+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")


def words(text: str) -> list[str]:
    """The words of a text as they are spelled; "state-of-the-art", "don't" and "3.5" are one each."""
    return [match[0] for match in _WORD.finditer(text)]


def folded(text: str) -> list[str]:
    """The words of a text, case folded."""
    return [word.casefold() for word in words(text)]


def pieces(text: str) -> Iterator[list[str]]:
    """The words between two marks of punctuation, for each stretch of the text."""
    run: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        if run and text[end : match.start()].strip():
            yield run
            run = []
        run.append(match[0])
        end = match.end()
    if run:
        yield run


def sentences(text: str) -> list[str]:
    """The sentences of a text, its line breaks taken for blanks."""
    return [one for one in _SENTENCE_END.split(" ".join(text.split())) if one.strip()]
