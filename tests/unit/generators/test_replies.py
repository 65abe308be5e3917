"""One decision for all engines: what a reply is."""

import pytest

from expandr_ir.generators.completions import read_choice
from expandr_ir.generators.replies import Reply, Verdict, judge
from expandr_ir.records import Decoding

pytestmark = pytest.mark.flash

P = "Fleas jump."
THOUGHT = "Should I mention dogs?"


def verdict(reply, *stop):
    return judge(reply, Decoding(max_new_tokens=9, stop=stop))


@pytest.mark.parametrize(
    ("reply", "text", "finish_reason"),
    [
        (Reply(P, "stop"), P, "stop"),
        (Reply(P, "length"), P, "length"),
        (Reply(P, "eos"), P, "stop"),
        (Reply("", "stop"), "", "stop"),
        (Reply("", "stop", has_reasoning=True), "", "stop"),
        (Reply(" \n", "stop"), " \n", "stop"),
        (Reply(P, "stop", has_counts=False), P, "stop"),
        (Reply(f"<think>{THOUGHT}</think>", "stop"), f"<think>{THOUGHT}</think>", "stop"),
        (Reply(f"{THOUGHT}</think>{P}", "length", in_reasoning=True), f"{THOUGHT}</think>{P}", "length"),
        (Reply(f"{P} <think>{THOUGHT}", "length"), f"{P} <think>{THOUGHT}", "length"),
    ],
)
def test_texts_are_kept_as_they_came(reply, text, finish_reason):
    assert verdict(reply) == Verdict(text, finish_reason)


def test_a_stop_text_ends_a_text():
    assert verdict(Reply("Fleas jump.\n\nDogs", "length"), "\n\n") == Verdict(P, "stop")


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource", "MALFORMED", "", None])
def test_a_text_that_was_broken_off_may_come_whole_the_next_time(reason):
    broken = verdict(Reply(P, reason))
    assert (broken.text, broken.finish_reason, broken.may_pass) == ("", "error", True)
    assert repr(reason) in broken.error


@pytest.mark.parametrize(
    ("reply", "error", "may_pass"),
    [
        (Reply(None, "stop"), "no text", True),
        (Reply("", "stop", has_counts=False), "no text", True),
        (Reply(P, "stop", error="network_error"), "network_error", True),
        (Reply(None, "tool_calls", tool="search"), "called the tool 'search'", False),
        (Reply("I look it up.", "stop", tool="search"), "called the tool 'search'", False),
        (Reply("", "function_call"), "called the tool '(no name)'", False),
        (Reply(None, "length", has_reasoning=True), "reasoning used all of max_new_tokens (9)", False),
        (Reply("", "length", has_reasoning=True), "reasoning used all of max_new_tokens (9)", False),
        (Reply("", "length"), "the model used all of max_new_tokens (9)", False),
        (Reply(f"<think>{THOUGHT}", "length"), "reasoning used all of max_new_tokens (9)", False),
        (Reply(f"[THINK]{THOUGHT}", "length"), "reasoning used all of max_new_tokens (9)", False),
        (Reply(f"<|channel|>analysis<|message|>{THOUGHT}", "length"), "reasoning used all", False),
        (Reply(f"analysis{THOUGHT}", "length"), "reasoning used all", False),
        (Reply(THOUGHT, "length", in_reasoning=True), "reasoning used all", False),
        (Reply(THOUGHT, "stop", in_reasoning=True), "wrote reasoning and no text", False),
        (Reply(f"<think>{THOUGHT}", "stop"), "wrote reasoning and no text", False),
        (Reply(None, "stop", has_reasoning=True), "wrote reasoning and no text", False),
    ],
)
def test_what_is_no_text_is_an_error(reply, error, may_pass):
    failed = verdict(reply)
    assert (failed.text, failed.finish_reason, failed.may_pass) == ("", "error", may_pass)
    assert error in failed.error
    assert ("--generator.decoding.max_new_tokens" in failed.error) == ("reasoning" in error or "max_new" in error)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("half a te", "content_filter"), "content filter"),
        (Reply(None, "stop", refusal="I won't"), "I won't"),
        (Reply(None, "refusal"), "content filter"),
    ],
)
def test_a_filter_and_a_refusal_are_refused(reply, error):
    assert verdict(reply) == Verdict("", "refused", error)


# Choices of a server's answer


@pytest.mark.parametrize(
    ("message", "more", "reply"),
    [
        ({"content": P}, {}, Reply(P, "stop")),
        ({}, {}, Reply(None, "stop")),
        ({"content": "", "reasoning": THOUGHT}, {}, Reply("", "stop", has_reasoning=True)),
        ({"content": None, "reasoning_content": THOUGHT}, {}, Reply(None, "stop", has_reasoning=True)),
        ({"content": P, "reasoning": None, "tool_calls": [], "refusal": None}, {}, Reply(P, "stop")),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": THOUGHT}]}, {"type": "text", "text": P}]},
            {},
            Reply(P, "stop", has_reasoning=True),
        ),
        ({"tool_calls": [{"function": {"name": "search"}}]}, {}, Reply(None, "stop", tool="search")),
        ({"content": "", "function_call": {"name": "search"}}, {}, Reply("", "stop", tool="search")),
        ({"content": P}, {"native_finish_reason": "STOP"}, Reply(P, "stop")),
        ({"content": P}, {"native_finish_reason": "network_error"}, Reply(P, "stop", error="network_error")),
        ({"content": P}, {"error": {"code": 502}}, Reply(P, "stop", error="{'code': 502}")),
    ],
)
def test_choices_are_read_as_replies(message, more, reply):
    assert read_choice({"message": message, "finish_reason": "stop", **more}) == reply
