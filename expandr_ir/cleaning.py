"""Cleans an LLM's raw text, in time linear in its length, and says why it changed.

The words of an answer are not touched. Only text before it (a lead-in, an echo of the prompt), after it (an offer of
help, the same sentence over and over) and around it (marks, quotes) is removed, and text that is no answer (thinking, a
refusal).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from expandr_ir.boilerplate import is_refusal, lead_in_end, offer_start
from expandr_ir.errors import check_number
from expandr_ir.reasoning import drop_chat_tokens, drop_reasoning

Reason: TypeAlias = Literal[
    "encoding",  # lone surrogates, NUL and other control characters
    "thinking",  # <think> blocks and their like, unclosed ones too; harmony channels other than the final one
    "chat_tokens",  # tokens of chat templates (<|im_end|>), and what follows the end of the turn
    "markdown",  # fences, rules, marks of headings and emphasis; their words stay
    "lead_in",  # "Certainly! Here is a passage ...:", "Passage:"
    "echo",  # one of the prompt's last lines, such as the topic, said again at the beginning
    "quotes",  # quotation marks around the whole text
    "chatter",  # "Let me know if ..." at the end
    "repetition",  # the same text over and over at the end; one copy stays
    "length",  # cut to max_words
    "refusal",  # nothing but a short refusal: empty
    "wordless",  # not one letter or digit: empty
]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A cleaned text, on one line, and the reasons, in the order of REASONS; white space is no reason."""

    text: str
    reasons: tuple[Reason, ...]


def clean(raw: str, prompt_text: str | None = None, max_words: int | None = None) -> Cleaned:
    """The text to search, with the reasons why it differs; cleaning it again in the same way changes nothing.

    `prompt_text` is the user message that it answers: its last lines are recognised when they are said again. At most
    `max_words` words are kept, as white space separates them.
    """
    check_number("max_words", max_words, least=1)
    echoes = _echoes(prompt_text or "")
    text, reasons = raw, set[Reason]()
    while True:
        cleaner, more_reasons = _pass(text, echoes, max_words)
        if cleaner == text:
            return Cleaned(text, tuple(reason for reason in REASONS if reason in reasons))
        text = cleaner
        reasons |= more_reasons


def _pass(text: str, echoes: Sequence[list[str]], max_words: int | None) -> tuple[str, set[Reason]]:
    """The text after every step once, and the reasons that applied."""
    reasons = set[Reason]()

    def step(reason: Reason, after: str) -> str:
        if after != text:
            reasons.add(reason)
        return after

    text = step("encoding", _encode(text))
    text = step("thinking", drop_reasoning(text)[0])
    text = step("chat_tokens", drop_chat_tokens(text))
    text = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    text = step("markdown", _drop_marks(text))
    text = _trim(text, echoes, reasons).replace("\n", " ")
    text = step("length", text if max_words is None else _shorten(text, max_words))
    text = step("refusal", "" if is_refusal(text) else text)
    return step("wordless", text if _WORD.search(text) else ""), reasons


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_UNWRITABLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]")


def _encode(text: str) -> str:
    if not _UNWRITABLE.search(text):
        return text
    paired = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _UNWRITABLE.sub(" ", paired)


_MARKS = ("*", "`", "#", "~~~", "---", "___", "===", "- -", "_ _", "= =")
_FENCE_OR_RULE = re.compile(r"(?:`{3,}|~{3,})\s?[\w+#-]*|(?:[-*_=] ?){3,}")
_HEADING = re.compile(r"^#{1,6}+ ", re.MULTILINE)
_EMPHASIS = re.compile(r"(?<![\w*`])[*`]++(?=\S)|(?<=[^\s*`])[*`]++(?!\w)")


def _drop_marks(text: str) -> str:
    """The text without marks; asterisks within a word (HLA-A*02) and underscores (__init__) are none."""
    if not any(mark in text for mark in _MARKS):
        return text
    lines = "\n".join(line for line in text.split("\n") if not _FENCE_OR_RULE.fullmatch(line))
    return _EMPHASIS.sub("", _HEADING.sub("", lines))


def _shorten(text: str, max_words: int) -> str:
    words = text.split(maxsplit=max_words)
    return text if len(words) <= max_words else " ".join(words[:max_words])


