"""Candidates and answers through the store: what is written, what is dropped, and that nothing is written twice."""

import pytest

from expandr_ir.errors import InputError
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Decoding, Generation, GeneratorId
from expandr_ir.store import Store
from expandr_ir.train.candidates import Writer, draft, write
from expandr_ir.train.rows import TrainingRow

ROWS = [TrainingRow("a", "first", ("the positive of a", "another"), ()), TrainingRow("b", "second", ("pos b",), ())]
PROMPT = Prompt(id="p", version=1, source="here", user="about {topic}")


class ListWriter:
    """Writes what a function says of topic, temperature and sample; counts what it was asked for."""

    def __init__(self, text, name="list"):
        self.id = GeneratorId("fake", name)
        self.text, self.asked = text, []

    def generate(self, requests):
        for request in requests:
            for sample in request.samples:
                self.asked.append((request.messages[-1].content, request.decoding.temperature, sample.sample))
                text = self.text(request.topic.topic_id, request.decoding.temperature, sample.sample)
                if text is None:
                    yield Generation(sample.key, "", "refused", None, None, 0.0, "fake", "no")
                else:
                    yield Generation(sample.key, text, "stop", 1, 1, 0.0, "fake")

    def count_tokens(self, messages):
        return 1

    def close(self):
        pass


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.sqlite") as opened:
        yield opened


def texts_of(written):
    return [(one.text, one.temperature, one.sample) for one in written.candidates]


def test_every_temperature_has_its_samples_and_the_answer_sees_the_first_positive(store):
    generator = ListWriter(lambda topic, temperature, sample: f"{topic} {temperature} {sample}")
    writer = Writer(generator, PROMPT, Decoding(seed=3))
    answerer = Writer(ListWriter(lambda *_: "answered", "other"), load_prompt("answer"), Decoding(temperature=0.5))
    drafts = draft(ROWS, writer, [0.8, 1.1], 2, store, answerer)
    shown = []
    found = write(drafts, writer, answerer, store, lambda *progress: shown.append(progress))
    first = found.written[0]
    assert texts_of(first) == [("a 0.8 0", 0.8, 0), ("a 0.8 1", 0.8, 1), ("a 1.1 0", 1.1, 0), ("a 1.1 1", 1.1, 1)]
    assert first.messages[-1].content == "about first"
    assert (first.answer.text, first.answer.temperature) == ("answered", 0.5)
    assert {temperature for _, temperature, _ in answerer.generator.asked} == {0.5}
    prompts = [content for content, _, _ in answerer.generator.asked]
    assert ["the positive of a" in one and "first" in one for one in prompts] == [True, False]
    assert "pos b" in prompts[1]
    assert len({one.key for written in found.written for one in written.candidates}) == 8
    assert [done for done, *_ in shown] == list(range(1, 11))
    assert {total for _, total, *_ in shown} == {10}
    again = draft(ROWS, writer, [0.8, 1.1], 2, store, answerer)
    before = len(generator.asked)
    assert write(again, writer, answerer, store).written == found.written
    assert len(generator.asked) == before


def test_more_samples_keep_those_there_are(store):
    generator = ListWriter(lambda topic, temperature, sample: f"{topic} {temperature} {sample}")
    writer = Writer(generator, PROMPT, Decoding())
    write(draft(ROWS, writer, [1.0], 2, store, None), writer, None, store)
    write(draft(ROWS, writer, [1.0, 0.7], 3, store, None), writer, None, store)
    assert len(generator.asked) == len(set(generator.asked)) == 12


def test_what_is_no_candidate_is_counted(store):
    texts = {0: "one", 1: "one", 2: "", 3: None, 4: "**two**", 5: "two"}
    writer = Writer(ListWriter(lambda topic, temperature, sample: texts[sample]), PROMPT, Decoding())
    answerer = Writer(
        ListWriter(lambda topic, *_: "" if topic == "a" else None, "o"), load_prompt("answer"), Decoding()
    )
    found = write(draft(ROWS, writer, [1.0], 6, store, answerer), writer, answerer, store)
    for one in found.written:
        assert texts_of(one) == [("one", 1.0, 0), ("two", 1.0, 4)]
        assert one.dropped == {"duplicate": 2, "empty": 1, "refused": 1}
        assert one.answer is None
    assert found.failures == 3  # a refused candidate of each, and b's answer


@pytest.mark.parametrize(
    ("temperatures", "samples", "prompt", "answer_prompt", "message"),
    [
        ([], 8, "passage", "answer", "the temperatures"),
        ([1.0, 1.0], 8, "passage", "answer", "the temperatures"),
        ([-0.5], 8, "passage", "answer", "the temperatures"),
        ([1.0], 1, "passage", "answer", "at least 2 candidates"),
        ([1.0], 8, "answer", "answer", "prompt 'answer' shows document"),
        ([1.0], 8, "passage", "passage-with-context", "shows passages"),
    ],
)
def test_what_cannot_be_drafted(store, temperatures, samples, prompt, answer_prompt, message):
    generator = ListWriter(lambda *_: "x")
    writer = Writer(generator, load_prompt(prompt), Decoding())
    with pytest.raises(InputError, match=message):
        draft(ROWS, writer, temperatures, samples, store, Writer(generator, load_prompt(answer_prompt), Decoding()))


def test_an_answer_prompt_without_a_document(store):
    writer = Writer(ListWriter(lambda *_: "x"), PROMPT, Decoding())
    drafts = draft(ROWS, writer, [1.0], 2, store, writer)
    assert drafts.answers.requests["a"].messages[-1].content == "about first"
