"""Methods of several calls: what each call shows, what becomes of it, what is left out, and what a topic costs."""

from __future__ import annotations

import json
import logging

import pytest
import yaml

from expandr_ir.aggregate import SparseOptions, sparse_query
from expandr_ir.collections import load_collection
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders import Expander, ExpanderConfig, load_expander
from expandr_ir.records import Generation, GeneratorId, Hits

TOPICS = {"t1": "fleas", "t2": "cats"}
DOCUMENTS = {"d1": "Fleas jump high.", "d2": "Dogs bark.", "d3": "Cats sleep a lot."}


class Llm:
    """Writes "reply to PROMPT", or what `replies` has for a part of the prompt; None is a refusal. Tokens are words."""

    def __init__(self, replies=None):
        self.id = GeneratorId("fake", "llm")
        self.replies, self.prompts = replies or {}, []

    def generate(self, requests):
        for request in requests:
            prompt = request.messages[-1].content
            self.prompts.append(prompt)
            text = next((reply for part, reply in self.replies.items() if part in prompt), f"reply to {prompt}")
            for sample in request.samples:
                tokens = (len(prompt.split()), len((text or "").split()), 1.0, "fake 1")
                if text is None:
                    yield Generation(sample.key, "", "refused", *tokens, "content filter")
                else:
                    yield Generation(sample.key, text, "stop", *tokens)

    def count_tokens(self, messages):
        return sum(len(message.content.split()) for message in messages)

    def close(self):
        pass


