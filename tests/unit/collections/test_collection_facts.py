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
    ("match", "given", "name"),
    [
        (match_folder, Path("/data/scifact"), "scifact"),
        (match_folder, Path("/data/cqadupstack/android"), "cqadupstack-android"),
        (match_folder, Path("/data/cqadupstack-android"), "cqadupstack-android"),
        (match_folder, Path("/data/ArguAna"), "arguana"),
        (match_folder, Path("/data/arguana-test"), "arguana"),
        (match_folder, Path("/data/BEIR_SciFact_dev"), "scifact"),
        (match_folder, Path("/data/beir-v1.0.0-trec_covid-test"), "trec-covid"),
        (match_folder, Path("/data/NQ/train"), "nq"),
        (match_folder, Path("/data/CQADupStack/Android"), "cqadupstack-android"),
        (match_irds, "beir/scifact", "scifact"),
        (match_irds, "beir/scifact/train", "scifact"),
        (match_irds, "beir/cqadupstack/tex", "cqadupstack-tex"),
        (match_irds, "msmarco-passage/dev/small", "msmarco-passage"),
        (match_irds, "msmarco-passage/trec-dl-2019/judged", "dl19"),
        (match_irds, "msmarco-passage/trec-dl-2020", "dl20"),
        (match_pyserini, "dl19-passage", "dl19"),
        (match_pyserini, "beir-v1.0.0-scifact", "scifact"),
        (match_pyserini, "msmarco-passage.dev", "msmarco-passage"),
    ],
)
def test_known_names_are_matched(match, given, name):
    assert match(given) == (name, load_facts(name))


@pytest.mark.parametrize(
    ("match", "given", "name"),
    [
        (match_folder, Path("/data/android"), "android"),
        (match_irds, "msmarco-passage-v2/dev1", "msmarco-passage-v2-dev1"),
        (match_irds, "mine/test", "mine-test"),
        (match_pyserini, "robust04", "robust04"),  # Pyserini's robust04 is TREC's, BEIR's has another name
    ],
)
def test_other_names_have_no_facts(match, given, name):
    assert match(given) == (name, CollectionFacts())
