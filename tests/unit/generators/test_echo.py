"""The echo engine: what went in comes out, numbered."""

import pytest
from requests_for_tests import request

from expandr_ir.config import GeneratorConfig
from expandr_ir.generators import load_generator
from expandr_ir.records import Message

pytestmark = pytest.mark.flash


def test_the_last_user_message_comes_back_with_the_sample():
    generator = load_generator(GeneratorConfig("echo", "any"))
    done = list(generator.generate([request("7", "flea life", samples=2), request("8", "log files")]))
    assert [generation.text for generation in done] == [
        "Question: flea life (sample 0)",
        "Question: flea life (sample 1)",
        "Question: log files (sample 0)",
    ]
    assert [generation.key for generation in done] == ["7-0", "7-1", "8-0"]
    assert {generation.finish_reason for generation in done} == {"stop"}
    assert (done[0].tokens_in, done[0].tokens_out) == (3, 5)


def test_tokens_are_words():
    generator = load_generator(GeneratorConfig("echo", "any"))
    assert generator.count_tokens([Message("system", "be brief"), Message("user", "why")]) == 3
    generator.close()
