"""The proofs of regressions/training/proofs as files, and what is held against them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml
from small_expander import Recipe

from expandr_ir.blocks import load_block
from expandr_ir.config import TRAINING, regressions_dir
from expandr_ir.evaluate import Scores
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.train.retriever.options import DevOptions, ObjectiveOptions, RowOptions
from expandr_ir.train.rounds.config import RoundsOptions, block_options

TESTS = Path(__file__).parents[2]
FILES = sorted((regressions_dir() / TRAINING / "proofs").glob("*.yaml"))


@pytest.fixture
def proofs(monkeypatch):
    monkeypatch.syspath_prepend(TESTS / "benchmarks")
    import proofs

    return proofs


def test_there_are_two_and_they_are_no_collections():
    assert [path.stem for path in FILES] == ["retriever-scifact", "rounds-scifact"]
    assert not {path.stem for path in FILES} & Regressions().files.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_what_it_records_holds(path, proofs, capsys):
    found = proofs.load_proof(path)
    assert found.tier == "training"
    assert (TESTS.parent / found.command.split()[1]).is_file()
    assert len(found.recorded.seeds) >= 3
    assert len(found.recorded.figures) >= 16
    assert proofs.check(found, found.recorded.seeds, found.recorded.figures) == 0
    assert f"{len(found.recorded.figures)} of {len(found.recorded.figures)} figures" in capsys.readouterr().out


def test_recipes_are_options_of_the_verbs(proofs, tmp_path):
    retriever = proofs.load_proof(proofs.proof_path("retriever-scifact")).recipe
    for variant in retriever["variants"].values():
        ObjectiveOptions(**retriever["common"]["objective"] | variant["objective"])
    RowOptions("rows", **retriever["common"]["data"])
    DevOptions(**retriever["common"]["dev"])
    rounds = proofs.load_proof(proofs.proof_path("rounds-scifact")).recipe
    Recipe(**rounds["small_expander"])
    options = rounds["rounds"] | {"collection": "c", "generator": "g", "encoder": rounds["encoder"], "output": "o"}
    (tmp_path / "block.yaml").write_text(yaml.safe_dump(options))
    load_block(RoundsOptions, tmp_path / "block.yaml")
    assert block_options(rounds["rounds"]["dpo"], {})["lora"]


def file(proofs, path, **recorded):
    path.write_text("title: t\nabout: a\ncommand: python x\nrecipe: {}\ntolerance: 0.01\n")
    if recorded:
        proofs.record(path, [0, 1], recorded)
    return proofs.load_proof(path)


def test_a_figure_too_far_away_fails(proofs, tmp_path, capsys):
    found = file(proofs, tmp_path / "p.yaml", one=0.5, other=0.7)
    assert proofs.check(found, [0, 1], {"one": 0.509, "other": 0.7}) == 0
    assert proofs.check(found, [0, 1], {"one": 0.511, "other": 0.7}) == 1
    assert "FAIL one: 0.5110, recorded 0.5000 (+0.0110)" in capsys.readouterr().out
    assert proofs.check(found, [0, 1], {"one": float("nan"), "other": 0.7}) == 1
    assert proofs.check(found, [0, 1], {"one": 0.5}) == 1
    assert "other figures" in capsys.readouterr().out


def test_other_seeds_are_held_against_nothing(proofs, tmp_path, capsys):
    found = file(proofs, tmp_path / "p.yaml", one=0.5)
    assert proofs.check(found, [0, 1, 2], {"one": 0.9}) == 0
    assert "nothing was recorded" in capsys.readouterr().out


def test_recording_takes_the_place_of_what_was_recorded(proofs, tmp_path):
    file(proofs, tmp_path / "p.yaml", one=0.5)
    proofs.record(tmp_path / "p.yaml", [3], {"one": 0.61234})
    found = proofs.load_proof(tmp_path / "p.yaml").recorded
    assert (found.seeds, found.figures) == ([3], {"one": 0.6123})
    assert (tmp_path / "p.yaml").read_text().count("recorded:") == 1


def test_finishing_writes_the_table(proofs, tmp_path):
    found = file(proofs, tmp_path / "p.yaml", one=0.5)
    arguments = argparse.Namespace(output=tmp_path, record=False, seeds=[0, 1], proof=tmp_path / "p.yaml")
    assert proofs.finish(arguments, found, "a table\n", {"one": 0.6}) == 1
    assert (tmp_path / "table.md").read_text() == "a table\n"


def test_seeds_are_averaged_topic_by_topic(proofs):
    seeds = [
        Scores({"m": 0.0}, {"m": {"a": 0.0, "b": 0.5}}, (), (), ()),
        Scores({"m": 0.0}, {"m": {"a": 1.0, "b": 0.7}}, (), (), ()),
    ]
    found = proofs.averaged(seeds)
    assert found.per_topic == {"m": {"a": 0.5, "b": pytest.approx(0.6)}}
    assert found.means == {"m": pytest.approx(0.55)}
    assert proofs.mean_cell([0.5, 0.7]) == "0.6000 (0.1414)"
    assert proofs.mean_cell([0.5]) == "0.5000"
