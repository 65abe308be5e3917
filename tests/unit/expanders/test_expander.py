"""The expander: which prompt, what it shows, and what is left of what comes back."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from expandr_ir.collections import load_collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders import Expander, ExpandOptions, load_expander
from expandr_ir.generators import load_generator
from expandr_ir.io.topics import as_topics
from expandr_ir.records import Decoding, ExpandedTopic, Hits
from expandr_ir.store import Store

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
def shown(tmp_path, collection):
    """Each topic's rendered prompt under these options."""

    def render(config=ECHO, topics=None, of=collection, **options):
        store = tmp_path / "s.sqlite"
        with load_expander(generator=config, store=store, collection=of, options=ExpandOptions(**options)) as expander:
            topics = topics or collection.topics()
            plan = expander.plan(expander.prompt, topics, context=expander.context(expander.prompt, topics))
        return {topic_id: request.messages[-1].content for topic_id, request in plan.requests.items()}

    return render


def test_options_go_first_then_the_expander_then_the_generator():
    trained = GeneratorConfig("echo", "e", prompt="query")
    assert load_expander(generator=trained, options=ExpandOptions(prompt="keywords")).prompt.id == "keywords"
    assert load_expander(generator=trained).prompt.id == "query"
    assert load_expander(generator=ECHO).prompt.id == "passage"
    assert load_expander("lamer", generator=trained).prompt.id == "passage-with-context"
    assert (load_expander("hyde", generator=ECHO).samples, load_expander(generator=ECHO).samples) == (8, 1)
    hyde = load_expander("hyde", generator=ECHO, options=ExpandOptions(samples=2))
    assert hyde.decoding == Decoding(0.7, 1.0, 512, ("\n\n\n",), seed=0)
    assert repr(hyde) == "<Expander: prompt passage, e, 2 samples>"


def test_options_that_make_no_sense(tmp_path):
    for name in ("samples", "passages", "max_words", "batch_samples"):
        with pytest.raises(InputError, match=f"{name} is 0"):
            ExpandOptions(**{name: 0})
    with pytest.raises(InputError, match="neither an expander nor a generator"):
        load_expander()
    (tmp_path / "m.yaml").write_text("generator: echo:e\nmethod: promtp\n")
    with pytest.raises(InputError, match="unknown method 'promtp'"):
        load_expander(str(tmp_path / "m.yaml"))


def test_a_document_is_the_best_judged_one_with_the_lowest_id(shown, tmp_path):
    prompts = shown(prompt="answer")
    assert "Fleas\nThey jump." in prompts["t1"]
    assert "Dogs bark." in prompts["t2"]
    with pytest.raises(InputError, match="topic 't9' has no relevant document"):
        shown(prompt="answer", topics=as_topics({"t9": "what flies"}))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d2", "text": "x"}) + "\n")
    with pytest.raises(InputError, match=r"lacks the documents d1 \(1 in all\)"):
        shown(prompt="answer")


def test_passages_are_those_that_a_search_finds_in_its_order(shown, monkeypatch):
    searched = []

    class Search:
        def search(self, topics):
            searched.append(list(topics))
            return {"t1": Hits(["d3", "d1"], [2.0, 1.0]), "t2": Hits([], [])}

    monkeypatch.setattr(Expander, "bm25", lambda self, prompt: Search())
    prompts = shown(prompt="passage-with-context", passages=2)
    assert searched == [["t1", "t2"]]
    assert "[1] Cats They sleep.\n[2] Fleas They jump." in prompts["t1"]
    assert "(none)" in prompts["t2"]


@pytest.mark.parametrize("prompt", ["answer", "passage-with-context"])
def test_documents_need_a_collection(shown, prompt):
    with pytest.raises(InputError, match="Try: --collection C"):
        shown(prompt=prompt, of=None)
    assert "what jumps" in shown(of=None)["t1"]


def recorded(tmp_path, *topic_ids):
    path = tmp_path / "recorded.jsonl"
    path.write_text("".join(json.dumps({"topic_id": one, "text": ""}) + "\n" for one in topic_ids))
    return GeneratorConfig("replay", str(path))


def test_an_empty_text_is_an_expansion_and_none_at_all_is_an_error(collection, tmp_path):
    store = tmp_path / "s.sqlite"
    with load_expander(generator=recorded(tmp_path, "t2"), store=store, collection=collection) as expander:
        found = expander.expand(collection.topics())
    assert list(found) == ["t2"]
    assert (found.missing, found.counts["topics_missing"], found.counts["topics_empty"]) == (("t1",), 1, 1)
    assert isinstance(found["t2"], ExpandedTopic)
    assert found.details["collection"]["spec"] == str(tmp_path)
    with (
        load_expander(generator=recorded(tmp_path, "t9"), store=store) as expander,
        pytest.raises(ExpandrError, match="none of the 2 topics got an expansion; topic t1: ") as caught,
    ):
        expander.expand(collection.topics())
    assert caught.value.remedy == "the same command tries again"


@pytest.mark.parametrize(
    "topics", [{"1": "what jumps"}, ["what jumps"], "what jumps", pd.DataFrame({"qid": ["1"], "query": ["what jumps"]})]
)
def test_topics_of_any_form(tmp_path, topics):
    with load_expander(generator=ECHO, store=tmp_path / "s.sqlite") as expander:
        forecast = expander.forecast(topics)
        assert (forecast.topics, forecast.stored, forecast.to_generate, forecast.more_calls) == (1, 0, 1, False)
        assert len(expander.store) == 0
        expansions = expander.expand(topics)
        assert expander.forecast(topics).to_generate == 0
    assert {i: topic.topic.text for i, topic in expansions.items()} == {"1": "what jumps"}
    assert repr(expansions) == "<Expansions: 1 topics, 1 texts, 0 topics without one>"
    assert list(expansions.to_frame()["sample"]) == [0]


def test_generator_and_store_are_closed_unless_they_are_the_callers(monkeypatch, tmp_path):
    closed = []
    monkeypatch.setattr(type(load_generator(ECHO)), "close", lambda self: closed.append(True))
    with pytest.raises(RuntimeError), load_expander(generator=ECHO, store=tmp_path / "s.sqlite") as expander:
        expander.expand("fleas")
        raise RuntimeError
    assert closed == [True]
    with Store.open(tmp_path / "s.sqlite") as store:
        with load_expander(generator=load_generator(ECHO), store=store) as expander:
            expander.expand("fleas")
        assert len(store) == 1
    assert closed == [True]
