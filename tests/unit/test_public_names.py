"""`import expandr_ir as ex`: the public names, and what a notebook makes of their objects."""

from __future__ import annotations

import importlib

import pytest

import expandr_ir as ex
from expandr_ir.records import Hits

RUN = {"q": Hits(["d"], [1.0])}
QRELS = {"q": {"d": 1}}


def test_names_are_there_for_completion_and_nothing_else():
    assert dir(ex) == sorted(ex.__all__)
    for name in ex.__all__:
        if not name.startswith("ExpandRLucene") and not name.startswith("ExpandRQuery"):
            assert getattr(ex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        ex.serach  # noqa: B018


def test_no_public_name_is_hidden_by_a_room():
    for name in ex.__all__:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"expandr_ir.{name}")


@pytest.mark.java
def test_hyde_against_bm25_in_eight_lines(tmp_path):
    collection = ex.load_collection("demo")
    topics = dict(list(collection.topics().items())[:5])
    bm25 = ex.BM25(collection)
    hyde = ex.load_expander("hyde", generator="echo", store=tmp_path / "s.sqlite", collection=collection)
    runs = {"bm25+hyde": bm25.search(hyde.expand(topics))}
    comparison = ex.compare(bm25.search(topics), runs, collection.qrels())
    assert repr(comparison) == "<Comparison of 1 runs with baseline: 153 topics>"
    assert list(comparison.to_frame().index) == ["baseline", "bm25+hyde"]
    assert "153 topics; p of paired t-tests after Holm over 2" in str(comparison)
    assert "<table" in comparison._repr_html_()
    assert "<table" in runs["bm25+hyde"]._repr_html_()
    assert len(repr(runs["bm25+hyde"])) < 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ex.BM25("demo"), r"the collection is the text 'demo'[^$]*Try: load_collection\('demo'\)"),
        (lambda: ex.Dense("demo", "all-MiniLM-L6-v2"), "the collection is the text 'demo'"),
        (lambda: ex.load_expander("hyde", generator="echo", collection="demo"), "the collection is the text 'demo'"),
        (lambda: ex.BM25(None, fields="mulifield"), "unknown fields 'mulifield'[^$]*Try: multifield"),
        (lambda: ex.BM25(None, own_document="rmove"), "unknown own_document 'rmove'[^$]*Try: remove"),
        (lambda: ex.BM25(None, repeats="rows"), "unknown repeats 'rows'[^$]*Try: row"),
        (lambda: ex.BM25(None, hits="10"), "hits is the text '10'\nExpected: a number"),
        (lambda: ex.Dense(None, expansion_role="qery"), "unknown expansion_role 'qery'[^$]*Try: query"),
        (lambda: ex.Dense(None, dense={"expansion_weight": 0.3}), r"dense is a dict\nExpected: DenseOptions\(\.\.\.\)"),
        (lambda: ex.BM25(None).search({}), "no topics are given"),
        (lambda: ex.BM25(None).search({1: "fleas"}), "the topic id 1 is of type int\nExpected: a text, such as '1'"),
        (lambda: ex.BM25(None).search({"1": 2}), "topic '1' is of type int"),
        (lambda: ex.BM25(None).search(iter(["fleas"])), "topics are of type list_iterator"),
        (lambda: ex.score_run("a.run", QRELS), r"the run is of type str[^$]*Try: read_run\('a.run'\)"),
        (lambda: ex.score_run({"q": {"d": 1.0}}, QRELS), "topic 'q', is of type dict[^$]*Hits"),
        (lambda: ex.score_run(RUN, "qrels.txt"), r"the qrels are of type str[^$]*Try: read_qrels\('qrels.txt'\)"),
        (lambda: ex.compare(RUN, RUN, QRELS), "the runs are of type dict[^$]*runs by name"),
        (lambda: ex.compare(RUN, [RUN], QRELS), "the runs are of type list"),
        (lambda: ex.load_generator("replay"), "the engine 'replay' without a model[^$]*Try: replay:MODEL"),
    ],
)
def test_a_slip_is_an_error_that_says_what_to_type(call, message):
    with pytest.raises(ex.ExpandrError, match=message):
        call()


def test_one_measure_is_enough_and_none_is_the_default():
    assert ex.score_run(RUN, QRELS, "nDCG@10").means == {"nDCG@10": 1.0}
    assert ex.score_run(RUN, QRELS).means == {"nDCG@10": 1.0, "R@100": 1.0}


def test_expansions_are_read_for_topics_of_any_form(tmp_path):
    (tmp_path / "e.jsonl").write_text('{"topic_id": "q7", "text": "sorted"}\n')
    expansions = ex.read_expansions(tmp_path / "e.jsonl", {"q7": "merge lists"})
    assert expansions["q7"].topic == ex.Topic("q7", "merge lists")


def test_a_file_beside_is_the_remedy_for_an_unknown_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hypothesis.yaml").touch()
    expander = ex.load_expander(generator="echo", options=ex.ExpandOptions(prompt="hypothesis"), store=tmp_path / "s")
    with pytest.raises(ex.ExpandrError, match=r"Try: hypothesis\.yaml, the file"):
        expander.expand("fleas")


def test_what_is_stored_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ex.load_expander("hyde", generator="api:gpt", store=str(tmp_path / "s.sqlite")) as expander:
        assert expander.forecast("fleas").to_generate == 8
        with pytest.raises(ex.ExpandrError, match="OPENAI_API_KEY is not set"):
            expander.expand("fleas")