@pytest.fixture
def collection(tmp_path):
    rows = [{"_id": doc_id, "title": "", "text": text} for doc_id, text in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "t1", "text": "fleas"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\n")
    return load_collection(tmp_path)


@pytest.fixture
def make(tmp_path, collection, monkeypatch):
    """An expander of one method, whose prompts are given as texts, over a search with `rankings` of every topic."""

    def prompt(name, user, manners=(), **context):
        path = tmp_path / f"{name}.yaml"
        block = {"id": name, "version": 1, "source": "a test", "user": user}
        path.write_text(yaml.safe_dump(block | {"manners": list(manners)} | {"context": context}))
        return str(path)

    def make(method, user, others=None, manners=(), llm=None, rankings=None, **config):
        searched = []

        class Search:
            def search(self, topics):
                searched.append({i: getattr(topic, "query_repeats", None) for i, topic in topics.items()})
                ranking = rankings[min(len(searched), len(rankings)) - 1]
                return {topic_id: Hits(ranking, [1.0] * len(ranking)) for topic_id in topics}

        monkeypatch.setattr(Expander, "bm25", lambda self, prompt, **options: Search())
        prompts = {name: prompt(name, text, **context) for name, (text, context) in (others or {}).items()}
        placeholders = {name: "given" for name in ("answers",) if f"{{{name}}}" in user}
        main = prompt("main", user, manners, **placeholders)
        block = ExpanderConfig(generator="", method=method, prompt=main, prompts=prompts, **config)
        store = tmp_path / "store.sqlite"
        expander = load_expander(block, generator=llm or Llm(), store=store, collection=collection)
        expander.searched = searched
        return expander

    return make


def texts(expansions):
    return {i: [(e.sample, e.text) for e in topic.expansions] for i, topic in expansions.items()}


QA = {
    "questions": ("ask {topic}", {}),
    "answers": ("answer {questions}", {"questions": "what was asked"}),
}


def qa_expand(make, llm=None, **config):
    return make("qa-expand", "check {answers} for {topic}", QA, llm=llm, **config)


def test_qa_expand_passes_each_text_on_to_the_next_call(make):
    with qa_expand(make) as expander:
        assert texts(expander.expand(TOPICS)) == {
            "t1": [(0, "reply to check reply to answer reply to ask fleas for fleas")],
            "t2": [(0, "reply to check reply to answer reply to ask cats for cats")],
        }
        assert sorted(expander.generator.prompts)[:2] == ["answer reply to ask cats", "answer reply to ask fleas"]


def test_what_earlier_calls_cost_stands_with_the_first_expansion(make):
    with qa_expand(make, samples=2) as expander:
        found = expander.expand({"t1": "fleas"})
        first, second = found["t1"].expansions
        # words of the three prompts: 2, 5, 10; of their replies: 4, 7, 12
        assert (first.tokens_in, first.tokens_out, first.seconds) == (2 + 5 + 10, 4 + 7 + 12, 3.0)
        assert (second.tokens_in, second.tokens_out, second.seconds) == (10, 12, 1.0)
        assert (found.tokens, found.seconds) == ({"in": 27, "out": 35}, 4.0)
        assert (found.counts["generated"], found.counts["tokens_out"], found.counts["topics"]) == (4, 35, 1)
        assert found.details["prompt"] == "main@1"
        assert list(found.details["prompts"]) == ["questions@1", "answers@1", "main@1"]
        assert found.details["prompts"]["main@1"] == found.details["prompt_sha256"] == expander.prompt.sha256
        again = expander.expand({"t1": "fleas"})
        assert (again, again.counts["stored"], again.counts["generated"]) == (found, 4, 0)


def test_a_topic_without_an_earlier_text_is_left_out_and_counted(make):
    llm = Llm({"answer reply to ask cats": None, "ask lice": "-"})
    with qa_expand(make, llm) as expander:
        expansions = expander.expand({**TOPICS, "t3": "lice"})
    assert list(expansions) == ["t1", "t3"]
    assert texts(expansions)["t3"] == [(0, "reply to check reply to answer (none) for lice")]  # an empty text
    assert expansions.missing == ("t2",)
    assert [(failure.topic_id, failure.refused) for failure in expansions.failures] == [("t2", True)]
    counts = expansions.counts
    assert (counts["topics"], counts["topics_missing"], counts["refused"], counts["generated"]) == (3, 1, 1, 7)
    assert not [prompt for prompt in llm.prompts if prompt.startswith("check") and "cats" in prompt]
    message = "none of the 2 topics got an expansion; topic t1: content filter"
    with qa_expand(make, Llm({"ask": None}), samples=2) as expander, pytest.raises(ExpandrError, match=message):
        expander.expand({"t1": "dogs", "t2": "mice"})


def test_a_forecast_counts_the_calls_whose_prompts_are_known(make):
    with qa_expand(make) as expander:
        before = expander.forecast(TOPICS)
        assert (before.topics, before.stored, before.to_generate, before.more_calls) == (2, 0, 2, True)
        expander.expand({"t1": "fleas"})
        partly = expander.forecast(TOPICS)
        assert (partly.stored, partly.to_generate, partly.more_calls) == (3, 1, True)
        expander.expand(TOPICS)
        after = expander.forecast(TOPICS)
        assert (after.stored, after.to_generate, after.more_calls) == (6, 0, False)


def test_an_ensemble_has_a_call_for_each_manner(make):
    llm = Llm({"list cats": None})
    with make("ensemble", "{manner} {topic}", manners=["list", "name"], samples=2, llm=llm) as expander:
        forecast = expander.forecast(TOPICS)
        assert (forecast.to_generate, forecast.more_calls) == (8, False)
        expansions = expander.expand(TOPICS)
    assert texts(expansions) == {
        "t1": [(n, f"reply to {manner} fleas") for n, manner in enumerate(["list", "list", "name", "name"])],
        "t2": [(0, "reply to name cats"), (1, "reply to name cats")],
    }
    assert sparse_query("append", expansions["t1"], SparseOptions()) == (
        "fleas reply to list fleas reply to list fleas reply to name fleas reply to name fleas"
    )
    assert "prompts" not in expansions.details
    assert (expansions.missing, len(expansions.failures), expansions.counts["topics_missing"]) == ((), 2, 0)


@pytest.mark.parametrize(
    ("method", "others", "message"),
    [
        ("ensemble", {}, "'main' has no manners"),
        ("reformer", {"choice": ("choose {topic}", {})}, "'main' has no manners"),
        ("csqe", {}, "no prompt for the call 'sentences'"),
    ],
)
def test_lacking_prompts_and_manners_are_named(make, method, others, message):
    with make(method, "about {topic}", others) as expander, pytest.raises(InputError, match=message):
        expander.expand(TOPICS)


def test_csqe_puts_passages_before_key_sentences_and_counts_the_passages(make):
    others = {"sentences": ("copy from {passages} for {topic}", {})}
    with make("csqe", "about {topic}", others, rankings=[["d3", "d1"]], samples=2, passage_words=2) as expander:
        assert (expander.forecast(TOPICS).to_generate, expander.forecast(TOPICS).more_calls) == (8, False)
        found = expander.expand(TOPICS)
    copied = "reply to copy from [1] Cats sleep [2] Fleas jump for fleas"  # documents cut to two words
    assert texts(found)["t1"] == [(0, "reply to about fleas"), (1, "reply to about fleas"), (2, copied), (3, copied)]
    assert (found["t1"].query_repeats, found.details["prompt"]) == (2, "main@1")
    assert sparse_query("repeat", found["t1"], SparseOptions(repeats="row")).startswith("fleas fleas reply to about")


REFORM = {"choice": ("choose by {passages} from\n{patterns}\nfor {topic}", {"patterns": "the ways"})}


def reformer(make, llm):
    return make("reformer", "{manner}: {topic}", REFORM, manners=["widen", "narrow"], llm=llm, rankings=[["d2"]])


@pytest.mark.parametrize("reply", ["2", "I choose [2].", "17 or 2"])
def test_reformer_follows_the_pattern_that_was_chosen(make, reply):
    llm = Llm({"choose": reply})
    with reformer(make, llm) as expander:
        found = expander.expand({"t1": "fleas"})
    assert llm.prompts[0] == "choose by [1] Dogs bark. from\n[1] widen\n[2] narrow\nfor fleas"
    assert texts(found) == {"t1": [(0, "reply to narrow: fleas")]}
    assert sparse_query("expansion", found["t1"], SparseOptions()) == "reply to narrow: fleas"


def test_reformer_takes_the_first_pattern_where_none_is_named_and_says_so(make, caplog):
    with caplog.at_level(logging.WARNING), reformer(make, Llm({"for cats": "neither 0 nor 3", "for": "2"})) as expander:
        assert texts(expander.expand(TOPICS)) == {
            "t1": [(0, "reply to narrow: fleas")],
            "t2": [(0, "reply to widen: cats")],
        }
    assert caplog.messages == ["1 topics have the first pattern: their choice names none (t2)"]


def thinkqe(make, llm=None, rounds=3, rankings=(["d1", "d2", "d3"],)):
    return make("thinkqe", "{topic}: {passages}", llm=llm, rounds=rounds, passages=1, samples=2, rankings=rankings)


def test_thinkqe_shows_in_each_round_what_was_not_shown_before(make):
    llm = Llm({"fleas": "one two three four five six"})
    with thinkqe(make, llm) as expander:
        forecast = expander.forecast({"t1": "fleas"})
        assert (forecast.to_generate, forecast.more_calls) == (2, True)
        expander.searched.clear()
        expansions = expander.expand({"t1": "fleas"})
        # 12 words a round, one word of topic: 12 // 3, 24 // 3, 36 // 3
        assert expander.searched == [{"t1": None}, {"t1": 4}, {"t1": 8}]
        forecast = expander.forecast({"t1": "fleas"})
        assert (forecast.stored, forecast.to_generate, forecast.more_calls) == (6, 0, False)
    assert llm.prompts == [f"fleas: [1] {DOCUMENTS[doc_id]}" for doc_id in ("d1", "d2", "d3")]
    assert [sample for sample, _ in texts(expansions)["t1"]] == [0, 1, 2, 3, 4, 5]
    assert expansions["t1"].query_repeats == 12
    with thinkqe(make, Llm({"a": "short"}), rounds=1) as expander:
        assert expander.expand({"t1": "a topic of many words"})["t1"].query_repeats == 1  # once at least


def test_thinkqe_is_done_with_a_topic_for_which_nothing_new_is_found(make):
    with thinkqe(make, rounds=5) as expander:
        found = expander.expand({"t1": "fleas"})
        assert len(found["t1"].expansions) == 6
        assert (found.counts["topics"], found.counts["topics_missing"]) == (1, 0)
    with thinkqe(make, rankings=[[]]) as expander:
        assert texts(expander.expand({"t1": "lice"})) == {
            "t1": [(0, "reply to lice: (none)"), (1, "reply to lice: (none)")]
        }


def test_thinkqe_keeps_the_texts_of_a_topic_that_is_refused_later(make):
    with thinkqe(make, Llm({"fleas: [1] Dogs": None})) as expander:
        found = expander.expand(TOPICS)
    assert [len(topic.expansions) for topic in found.values()] == [2, 6]
    assert (found.missing, [failure.topic_id for failure in found.failures]) == ((), ["t1", "t1"])


@pytest.mark.parametrize("name", ["csqe", "reformer", "thinkqe"])
def test_methods_that_search_need_a_collection(name, tmp_path):
    with (
        load_expander(name, generator="echo", store=tmp_path / "s.sqlite") as expander,
        pytest.raises(InputError, match="Try: --collection C"),
    ):
        expander.expand(TOPICS)
