"""From topics to expanded topics: only what is missing is generated, and nothing that came is lost."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders import ExpandOptions, Forecast, Plan
from expandr_ir.expanders import plan as module
from expandr_ir.prompts import Prompt
from expandr_ir.records import Decoding, Document, Generation, GeneratorId, Topic
from expandr_ir.store import Store, commits
from expandr_ir.store.archive import export_rows, import_rows

PROMPT = Prompt(id="passage", version=3, source="here", user="Write about {topic}.", stop=("END",))
TOPICS = [Topic(f"t{number}", f"subject number {number}") for number in range(6)]


class Writer:
    """Writes "SUBJECT by SAMPLE" and remembers the calls; `answers` maps a text's beginning to another generation."""

    def __init__(self, answers=None, stop_after=None, stop_with=KeyboardInterrupt):
        self.id = GeneratorId("fake", "writer")
        self.calls = []
        self.written = []
        self.answers = answers or {}
        self.stop_after = stop_after
        self.stop_with = stop_with

    def generate(self, requests):
        self.calls.append(
            [(request.topic.topic_id, sample.sample) for request in requests for sample in request.samples]
        )
        for request in reversed(requests):
            for sample in request.samples:
                if len(self.written) == self.stop_after:
                    raise self.stop_with("no more")
                self.written.append((request.topic.text, sample.sample))
                text = f"{request.topic.text} by writer {sample.sample}"
                plain = Generation(sample.key, text, "stop", 5, 7, 0.25, "fake 1")
                yield replace(plain, **self.answers.get((request.topic.topic_id, sample.sample), {}))

    def count_tokens(self, messages):
        return sum(len(message.content.split()) for message in messages)

    def close(self):
        pass


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.sqlite") as opened:
        yield opened


def planned(store, topics=TOPICS, samples=2, writer=None, decoding=None, **options):
    by_id = {topic.topic_id: topic for topic in topics}
    given = (by_id, PROMPT, writer or Writer(), decoding or Decoding(), samples, store)
    return Plan(*given, options=ExpandOptions(**options))


def run(store, writer, **options):
    return planned(store, writer=writer, **options).generate()


def texts(expanded):
    found = {topic_id: [expansion.text for expansion in topic.expansions] for topic_id, topic in expanded.items()}
    return found | {topic_id: [] for topic_id in expanded.missing}


ALL = {topic.topic_id: [f"{topic.text} by writer {sample}" for sample in range(2)] for topic in TOPICS}

# The plan


def test_plan_of_an_empty_store(store):
    made = planned(store, samples=3)
    assert (made.finish_reasons, len(made.due)) == ({}, 18)
    # five words of prompt: "Write about subject number 0."
    assert made.forecast() == Forecast(6, 0, 18, 0, 0, prompt_tokens=6 * 5, new_tokens=18 * 512)
    assert made.requests["t4"].messages[-1].content == "Write about subject number 4."
    assert made.requests["t4"].decoding.stop == ("END",)
    other = planned(store, samples=3, decoding=Decoding(seed=1))
    seeds = [sample.seed for plan in (made, other) for r in plan.distinct_requests() for sample in r.samples]
    assert len(set(seeds)) == 36


def test_batches_hold_whole_requests_and_do_not_depend_on_what_is_stored(store):
    before = planned(store, batch_samples=5).batches
    assert [[request.topic.topic_id for request in batch] for batch in before] == [
        ["t0", "t1"],
        ["t2", "t3"],
        ["t4", "t5"],
    ]
    run(store, Writer(), topics=TOPICS[1:4])
    assert planned(store, batch_samples=5).batches == before
    for topics, samples, sizes in (  # a twentieth of the plan, but 128 samples at least
        *((6, 2, [6]), (300, 1, [128, 128, 44]), (4000, 1, [200] * 20), (400, 8, [20] * 20), (3, 150, [1, 1, 1])),
    ):
        made = planned(store, [Topic(str(number), f"text {number}") for number in range(topics)], samples)
        assert [len(batch) for batch in made.batches] == sizes


