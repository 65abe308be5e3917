"""Candidates and answers through the store: texts, what is dropped, and that nothing is written twice."""

from contextlib import contextmanager

import pytest

from expandr_ir.errors import InputError
from expandr_ir.records import Generation, GeneratorId
from expandr_ir.train.align.candidates import CandidateOptions, generation_calls, make_table, open_expanders
from expandr_ir.train.data.rows import TrainingRow

ROWS = [TrainingRow("a", "first", ("the positive of a", "another"), ()), TrainingRow("b", "second", ("pos b",), ())]


class ListWriter:
    """Writes what a function says of topic, temperature and sample; keeps what it was asked for."""

    def __init__(self, text, answer=lambda topic: "answered"):
        self.id = GeneratorId("fake", "list")
        self.text, self.answer, self.asked = text, answer, []

    def generate(self, requests):
        for request in requests:
            prompt, topic = request.messages[-1].content, request.topic.topic_id
            for sample in request.samples:
                self.asked.append((prompt, request.decoding.temperature, sample.sample))
                is_answer = "pos" in prompt
                text = (
                    self.answer(topic) if is_answer else self.text(topic, request.decoding.temperature, sample.sample)
                )
                reason = "refused" if text is None else "stop"
                yield Generation(sample.key, text or "", reason, 1, 1, 0.0, "fake", None if text else "no")

    def count_tokens(self, messages):
        return 1

    def close(self):
        pass


@contextmanager
def calls_of(generator, store, temperatures, samples, *, with_answers=False, **others):
    options = CandidateOptions(temperatures=temperatures, samples=samples, store=str(store), **others)
    with open_expanders(options, generator, with_answers=with_answers) as expanders:
        yield options, expanders, generation_calls(options, ROWS, *expanders)


def write(generator, store, temperatures, samples, **others):
    with calls_of(generator, store, temperatures, samples, **others) as (options, (expander, _), calls):
        generated = [own.generate(**call) for own, call in calls]
        return make_table(options, ROWS, expander.prompt, generated), generated


def named(topic, temperature, sample):
    return f"{topic} {temperature} {sample}"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "s.sqlite"


def test_every_temperature_has_its_samples_and_the_answer_sees_the_first_positive(store):
    generator = ListWriter(named)
    found, generated = write(generator, store, [0.8, 1.1], 2, with_answers=True, answer_temperature=0.5, top_p=0.7)
    assert found[0].texts == ["a 0.8 0", "a 0.8 1", "a 1.1 0", "a 1.1 1"]
    assert [(one["temperature"], one["sample"]) for one in found[0].origins] == [(0.8, 0), (0.8, 1), (1.1, 0), (1.1, 1)]
    assert "first" in found[0].messages[-1].content
    assert (found[0].answer, found[0].answer_origin["temperature"]) == ("answered", 0.5)
    answers = [prompt for prompt, temperature, _ in generator.asked if temperature == 0.5]
    assert ["the positive of a" in prompt and "first" in prompt for prompt in answers] == [True, False]
    assert "pos b" in answers[1]
    assert len({origin["key"] for one in found for origin in one.origins}) == 8
    assert sum(one.counts["generated"] for one in generated) == 10
    again, _ = write(generator, store, [0.8, 1.1], 2, with_answers=True, answer_temperature=0.5, top_p=0.7)
    assert [(one.texts, one.origins) for one in again] == [(one.texts, one.origins) for one in found]
    assert len(generator.asked) == 10


def test_options_go_before_the_generators_own_decoding(store):
    with calls_of(ListWriter(named), store, [0.8], 2, max_new_tokens=9, with_answers=True) as (_, _, calls):
        decodings = [call["decoding"] for _, call in calls]
        forecast = [own.plan(**call).forecast(own.generator).to_generate for own, call in calls]
    assert [(one.temperature, one.max_new_tokens, one.top_p) for one in decodings] == [(0.8, 9, 0.9), (1.0, 9, 0.9)]
    assert forecast == [4, 2]


def test_more_samples_keep_those_there_are(store):
    generator = ListWriter(named)
    write(generator, store, [1.0], 2)
    write(generator, store, [1.0, 0.7], 3)
    assert len(generator.asked) == len(set(generator.asked)) == 12


def test_samples_that_are_no_candidates_are_counted(store):
    texts = {0: "one", 1: "one", 2: "", 3: None, 4: "**two**", 5: "two"}
    generator = ListWriter(lambda topic, temperature, sample: texts[sample], lambda topic: "" if topic == "a" else None)
    found, generated = write(generator, store, [1.0], 6, with_answers=True)
    for one in found:
        assert (one.texts, [origin["sample"] for origin in one.origins]) == (["one", "two"], [0, 4])
        assert one.dropped == {"duplicate": 2, "empty": 1, "refused": 1}
        assert one.answer is None
    assert sum(len(one.failures) for one in generated) == 3  # a refused candidate of each, and b's answer


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
def test_options_that_do_not_fit(store, options, message):
    values = {"temperatures": [1.0], "samples": 8, "with_answers": True} | options
    with pytest.raises(InputError, match=message), calls_of(ListWriter(named), store, **values):
        pass


def test_an_answer_prompt_without_a_document(store):
    with calls_of(ListWriter(named), store, [1.0], 2, with_answers=True, answer_prompt="passage") as (_, _, calls):
        own, call = calls[-1]
        assert "first" in own.plan(**call).requests["a"].messages[-1].content
