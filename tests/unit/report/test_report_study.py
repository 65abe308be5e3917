"""What a folder of runs came to, with figures that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from report_runs import NASTY, regressions, run_file

from expandr_ir.errors import InputError
from expandr_ir.evaluate.compare import Cost
from expandr_ir.evaluate.significance import t_test
from expandr_ir.regress.results import Results, read_results, write_results
from expandr_ir.report.evidence import gather
from expandr_ir.report.study import load_study, study_of


@pytest.fixture
def runs(tmp_path):
    return regressions(tmp_path)


def test_differences_tests_and_outcomes(runs):
    (chapter,) = gather(runs).chapters
    better = chapter.condition(NASTY)
    contrast = better.contrasts["RR@10"]
    assert contrast.difference == pytest.approx(3.5 / 4 - (1 + 1 / 2 + 1 / 3) / 4)
    assert (contrast.wins, contrast.ties, contrast.losses) == (3, 1, 0)
    assert contrast.family == 8, "four conditions and two metrics"
    p = t_test([0, 1 / 2, 2 / 3, 1 / 2])
    assert contrast.p_holm == pytest.approx(min(1.0, 8 * p))
    assert chapter.condition("worse").contrasts["R@100"].difference == pytest.approx(-1 / 4)
    assert chapter.condition("base").contrasts == {}
    assert chapter.condition("dense").contrasts == {}
    assert chapter.metrics == ("RR@10", "R@100")
    assert chapter.best("RR@10") == {NASTY}
    assert chapter.judged == 4


def test_costs_come_from_the_manifest_else_from_the_results(runs, tmp_path):
    (chapter,) = gather(runs).chapters
    assert chapter.condition("base").cost == Cost(pytest.approx(0.1), None)
    assert chapter.condition("worse").cost.tokens == pytest.approx(2 * 400 / 4)
    bare = regressions(tmp_path / "bare", manifests=False)
    results = read_results(bare)
    first = dataclasses.replace(results.results[0], seconds=8.0, prompt_tokens=4, completion_tokens=8)
    write_results(bare, dataclasses.replace(results, results=(first, *results.results[1:])))
    base = gather(bare).chapters[0].condition("base")
    assert base.cost == Cost(2.0, 3.0)
    assert base.notes == ("the manifest of tiny/run0.run is not there",)


def test_a_run_that_is_not_there_is_said_and_not_tested(runs):
    (runs / "tiny" / "run1.run").unlink()
    (chapter,) = gather(runs).chapters
    better = chapter.condition(NASTY)
    assert better.contrasts["RR@10"].p_holm is None
    assert better.contrasts["RR@10"].difference == pytest.approx(3.5 / 4 - (1 + 1 / 2 + 1 / 3) / 4), "of recorded means"
    assert better.notes == ("tiny/run1.run is not there: no test and no topics",)
    assert chapter.condition("worse").contrasts["RR@10"].family == 6
    assert list(gather(runs).remarks()) == [f"tiny, {NASTY}: tiny/run1.run is not there: no test and no topics"]


def test_a_run_that_was_changed_is_said_and_not_tested(runs):
    run_file(runs / "tiny" / "run1.run", 1, 1, 1, 1)
    (note,) = gather(runs).chapters[0].condition(NASTY).notes
    assert "has RR@10 1.0000, but 0.8750 was recorded" in note


def test_a_manifest_of_another_file_is_not_used(runs):
    shutil.copy(runs / "tiny" / "run2.run.manifest.json", runs / "tiny" / "run1.run.manifest.json")
    better = gather(runs).chapters[0].condition(NASTY)
    assert better.notes == ("the manifest of tiny/run1.run describes another file",)


def test_a_collection_elsewhere_is_found_by_data(runs, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "moved")
    (chapter,) = gather(runs).chapters
    assert "the collection is not at hand" in chapter.notes[0]
    assert "--data DIR" in chapter.notes[0]
    assert chapter.condition(NASTY).contrasts["RR@10"].family == 0
    (chapter,) = gather(runs, tmp_path / "moved").chapters
    assert chapter.notes == ()
    assert chapter.condition(NASTY).contrasts["RR@10"].family == 8


def test_no_result_and_an_unknown_collection(runs, tmp_path):
    with pytest.raises(InputError, match="Try: tiny"):
        gather(runs, None, ["tinny"])
    write_results(tmp_path, Results((), {}))
    with pytest.raises(InputError, match="holds no result"):
        gather(tmp_path)


def test_a_study_of_results_alone_has_differences_and_no_tests(runs):
    (chapter,) = study_of(read_results(runs)).chapters
    contrast = chapter.condition("worse").contrasts["R@100"]
    assert (contrast.difference, contrast.p_holm, contrast.family) == (pytest.approx(-0.25), None, 0)


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        ([], "'tested' is a list"),
        ({"tiny": {"base": None}}, "'base' is None"),
        ({"tiny": {"base": {"contrasts": {}, "notes": []}}}, "no key 'cost'"),
        ({"tiny": {"base": {"contrasts": {"RR@10": {"difference": "1"}}, "cost": {}, "notes": []}}}, "'difference' is"),
        (
            {"tiny": {"base": {"contrasts": {}, "cost": {"seconds": 1, "tokens": True}, "notes": []}}},
            "'tokens' is True",
        ),
        ({"tiny": {"base": {"contrasts": {}, "cost": {"seconds": 1, "tokens": 1}, "notes": [1]}}}, "'notes' is 1"),
    ],
)
def test_tests_of_wrong_types(runs, tested, message):
    file = runs / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tested": tested}))
    with pytest.raises(InputError, match=rf"results\.json: .*{message}"):
        load_study(file)


def test_the_best_is_at_the_metrics_precision(runs):
    found = read_results(runs)
    values = tuple(dataclasses.replace(value, measured=0.87504) for value in found.results[2].values)
    close = dataclasses.replace(found.results[2], values=values)
    (chapter,) = study_of(dataclasses.replace(found, results=(found.results[1], close))).chapters
    assert chapter.best("RR@10") == {NASTY, "worse"}
