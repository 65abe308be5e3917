"""`import expandr_ir as ex`: the public names, and what a notebook makes of their objects."""

from __future__ import annotations

import importlib

import pytest

import expandr_ir as ex


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
