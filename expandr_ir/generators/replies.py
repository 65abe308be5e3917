"""The kind of an LLM's reply, decided in one place for all engines: a text, an empty text, a refusal or a failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from expandr_ir.masking import mask
from expandr_ir.reasoning import drop_reasoning
from expandr_ir.records import Decoding, FinishReason

COMPLETE: dict[str, FinishReason] = {"stop": "stop", "length": "length", "eos": "stop"}
"""The finish reasons of texts: OpenAI's, and Together's word for an end token."""

_FAULT = re.compile(r"error|abort|cancel|interrupt|timeout|fail|insufficient", re.IGNORECASE)
MORE_TOKENS = (
    "raise --generator.decoding.max_new_tokens, or switch reasoning off: "
    """--generator.chat_template_kwargs '{"enable_thinking": false}'"""
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One sample as an engine returned it, in the words of OpenAI's protocol.

    Args:
        content: the raw text; None where there is none, which is not the empty text.
        finish_reason: the engine's own word.
        error: the fault that the engine names beside it.
        refusal: the reason why the model or a filter refuses.
        tool: the name of a tool that was called in place of a text.
        has_reasoning: reasoning came in a field of its own.
        in_reasoning: the prompt ended within reasoning.
        has_counts: the engine counted the tokens, so that an empty text is one that was written.
    """

    content: str | None
    finish_reason: str | None
    error: str | None = None
    refusal: str | None = None
    tool: str | None = None
    has_reasoning: bool = False
    in_reasoning: bool = False
    has_counts: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """The raw text with its finish reason, or the error why there is none; `may_pass`: another attempt may have one."""

    text: str
    finish_reason: FinishReason
    error: str | None = None
    may_pass: bool = False


def judge(reply: Reply, decoding: Decoding) -> Verdict:
    """Returns what a reply is.

    Texts end with "stop" or "length" and hold more than reasoning. An empty text is one if it was written: a string,
    ended by "stop", of counted tokens.
    """
    if reply.refusal or reply.finish_reason in {"content_filter", "refusal"}:
        return Verdict("", "refused", mask(reply.refusal or "content filter"))
    if reply.tool or reply.finish_reason in {"tool_calls", "function_call"}:
        return _failure(f"the model called the tool {reply.tool or '(no name)'!r} in place of a text")
    if reply.error or reply.finish_reason not in COMPLETE:
        cause = f": {reply.error}" if reply.error else ""
        return _failure(f"the text was broken off, finish_reason is {reply.finish_reason!r}{cause}", may_pass=True)
    raw = reply.content or ""
    text = cut_at_stop(raw, decoding.stop)
    finish_reason = COMPLETE[reply.finish_reason] if text == raw else "stop"
    answer, goes_on = drop_reasoning(text, reply.in_reasoning)
    verdict = Verdict(text, finish_reason)
    return verdict if answer.strip() else _judge_blank(reply, verdict, goes_on, decoding.max_new_tokens)


def _judge_blank(reply: Reply, verdict: Verdict, goes_on: bool, max_new_tokens: int) -> Verdict:
    """Returns what a reply without an answer is; `goes_on`: it ends within reasoning."""
    has_reasoning = reply.has_reasoning or bool(verdict.text.strip())
    if verdict.finish_reason == "length":
        writer = "reasoning" if has_reasoning else "the model"
        return _failure(f"{writer} used all of max_new_tokens ({max_new_tokens}) and left no text: {MORE_TOKENS}")
    if goes_on or (reply.content is None and has_reasoning):
        return _failure(f"the model wrote reasoning and no text: {MORE_TOKENS}")
    if reply.content is None or not (verdict.text or reply.has_counts):
        return _failure("the answer has no text", may_pass=True)
    return verdict


def _failure(error: str, *, may_pass: bool = False) -> Verdict:
    return Verdict("", "error", mask(error), may_pass)


def provider_fault(finish_reason: str | None) -> str | None:
    """Returns a provider's own finish reason where it is that of a fault ("network_error")."""
    return finish_reason if finish_reason and _FAULT.search(finish_reason) else None


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """Returns the text up to the first stop text in it; all of it where there is none."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]
