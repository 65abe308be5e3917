from __future__ import annotations

from pathlib import Path

import pytest

from expandr_ir.blocks import load_block
from expandr_ir.collections.facts import (
    CollectionFacts,
    all_facts,
    load_facts,
    match_folder,
    match_irds,
    match_pyserini,
)
from expandr_ir.config import conf_path, names

BEIR_TASKS = (
    "trec-covid bioasq nfcorpus nq hotpotqa fiqa signal1m trec-news robust04 arguana webis-touche2020 quora "
    "dbpedia-entity scidocs fever climate-fever scifact"
)


@pytest.mark.parametrize("name", names("collections"))
def test_every_file_fits_the_block(name):
    assert load_block(CollectionFacts, conf_path("collections", name)) == load_facts(name)


def test_all_of_beir_is_there():
    facts = all_facts()
    forums = [name for name in facts if name.startswith("cqadupstack-")]
    assert len(forums) == 12
    for name in [*BEIR_TASKS.split(), *forums]:
        assert facts[name].remove_own_document
        assert facts[name].index == f"beir-v1.0.0-{name}.flat"
        assert facts[name].pyserini[0] == f"beir-v1.0.0-{name}-test"


def test_names_are_given_once():
    facts = all_facts().values()
    given = [name for one in facts for name in one.pyserini] + [one.irds for one in facts if one.irds]
    assert len(given) == len(set(given))


def test_bm25_is_named_where_it_is_not_the_default():
    assert {name: (facts.k1, facts.b) for name, facts in all_facts().items() if facts.k1 is not None} == {
        "msmarco-passage": (0.82, 0.68)
    }


@pytest.mark.parametrize(
    ("folder", "name", "documents"),
    [
        ("/data/scifact", "scifact", 5183),
        ("/data/cqadupstack/android", "cqadupstack-android", 22998),
        ("/data/cqadupstack-android", "cqadupstack-android", 22998),
        ("/data/cranfield", "cranfield", 1400),
        ("/data/android", "android", None),
        ("/data/mine", "mine", None),
    ],
)
def test_folders_are_matched_by_name(folder, name, documents):
    matched, facts = match_folder(Path(folder))
    assert (matched, facts.documents) == (name, documents)


@pytest.mark.parametrize(
    ("dataset_id", "name"),
    [
        ("beir/scifact", "scifact"),
        ("beir/scifact/train", "scifact"),
        ("beir/cqadupstack/tex", "cqadupstack-tex"),
        ("msmarco-passage/dev/small", "msmarco-passage"),
        ("msmarco-passage/trec-dl-2019/judged", "dl19"),
        ("msmarco-passage/trec-dl-2020", "dl20"),
        ("msmarco-passage-v2/dev1", "msmarco-passage-v2-dev1"),
        ("mine/test", "mine-test"),
    ],
)
def test_ids_are_matched_by_their_beginning(dataset_id, name):
    assert match_irds(dataset_id)[0] == name


def test_pyserinis_names_are_matched_whole():
    assert match_pyserini("dl19-passage") == ("dl19", load_facts("dl19"))
    assert match_pyserini("beir-v1.0.0-scifact")[0] == "scifact"
    assert match_pyserini("msmarco-passage.dev")[1].index == "msmarco-v1-passage"
    # Pyserini's robust04 is TREC's, BEIR's has another name.
    assert match_pyserini("robust04") == ("robust04", CollectionFacts())