def test_context_reaches_the_prompt_by_topic_id(store):
    prompt = Prompt(id="p", version=1, source="here", user="{topic}: {document}")
    context = {topic.topic_id: {"document": Document("d", "", f"body {topic.topic_id}")} for topic in TOPICS}
    topics = {topic.topic_id: topic for topic in TOPICS}
    made = Plan(topics, prompt, Writer(), Decoding(), samples=1, store=store, context=context)
    assert made.requests["t2"].messages[-1].content == "subject number 2: body t2"
    with pytest.raises(InputError, match="t0"):
        Plan(topics, prompt, Writer(), Decoding(), samples=1, store=store)


# Expanding


def test_each_topic_once_in_order_with_its_expansions_by_sample(store):
    writer, twin = Writer(), Topic("twin", TOPICS[0].text)  # equal prompts share their generations
    expanded = run(store, writer, topics=[*TOPICS, twin], batch_samples=4)
    assert [topic.topic for topic in expanded.values()] == [*TOPICS, twin]
    assert texts(expanded) == {**ALL, "twin": ALL["t0"]}
    assert [expansion.sample for expansion in expanded["t0"].expansions] == [0, 1]
    counts = expanded.counts
    assert (counts["stored"], counts["generated"], counts["failed"], counts["refused"]) == (0, 12, 0, 0)
    assert (counts["tokens_in"], counts["tokens_out"], expanded.seconds) == (60, 84, 3.0)
    assert (counts["empty"], counts["truncated"], expanded.missing, len(writer.written)) == (0, 0, (), 12)


def test_more_samples_generate_only_the_new_ones(store):
    run(store, Writer(), samples=4)
    writer = Writer()
    assert planned(store, samples=4).forecast().prompt_tokens == 0
    forecast = planned(store, samples=8).forecast()
    assert (forecast.stored, forecast.to_generate, forecast.prompt_tokens) == (24, 24, 6 * 5)
    expanded = run(store, writer, samples=8)
    assert sorted(writer.written) == [(topic.text, sample) for topic in TOPICS for sample in range(4, 8)]
    assert [expansion.sample for expansion in expanded["t0"].expansions] == list(range(8))
    assert (expanded.counts["stored"], expanded.counts["generated"]) == (24, 24)
    again = Writer()
    assert run(store, again, samples=8) == expanded
    assert again.calls == []


def test_progress(store, monkeypatch):
    run(store, Writer(), topics=TOPICS[:1])
    seen = []

    @contextmanager
    def progress(description, total):
        yield lambda n=1, note="": seen.append((description, total, n, note.split(", ")[1:]))

    monkeypatch.setattr(module, "progress", progress)
    run(store, Writer({("t1", 0): FAILED}), topics=TOPICS[:3])
    assert [(total, n) for _, total, n, _ in seen if n] == [(4, 1)] * 4
    assert seen[-1][3] == ["1 failed"]


# What goes wrong

FAILED = {"text": "", "finish_reason": "error", "error": "timeout", "tokens_out": None}
REFUSED = {"text": "", "finish_reason": "refused", "error": "content filter"}


def test_failures_are_listed_and_not_served(store):
    writer = Writer({("t1", 0): FAILED, ("t1", 1): REFUSED, ("t2", 1): REFUSED})
    expanded = run(store, writer)
    assert texts(expanded) == {**ALL, "t1": [], "t2": ALL["t2"][:1]}
    assert [(one.topic_id, one.sample, one.refused, one.error) for one in expanded.failures] == [
        ("t1", 0, False, "timeout"),
        ("t1", 1, True, "content filter"),
        ("t2", 1, True, "content filter"),
    ]
    counts = expanded.counts
    assert (counts["generated"], counts["failed"], counts["refused"], expanded.missing) == (9, 1, 2, ("t1",))


def test_a_later_run_tries_errors_again_and_refusals_when_asked(store):
    run(store, Writer({("t1", 0): FAILED, ("t1", 1): REFUSED}))
    made = planned(store)
    forecast = made.forecast()
    assert (forecast.stored, forecast.failed_before, forecast.refused_before, len(made.due)) == (10, 1, 1, 1)
    writer = Writer()
    assert texts(run(store, writer))["t1"] == ["subject number 1 by writer 0"]
    assert writer.calls == [[("t1", 0)]]
    writer = Writer()
    assert texts(run(store, writer, retry_refused=True)) == ALL
    assert writer.calls == [[("t1", 1)]]