def _trim(text: str, echoes: Sequence[list[str]], reasons: set[Reason]) -> str:
    """The text without boilerplate around the answer; adds the reasons."""
    text = f" {text}"  # so that the first copy of a repeated text looks like the others
    start, end = 1, len(text)
    while True:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        cut = _head(text, start, end, echoes) or _tail(text, start, end) or _quotes(text, start, end)
        if cut is None:
            return text[start:end]
        reason, start, end = cut
        reasons.add(reason)


_Cut: TypeAlias = tuple[Reason, int, int]
"""The reason, and the start and end of the rest."""

_WORD = re.compile(r"[^\W_]")
_HEAD_MARKS = re.compile(r"[-*=~]{3,}+|[>#*`|•]+(?=\s)")
_TAIL_MARKS = "-*=~#>`|"


def _head(text: str, start: int, end: int, echoes: Sequence[list[str]]) -> _Cut | None:
    if marks := _HEAD_MARKS.match(text, start, end):
        return "markdown", marks.end(), end
    after = lead_in_end(text, start, end)
    if after > start and _WORD.search(text, after, end):
        return "lead_in", after, end
    for echo in echoes:
        after = _echo_end(text, start, end, echo)
        if after > start and _WORD.search(text, after, end):
            return "echo", after, end
    return None


def _tail(text: str, start: int, end: int) -> _Cut | None:
    before = end
    while before > start and text[before - 1] in _TAIL_MARKS:
        before -= 1
    if before < end and (before == start or text[before - 1].isspace()):
        return "markdown", start, before
    before = offer_start(text, start, end)
    if before < end and _WORD.search(text, start, before):
        return "chatter", start, before
    before = _repetition_start(text, start, end)
    return ("repetition", start, before) if before < end else None


_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“"}


def _quotes(text: str, start: int, end: int) -> _Cut | None:
    """Cuts quotes around the whole text, or the one that is left where the other was cut off."""
    for opening, closing in _QUOTES.items():
        if text.startswith(opening, start, end):
            at = text.find(closing, start + 1, end)
            if at in {-1, end - 1}:
                return "quotes", start + 1, end if at < 0 else at
        if text.endswith(closing, start, end) and text.rfind(opening, start, end - 1) < 0:
            return "quotes", start, end - 1
    return None


_ECHO_LINES = 3
_PROMPT_LABEL = re.compile(r"\W*(?:\w+ ){0,3}\w+: ")
_NEXT_WORD = re.compile(r"\W{0,8}(\w+)")
_ECHO_STOP = re.compile(r"[\"”’')*]*+(?:(?:[.?!:…]++[\"”’')*]*+|(?<=[\"”]))(?=\s[^a-z])|(?=\n))")


def _echoes(prompt_text: str) -> list[list[str]]:
    """The words of the last lines of the prompt's last paragraph, with and without a label ("Query:")."""
    lines = prompt_text.rstrip().rsplit("\n\n", 1)[-1].splitlines()[-_ECHO_LINES:]
    bare = [_PROMPT_LABEL.sub("", line, count=1) for line in lines]
    words = [re.findall(r"\w+", line.casefold()) for line in (*lines, *bare)]
    return [echo for echo in words if echo]


def _echo_end(text: str, start: int, end: int, echo: list[str]) -> int:
    """The end of an echo that is a sentence or line of its own; `start` where there is none."""
    at = start
    for word in echo:
        match = _NEXT_WORD.match(text, at, end)
        if match is None or match[1].casefold() != word:
            return start
        at = match.end()
    stop = _ECHO_STOP.match(text, at, end)
    return stop.end() if stop else start


_PROBE_CHARS = 20
_LONGEST_PERIOD_CHARS = 1000


def _repetition_start(text: str, start: int, end: int) -> int:
    """The start of the second copy of a text that is repeated until `end`; `end` where there is none."""
    probe = text[max(start, end - _PROBE_CHARS) : end]
    lowest = max(start, end - _PROBE_CHARS - _LONGEST_PERIOD_CHARS)
    at = text.rfind(probe, lowest, end - 1)
    while at >= 0:
        period = end - len(probe) - at
        unit, copies = text[end - period : end], 1
        while (before := end - (copies + 1) * period) >= start - 1 and text.startswith(unit, before):
            copies += 1
        if copies >= (3 if period >= 40 else 5 if period >= 10 else 10):  # "very, very, very" is no runaway text
            return end - (copies - 1) * period
        at = text.rfind(probe, lowest, at + len(probe) - 1)
    return end
