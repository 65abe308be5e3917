"""Topics to a plan: which prompt, what it shows, and what is left of what comes back."""

from __future__ import annotations

import json

import pytest

from expandr_ir import pipeline
from expandr_ir.collection import load_collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expand import expand
from expandr_ir.pipeline import ExpandOptions, opened, prepare, prompt_of, usable
from expandr_ir.records import ExpandedTopic, Hits, Topic

ECHO = GeneratorConfig("echo", "e")
DOCUMENTS = {"d1": ("Fleas", "They jump."), "d2": ("", "Dogs bark."), "d3": ("Cats", "They sleep.")}


@pytest.fixture
def collection(tmp_path):
    (tmp_path / "qrels").mkdir()
    rows = [{"_id": one, "title": title, "text": text} for one, (title, text) in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": "t1", "text": "what jumps"}, {"_id": "t2", "text": "what is loud"}]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    judged = "t1\td1\t1\nt1\td2\t0\nt2\td2\t1\nt2\td3\t1\n"
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return load_collection(tmp_path)


@pytest.fixture
def planned(tmp_path, collection):
    """Plans the collection's topics with these options; returns each topic's rendered prompt."""

    def plan(config=ECHO, topics=None, of=collection, **options):
        asked = ExpandOptions(store=str(tmp_path / "s.sqlite"), **options)
        with opened(config, asked) as (generator, store):
            made = prepare(topics or collection.topics(), of, None, config, asked, generator, store)
        return {one: made.requests[one].messages[-1].content for one in made.requests}

    return plan


def test_the_prompt_that_is_named_goes_first_then_the_generators_own():
    trained = GeneratorConfig("echo", "e", prompt="query")
    assert prompt_of(trained, ExpandOptions(prompt="keywords")).id == "keywords"
    assert prompt_of(trained, ExpandOptions()).id == "query"
    assert prompt_of(ECHO, ExpandOptions()).id == "passage"


def test_a_document_is_the_best_judged_one_with_the_lowest_id(planned):
    shown = planned(prompt="answer")
    assert "Fleas\nThey jump." in shown["t1"]
    assert "Dogs bark." in shown["t2"]


def test_a_topic_without_a_relevant_document_is_an_error(planned):
    with pytest.raises(InputError, match="topic 't9' has no relevant document"):
        planned(prompt="answer", topics={"t9": Topic("t9", "what flies")})


def test_passages_are_those_that_a_search_finds_in_its_order(planned, collection, monkeypatch):
    asked = []

    def search(topics, of, options):
        asked.append((list(topics), of.spec, options.hits))
        run = {"t1": Hits(["d3", "d1"], [2.0, 1.0]), "t2": Hits([], [])}
        return type("Searched", (), {"run": run})

    monkeypatch.setattr(pipeline, "search", search)
    shown = planned(prompt="passage-with-context", passages=2)
    assert asked == [(["t1", "t2"], collection.spec, 2)]
    assert "[1] Cats They sleep.\n[2] Fleas They jump." in shown["t1"]
    assert "(none)" in shown["t2"]


@pytest.mark.parametrize("prompt", ["answer", "passage-with-context"])
def test_documents_need_a_collection(planned, prompt):
    with pytest.raises(InputError, match="Try: --collection C"):
        planned(prompt=prompt, of=None)


def test_a_prompt_that_shows_nothing_needs_none(planned):
    assert "what jumps" in planned(of=None)["t1"]


def test_judged_documents_that_are_not_there_are_an_error(planned, collection, tmp_path):
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d2", "text": "x"}) + "\n")
    with pytest.raises(InputError, match=r"lacks the documents d1 \(1 in all\)"):
        planned(prompt="answer")


@pytest.mark.parametrize("name", ["samples", "passages", "max_words", "batch_samples"])
def test_numbers_below_1_make_no_sense(name):
    with pytest.raises(InputError, match=f"{name.replace('_', ' ')} is 0"):
        ExpandOptions(**{name: 0})


def recorded(tmp_path, *topic_ids):
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(json.dumps({"topic_id": one, "text": ""}) + "\n" for one in topic_ids))
    return GeneratorConfig("replay", str(path))


def expanded_by(config, collection, tmp_path):
    asked = ExpandOptions(store=str(tmp_path / "s.sqlite"))
    with opened(config, asked) as (generator, store):
        plan = prepare(collection.topics(), collection, None, config, asked, generator, store)
        return expand(plan, generator, store)


def test_an_empty_text_is_usable_and_none_is_not(collection, tmp_path):
    found = usable(expanded_by(recorded(tmp_path, "t2"), collection, tmp_path))
    assert list(found) == ["t2"]
    assert isinstance(found["t2"], ExpandedTopic)
    with pytest.raises(ExpandrError, match="none of the 2 topics got an expansion; topic t1: ") as caught:
        usable(expanded_by(recorded(tmp_path, "t9"), collection, tmp_path))
    assert caught.value.remedy == "the same command tries again"


def test_the_generator_is_closed_whatever_happens(monkeypatch, tmp_path):
    closed = []
    monkeypatch.setattr("expandr_ir.generators.echo.EchoGenerator.close", lambda self: closed.append(True))
    with pytest.raises(RuntimeError), opened(ECHO, ExpandOptions(store=str(tmp_path / "s.sqlite"))):
        raise RuntimeError
    with pytest.raises(InputError), opened(ECHO, ExpandOptions(store=str(tmp_path))):
        pass
    assert closed == [True, True]