CUT = {"text": "cut by", "finish_reason": "length"}
THOUGHT = {"text": "<think>of nothing</think>"}
DOUBTFUL = {("t0", 0): CUT, ("t1", 0): {"text": ""}, ("t2", 0): THOUGHT, ("t3", 0): REFUSED, ("t4", 0): FAILED}


@pytest.mark.parametrize(
    ("reasons", "topic_ids"),
    [
        ({}, ["t4"]),
        ({"retry": ["truncated"]}, ["t0", "t4"]),
        ({"retry": ["empty"]}, ["t1", "t2", "t4"]),
        ({"retry": ["refused"]}, ["t3", "t4"]),
        ({"retry_refused": True}, ["t3", "t4"]),
        ({"retry": ["refused", "truncated", "empty"]}, ["t0", "t1", "t2", "t3", "t4"]),
    ],
)
def test_what_is_asked_anew_takes_the_place_of_what_was_stored(store, reasons, topic_ids):
    run(store, Writer(DOUBTFUL))
    forecast = planned(store, **reasons).forecast()
    n_texts = sum(topic_id in {"t0", "t1", "t2"} for topic_id in topic_ids)
    assert (forecast.to_generate, forecast.stored) == (len(topic_ids), 10 - n_texts)
    writer = Writer()
    expanded = run(store, writer, **reasons)
    assert writer.calls == [[(topic_id, 0) for topic_id in topic_ids]]
    assert {topic_id: texts(expanded)[topic_id] for topic_id in topic_ids} == {i: ALL[i] for i in topic_ids}
    assert (expanded.counts["generated"], expanded.counts["stored"]) == (len(topic_ids), 10 - n_texts)
    assert len(store) == 12
    assert texts(run(store, Writer(), topics=TOPICS[:1])) == {
        "t0": ALL["t0"] if "t0" in topic_ids else ["cut by", ALL["t0"][1]]
    }


@pytest.mark.parametrize("answer", [FAILED, REFUSED])
def test_a_text_stays_where_asking_anew_fails(store, answer, caplog):
    run(store, Writer({("t0", 0): CUT}))
    expanded = run(store, Writer({("t0", 0): answer}), retry=["truncated"])
    assert texts(expanded)["t0"] == ["cut by", "subject number 0 by writer 1"]
    assert "1 samples failed when they were asked anew" in caplog.text


def test_what_another_process_asked_anew_is_not_asked_again(store):
    run(store, Writer({("t0", 0): CUT}))
    writer = Writer()
    made = planned(store, writer=writer, retry=["truncated"])
    run(store, Writer({("t0", 0): CUT | {"text": "cut again"}}), retry=["truncated"])
    assert texts(made.generate())["t0"][0] == "cut again"
    assert writer.calls == []


def test_an_unknown_reason_is_refused():
    with pytest.raises(InputError, match="--retry 'emty'") as caught:
        ExpandOptions(retry=["emty"])
    assert caught.value.remedy == "empty"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ExpandrError])
def test_a_broken_off_run_leaves_everything_that_came_in_the_store(store, error):
    writer = Writer(stop_after=7, stop_with=error)
    with pytest.raises(error, match="no more"):
        run(store, writer, batch_samples=4)
    assert len(store) == 7
    second = Writer()
    assert texts(run(store, second, batch_samples=4)) == ALL
    assert sorted(writer.written + second.written) == sorted((topic.text, s) for topic in TOPICS for s in range(2))


