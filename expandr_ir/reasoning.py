"""Removes what surrounds the text in an LLM's reply: its reasoning, and tokens of chat templates.

The engines decide by it whether there is a text at all; cleaning removes it from the texts of any engine and any age.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TAGS = r"(?:think(?:ing)?|thoughts?|reasoning|seed:think)"
_OPENING = rf"<{_TAGS}>|(?-i:\[THINK\])|◁think▷|<\|START_THINKING\|>"
_CLOSING = rf"</{_TAGS}>|(?-i:\[/THINK\])|◁/think▷|<\|END_THINKING\|>"
_MARK = re.compile(f"({_OPENING})|{_CLOSING}", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s?(\w{1,20})[^<]{0,80}(?:<\|message\|>|\Z)")
_OPEN_PROMPT = re.compile(rf"(?:{_OPENING}|<\|channel\|>\s?analysis<\|message\|>)\s*\Z", re.IGNORECASE)

# Harmony without its special tokens: "analysisWe need ...assistantfinalFleas jump."
_BARE_CHANNEL = re.compile(r"(?:assistant)?(analysis|final)(?=[A-Z])")
_BARE_BORDER = "assistantfinal"


def opens_reasoning(prompt_end: str) -> bool:
    """Reports a prompt that ends within reasoning: what the LLM writes belongs to it until it is closed."""
    return bool(_OPEN_PROMPT.search(prompt_end))


def is_reasoning_mark(token: str, vocabulary: Collection[str]) -> bool:
    """Reports a token that begins or ends reasoning, or a part of harmony's channels where the vocabulary has them."""
    in_channels = "<|channel|>" in vocabulary and token in {"<|start|>", "<|channel|>", "<|message|>", "<|end|>"}
    return in_channels or bool(_MARK.fullmatch(token))


def drop_reasoning(text: str, in_reasoning: bool = False) -> tuple[str, bool]:
    """Returns the text without reasoning, and whether the reply ends while its reasoning goes on.

    `in_reasoning`: the prompt ends within reasoning. Where that is not known, a closing mark without an opening one
    tells.
    """
    bare = _BARE_CHANNEL.match(text)
    if not (in_reasoning or bare or "<" in text or "[" in text or "◁" in text):  # most texts
        return text, False
    if channels := list(_CHANNEL.finditer(text)):  # harmony: gpt-oss
        final = next((channel for channel in channels if channel[1] == "final"), None)
        return (text[final.end() :], False) if final else ("", True)
    if bare and bare[1] == "final":
        return text[bare.end() :], False
    if bare:
        border = text.find(_BARE_BORDER, bare.end())
        return ("", True) if border < 0 else (text[border + len(_BARE_BORDER) :], False)
    pieces, start, thinking = list[str](), 0, in_reasoning
    for mark in _MARK.finditer(text):
        opening = mark[1] is not None
        if not thinking:
            pieces.append(text[start : mark.start()])
            if not opening:  # all that was before it is reasoning
                pieces.clear()
        thinking, start = opening, mark.end()
    if not thinking:
        pieces.append(text[start:])
    return "\n".join(pieces), thinking


_END_NAMES = (
    "im_end|eot_id|eom_id|eot|end|end_of_text|endoftext|end_of_turn|END_OF_TURN_TOKEN|END_RESPONSE|return|call|"
    "assistant_end|im_sep|sep"
)
_START_NAMES = (
    "im_start|start|start_header_id|begin_of_text|startoftext|START_OF_TURN_TOKEN|START_RESPONSE|CHATBOT_TOKEN|"
    "assistant|user|system"
)
_END = rf"<\|(?:{_END_NAMES})\|>|<｜end▁of▁sentence｜>|<end_of_turn>"
_START = rf"<\|(?:{_START_NAMES})\|>|<｜(?:begin▁of▁sentence|Assistant|User)｜>|<start_of_turn>"
_TURN = re.compile(f"{_END}|{_START}")
_HEADER = re.compile(
    rf"(?:\s|{_END}|<s>|</s>|<eos>|<pad>|(?:{_START})(?:\s?(?:assistant|model)\b)?|<\|end_header_id\|>|<\|message\|>)*+"
)
_LAST = ("</s>", "<eos>", "<pad>", "[/INST]", "<|eos|>")  # elsewhere they may be words of the answer, such as HTML


def drop_chat_tokens(text: str) -> str:
    """Returns the text of the first turn, without the tokens of chat templates that begin and end it."""
    if "<" not in text and "[/INST]" not in text:  # most texts
        return text
    header = _HEADER.match(text)
    start = header.end() if header and "<" in header[0] else 0
    turn = _TURN.search(text, start)
    end = turn.start() if turn else len(text)
    struck = text.find("<s>", start, end) >= 0  # HTML's strike-through
    while not struck and (token := next((t for t in _LAST if text.endswith(t, start, end)), "")):
        end -= len(token)
        while end > start and text[end - 1].isspace():
            end -= 1
    return text[start:end]
