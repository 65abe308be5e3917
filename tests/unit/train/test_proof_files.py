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


def test_there_are_three_and_they_are_no_collections():
    assert [path.stem for path in FILES] == ["align-smollm2", "retriever-scifact", "rounds-scifact"]
    assert not {path.stem for path in FILES} & Regressions().files.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_what_it_records_holds(path, proofs, capsys):
    proof = proofs.load_proof(path)
    figures = proof.recorded.figures
    assert (TESTS.parent / proof.command.split()[1]).is_file()
    if path.stem != "align-smollm2":  # recorded seed by seed
        assert len(proof.recorded.seeds) >= 3
        assert len(figures) >= 16
    assert proofs.check(proof, proof.recorded.seeds, figures) == 0
    expected = f"{len(figures)} of {len(figures)} figures" if figures else "nothing was recorded"
    assert expected in capsys.readouterr().out


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


@pytest.fixture
def path(proofs, tmp_path):
    """A proof's file with two figures of two seeds."""
    path = tmp_path / "p.yaml"
    path.write_text("title: t\nabout: a\ncommand: python x\nrecipe: {}\ntolerance: 0.01\n")
    proofs.record(path, [0, 1], {"one": 0.5, "other": 0.7})
    return path


@pytest.mark.parametrize(
    ("seeds", "figures", "code", "line"),
    [
        ([0, 1], {"one": 0.509, "other": 0.7}, 0, "2 of 2 figures are within 0.01"),
        ([0, 1], {"one": 0.511, "other": 0.7}, 1, "FAIL one: 0.5110, recorded 0.5000 (+0.0110)"),
        ([0, 1], {"one": float("nan"), "other": 0.7}, 1, "FAIL one: nan"),
        ([0, 1], {"one": 0.5}, 1, "other figures"),
        ([0, 1, 2], {"one": 0.9}, 0, "nothing was recorded with these seeds"),
    ],
)
def test_figures_are_held_against_those_of_the_same_seeds(proofs, path, capsys, seeds, figures, code, line):
    assert proofs.check(proofs.load_proof(path), seeds, figures) == code
    assert line in capsys.readouterr().out


def test_recording_takes_the_place_of_what_was_recorded(proofs, path):
    proofs.record(path, [3], {"one": 0.61234})
    recorded = proofs.load_proof(path).recorded
    assert (recorded.seeds, recorded.figures) == ([3], {"one": 0.6123})
    assert path.read_text().count("recorded:") == 1


def test_finishing_writes_the_table(proofs, path, tmp_path):
    arguments = argparse.Namespace(output=tmp_path, record=False, seeds=[0, 1], proof=path)
    assert proofs.finish(arguments, proofs.load_proof(path), "a table\n", {"one": 0.6, "other": 0.7}) == 1
    assert (tmp_path / "table.md").read_text() == "a table\n"


def test_tests_of_pairs_are_corrected_over_the_table(proofs):
    table = proofs.tested_table(
        ("search", "trained on"), {("s", "a", "b"): [0.1, 0.2, 0.0], ("s", "c", "b"): [0.1] * 3}
    )
    first, line, *rows = table.splitlines()
    assert first.endswith("| against | difference | p | p (Holm, 2 tests) | better/worse |")
    assert line == "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    assert rows[0].startswith("| s | a | b | +0.1000 | 0.2254 |")  # t = 0.1 / (0.1 / sqrt(3)), two degrees of freedom
    assert rows[0].endswith("| 2/0 |")


def test_seeds_are_averaged_topic_by_topic(proofs):
    seeds = [
        Scores({"m": 0.0}, {"m": {"a": 0.0, "b": 0.5}}, (), (), ()),
        Scores({"m": 0.0}, {"m": {"a": 1.0, "b": 0.7}}, (), (), ()),
    ]
    mean = proofs.averaged(seeds)
    assert mean.per_topic == {"m": {"a": 0.5, "b": pytest.approx(0.6)}}
    assert mean.means == {"m": pytest.approx(0.55)}
    assert proofs.mean_cell([0.5, 0.7]) == "0.6000 (0.1414)"
    assert proofs.mean_cell([0.5]) == "0.5000"
