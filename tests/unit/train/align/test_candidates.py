"""Candidates and answers through the store: texts, what is dropped, and that nothing is written twice."""

from contextlib import ExitStack
from types import MappingProxyType

import pytest

from expandr_ir.errors import InputError
from expandr_ir.records import Generation, GeneratorId
from expandr_ir.train.align.candidates import CandidateOptions, CandidateWriter
from expandr_ir.train.data.rows import TrainingRow

ROWS = [TrainingRow("a", "first", ("the positive of a", "another"), ()), TrainingRow("b", "second", ("pos b",), ())]


class ListWriter:
    """Writes what a function says of topic, temperature and sample; `requests` has all of them."""

    def __init__(
        self,
        text=lambda topic, temperature, sample: f"{topic} {temperature} {sample}",
        answer=MappingProxyType({"a": "answered", "b": "answered"}),
    ):
        self.id = GeneratorId("fake", "list")
        self.text, self.answer, self.requests = text, answer, []

    def generate(self, requests):
        for request in requests:
            prompt, topic, temperature = (
                request.messages[-1].content,
                request.topic.topic_id,
                request.decoding.temperature,
            )
            for sample in request.samples:
                self.requests.append((prompt, temperature, sample.sample))
                text = self.answer[topic] if "pos" in prompt else self.text(topic, temperature, sample.sample)
                reason = "refused" if text is None else "stop"
                yield Generation(sample.key, text or "", reason, 1, 1, 0.0, "fake", None if text else "no")

    def count_tokens(self, messages):
        return 1

    def close(self):
        pass


@pytest.fixture
def writer(tmp_path):
    """Makes a CandidateWriter with answers, of one store."""
    with ExitStack() as stack:

        def make(generator, temperatures, samples, **others):
            store = str(tmp_path / "s.sqlite")
            options = CandidateOptions(temperatures=temperatures, samples=samples, store=store, **others)
            return CandidateWriter(options, generator, ROWS, stack, with_answers=True)

        yield make


def test_every_temperature_has_its_samples_and_the_answer_sees_the_first_positive(writer):
    generator = ListWriter()
    first = writer(generator, [0.8, 1.1], 2, answer_temperature=0.5, top_p=0.7)
    assert first.forecast()["to generate"] == 10
    table = first.write()
    assert table[0].texts == ["a 0.8 0", "a 0.8 1", "a 1.1 0", "a 1.1 1"]
    origins = [(origin["temperature"], origin["sample"]) for origin in table[0].origins]
    assert origins == [(0.8, 0), (0.8, 1), (1.1, 0), (1.1, 1)]
    assert "first" in table[0].messages[-1].content
    assert (table[0].answer, table[0].answer_origin["temperature"]) == ("answered", 0.5)
    answers = [prompt for prompt, temperature, _ in generator.requests if temperature == 0.5]
    assert ["the positive of a" in prompt and "first" in prompt for prompt in answers] == [True, False]
    assert "pos b" in answers[1]
    assert len({origin["key"] for entry in table for origin in entry.origins}) == 8
    again = writer(generator, [0.8, 1.1], 2, answer_temperature=0.5, top_p=0.7).write()
    assert [(entry.texts, entry.origins) for entry in again] == [(entry.texts, entry.origins) for entry in table]
    assert len(generator.requests) == 10
    writer(generator, [1.1, 0.7], 3, top_p=0.7).write()  # more samples keep those that are there
    assert len(generator.requests) == len(set(generator.requests)) == 20


def test_options_go_before_the_generators_own_decoding(writer):
    calls = writer(ListWriter(), [0.8], 2, max_new_tokens=9).calls()
    decodings = [call["decoding"] for _, call in calls]
    assert [(d.temperature, d.max_new_tokens, d.top_p) for d in decodings] == [(0.8, 9, 0.9), (1.0, 9, 0.9)]


def test_samples_that_are_no_candidates_are_counted(writer):
    texts = {0: "one", 1: "one", 2: "", 3: None, 4: "**two**", 5: "two"}
    candidates = writer(ListWriter(lambda topic, temperature, sample: texts[sample], {"a": "", "b": None}), [1.0], 6)
    for entry in candidates.write():
        assert (entry.texts, [origin["sample"] for origin in entry.origins]) == (["one", "two"], [0, 4])
        assert entry.dropped == {"duplicate": 2, "empty": 1, "refused": 1}
        assert entry.answer is None
    assert [len(expansions.failures) for expansions in candidates.texts] == [2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": []}, "the temperatures"),
        ({"temperatures": [1.0, 1.0]}, "the temperatures"),
        ({"temperatures": [-0.5]}, "the temperatures"),
        ({"samples": 1}, "at least 2 candidates"),
        ({"samples": 0}, "samples is 0"),
        ({"prompt": "answer"}, "prompt 'answer' shows document"),
        ({"answer_prompt": "passage-with-context"}, "shows passages"),
    ],
)
def test_options_that_do_not_fit(writer, options, message):
    with pytest.raises(InputError, match=message):
        writer(ListWriter(), **{"temperatures": [1.0], "samples": 8} | options)


def test_an_answer_prompt_without_a_document(writer):
    expander, call = writer(ListWriter(), [1.0], 2, answer_prompt="passage").calls()[-1]
    assert "first" in expander.plan(**call).requests["a"].messages[-1].content