def test_a_resumed_run_asks_for_the_same_batches(store, tmp_path):
    unbroken = Writer()
    with Store.open(tmp_path / "other.sqlite") as other:
        run(other, unbroken, batch_samples=4)
    broken = Writer(stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(store, broken, batch_samples=4)
    resumed = Writer()
    run(store, resumed, batch_samples=4)
    assert unbroken.calls == broken.calls[:1] + resumed.calls
    assert resumed.calls == unbroken.calls[1:]


def test_a_sample_that_was_never_answered(store):
    class Forgetful(Writer):
        def generate(self, requests):
            return (one for one in super().generate(requests) if not one.text.endswith("4 by writer 1"))

    expanded = run(store, Forgetful())
    assert [(one.topic_id, one.sample, one.error) for one in expanded.failures] == [
        ("t4", 1, "the generator gave no answer")
    ]
    assert run(store, Writer()).failures == ()


def test_a_full_disk_while_expanding(store):
    writer = Writer({("t0", 0): {"text": "x" * 50_000}})
    made = planned(store, writer=writer, batch_samples=4)
    with store.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(ExpandrError, match="no space is left"):
        made.generate()
    assert len(writer.calls) == 1


# Cleaning


def test_texts_are_stored_raw_and_cleaned_when_they_are_read(store):
    thought = "<think>hm</think>The sky is blue."
    blank = {"text": "<think>nothing but this</think>"}
    answers = {("t0", 0): {"text": thought, "finish_reason": "length"}, ("t1", 0): blank, ("t1", 1): {"text": ""}}
    expanded = run(store, Writer(answers))
    first, second = list(expanded.rows())[:2]
    generator, cost = {"engine": "fake", "model": "writer"}, {"tokens_in": 5, "tokens_out": 7, "seconds": 0.25}
    plain = {"topic_id": "t0", "topic_text": "subject number 0", "prompt": "passage@3", "generator": generator} | cost
    texts_of = {"sample": 0, "text": "The sky is blue.", "raw": thought, "reasons": ["thinking"]}
    keys = [expansion.key for expansion in expanded["t0"].expansions]
    assert first == plain | texts_of | {"key": keys[0], "finish_reason": "length"}
    texts_of = {"sample": 1, "text": "subject number 0 by writer 1", "reasons": []}
    assert second == plain | texts_of | {"key": keys[1], "finish_reason": "stop"}
    assert texts(expanded)["t1"] == ["", ""]
    counts = expanded.counts
    assert (counts["generated"], counts["failed"], counts["empty"], counts["truncated"]) == (12, 0, 2, 1)
    assert expanded.reasons["thinking"] == 2
    assert thought in {row["text"] for row in export_rows(store, prompt="passage@3")}
    shorter = run(store, Writer(), max_words=2)
    assert texts(shorter)["t3"] == ["subject number", "subject number"]
    assert shorter.reasons["length"] == 10


def test_verbatim_texts_are_not_cleaned(store, tmp_path):
    thought = "<think>hm</think>The sky is blue."
    run(store, Writer(), topics=TOPICS[:1], samples=1)
    (tmp_path / "rows.jsonl").write_text(json.dumps({**next(export_rows(store)), "text": thought, "verbatim": True}))
    with Store.open(tmp_path / "other.sqlite") as other:
        import_rows(other, tmp_path / "rows.jsonl")
        assert texts(run(other, Writer()))["t0"] == [thought, "subject number 0 by writer 1"]


def test_what_another_process_failed_at_meanwhile_is_not_tried_again(store):
    writer = Writer()
    made = planned(store, writer=writer)
    run(store, Writer({("t1", 0): FAILED}))
    expanded = made.generate()
    assert writer.calls == []
    assert [(one.topic_id, one.sample) for one in expanded.failures] == [("t1", 0)]


def test_what_came_is_stored_every_few_seconds_while_the_next_sample_takes_long(store, tmp_path, monkeypatch):
    """Another process sees it, and a kill would leave it."""
    monkeypatch.setattr(commits, "COMMIT_EVERY_S", 0.01)

    class Slow(Writer):
        def generate(self, requests):
            for number, generation in enumerate(super().generate(requests), start=1):
                yield generation
                end = time.monotonic() + 10
                with Store.open(tmp_path / "s.sqlite") as other:
                    while len(other) < number:
                        assert time.monotonic() < end
                        time.sleep(0.002)

    assert texts(run(store, Slow())) == ALL


def test_a_store_that_fails_between_ends_the_generation(store, monkeypatch):
    monkeypatch.setattr(commits, "COMMIT_EVERY_S", 0.01)
    monkeypatch.setattr(store, "put", lambda *_, **__: (_ for _ in ()).throw(ExpandrError("no space is left")))

    class Endless(Writer):
        def generate(self, requests):
            sample = requests[0].samples[0]
            while True:
                time.sleep(0.002)
                yield Generation(sample.key, "text", "stop", 1, 1, 0.1, "fake 1")

    with pytest.raises(ExpandrError, match="no space is left"):
        run(store, Endless())
