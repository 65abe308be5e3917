"""Measures against values computed by hand, against pytrec_eval, and against the trec_eval that Pyserini ships."""

from __future__ import annotations

import importlib.util
import platform
import random
import subprocess
import sys
import zipfile
from math import log2
from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError, NotInstalledError
from expandr_ir.evaluate import Scores, coverage_notes, score_run
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.runs import read_run, write_run
from expandr_ir.records import Hits, Qrels, Rankings

QRELS: Qrels = {"1": {"a": 3, "b": 2, "c": 0, "d": 1}, "2": {"x": 1, "y": 1}}
RUN: Rankings = {"1": Hits(["c", "a", "u", "d"], [4.0, 3.0, 2.0, 1.0]), "2": Hits(["u", "v", "y"], [3.0, 2.0, 1.0])}


def test_values_computed_by_hand() -> None:
    scores = score_run(
        RUN, QRELS, ["nDCG@10", "nDCG@2", "R@2", "R@100", "RR@10", "RR@2", "AP", "P(rel=2)@2", "Judged@3"]
    )
    dcg, ideal = 3 / log2(3) + 1 / log2(5), 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert scores.per_topic == {
        "nDCG@10": pytest.approx({"1": dcg / ideal, "2": (1 / log2(4)) / (1 + 1 / log2(3))}),
        "nDCG@2": pytest.approx({"1": (3 / log2(3)) / (3 + 2 / log2(3)), "2": 0.0}),
        "R@2": pytest.approx({"1": 1 / 3, "2": 0.0}),
        "R@100": pytest.approx({"1": 2 / 3, "2": 1 / 2}),
        "RR@10": pytest.approx({"1": 1 / 2, "2": 1 / 3}),
        "RR@2": pytest.approx({"1": 1 / 2, "2": 0.0}),
        "AP": pytest.approx({"1": (1 / 2 + 2 / 4) / 3, "2": (1 / 3) / 2}),
        "P(rel=2)@2": pytest.approx({"1": 1 / 2, "2": 0.0}),
        "Judged@3": pytest.approx({"1": 2 / 3, "2": 1 / 3}),  # of any grade
    }
    assert scores.means["AP"] == pytest.approx((1 / 3 + 1 / 6) / 2)
    assert scores.topics == 2
    means = score_run(RUN, QRELS, ["MRR@10", "RR@10", "NumRet"]).means
    assert means == {"MRR@10": pytest.approx(5 / 12), "RR@10": pytest.approx(5 / 12), "NumRet": 7}


def test_means_are_over_every_judged_topic() -> None:
    qrels = {**QRELS, "3": {"a": 1}, "4": {"a": 0}, "5": {}}
    run = {**RUN, "4": Hits(["a"], [1.0]), "3": Hits([], []), "99": Hits(["a"], [1.0])}
    scores = score_run(run, qrels, ["RR@10", "Judged@1"])
    assert scores.means["RR@10"] == pytest.approx((1 / 2 + 1 / 3 + 0 + 0) / 4)
    assert scores.per_topic["Judged@1"] == {"1": 1.0, "2": 0.0, "3": 0.0, "4": 1.0}
    assert (scores.missing, scores.unjudged, scores.without_relevant) == (("3",), ("99",), ("4",))
    assert coverage_notes({"mine": scores}) == [
        "judged topics without a relevant document, counted as 0 for every run: 1",
        "mine: judged topics without a hit, counted as 0: 1 of 4",
        "mine: topics without a judgement, not scored: 1",
    ]


@pytest.mark.parametrize("measures", [["Accuracy"], ["nDCG@10", "Accuracy"]])
def test_a_measure_that_raises_is_named(measures: list[str]) -> None:
    run = {"1": Hits(["a"], [1.0])}
    with pytest.raises(InputError, match=r"'Accuracy' cannot be computed for bm25 \(ZeroDivisionError") as caught:
        score_run(run, {"1": {"a": 1}}, measures, name="bm25")
    assert caught.value.expected == "a measure that these judgements and hits allow"
    two = {"1": {"a": 1, "b": 0}, "2": {"a": 1}}
    assert score_run({"1": Hits(["a", "b"], [2.0, 1.0])}, two, ["Accuracy"]).per_topic["Accuracy"] == {
        "1": 1.0,
        "2": 0.0,
    }


@pytest.mark.parametrize("grades", [{"a": -2}, {"a": -1}, {"a": -5, "b": -2}, {"a": -1000}])
@pytest.mark.parametrize(
    "measure", ["nDCG@10", "R@100", "AP", "RR", "Bpref", "Rprec", "NumRel", "infAP", "nDCG(judged_only=True)@5"]
)
def test_a_topic_of_negative_grades_has_no_relevant_document(grades: dict[str, int], measure: str) -> None:
    run = {"1": RUN["1"], "2": Hits(["a", "b"], [2.0, 1.0])}
    scores = score_run(run, {"1": QRELS["1"], "2": grades}, [measure])
    assert scores.per_topic[measure]["2"] == 0.0
    assert scores.per_topic[measure]["1"] == score_run(run, {"1": QRELS["1"]}, [measure]).per_topic[measure]["1"]
    assert scores.without_relevant == ("2",)


@pytest.mark.parametrize("grade", [1001, 10**8, 3_000_000_000, 10**23, -1001])
def test_grades_beyond_the_bound(grade: int) -> None:
    assert score_run(RUN, QRELS | {"2": {"x": 1000}}, ["nDCG@10"]).means
    with pytest.raises(InputError, match=f"topic '2': the grade {grade}\nExpected: a grade from -1,000 to 1,000"):
        score_run(RUN, QRELS | {"2": {"x": grade, "y": 0}}, ["nDCG@10"])


@pytest.mark.parametrize("measure", ["RR", "RR@10", "AP", "Judged@1", "P@1"])
def test_every_back_end_orders_ties_as_trec_eval(measure: str) -> None:
    assert score_run({"1": Hits(["a", "b"], [1.0, 1.0])}, {"1": {"b": 1}}, [measure]).means[measure] == 1.0
    first = score_run({"1": Hits(["b", "a"], [70.1, 70.099999])}, {"1": {"a": 1}}, [measure]).means[measure]
    assert first == (0.5 if measure in {"RR", "RR@10", "AP"} else 0.0)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("ndcg@10", r"unknown measure 'ndcg@10'\nExpected: a name of ir_measures.*\nTry: nDCG@10"),
        ("ndcg_cut_10", r"unknown measure 'ndcg_cut_10'(?s:.*)Try: nDCG@10"),
        ("recall.100", "the measure 'recall.100' cannot be read"),
        ("recall_100", r"(?s:.*)Try: R@100"),
        ("recip_rank", r"(?s:.*)Try: RR$"),
        ("map", r"(?s:.*)Try: AP$"),
        ("quality", r"unknown measure 'quality'(?!.*Try)"),
        ("P", "the measure 'P' lacks its cutoff\nExpected: P@10"),
        ("P@0", "the measure 'P@0' has the cutoff 0"),
        ("P@x", "the measure 'P@x' cannot be read"),
        ("P@1.5", "the measure 'P@1.5': cutoff is 1.5"),
        ("nDCG(rel=2)@10", "the measure 'nDCG.rel=2.@10' has no parameter 'rel'\nExpected: one of cutoff"),
        ("RR@10(rel=2)", "cannot be read"),
        ("", "the measure '' cannot be read"),
        ("AP(rel=0)", "the measure 'AP.rel=0.' cannot be computed for the run .TypeError"),
        ("R(rel=99999999999999999999)@5", "cannot be computed for the run"),
        ("nDCG@99999999999999999999", "cannot be computed for the run"),
        ("nDCG(gains={1: -5})@10", "cannot be read"),
        ("nDCG(gains={1: 3000000000})@10", r"has the gains .*\nExpected: whole numbers from 0 to 1,000"),
    ],
)
def test_measures_that_do_not_exist(measure: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_run(RUN, QRELS, [measure])


@pytest.mark.skipif(importlib.util.find_spec("pyndeval") is not None, reason="pyndeval is installed")
def test_a_measure_whose_back_end_is_missing() -> None:
    with pytest.raises(NotInstalledError, match="nothing that is installed computes alpha_nDCG@5"):
        score_run(RUN, QRELS, ["alpha_nDCG@5"])


@pytest.mark.parametrize(
    ("run", "qrels", "measures", "message"),
    [
        (RUN, QRELS, [], "no measure is given"),
        (RUN, {}, ["AP"], "the qrels hold no judgement"),
        (RUN, {"1": {}}, ["AP"], "the qrels hold no judgement"),
        ({}, QRELS, ["AP"], "bm25 holds no hit"),
        ({"1": Hits([], [])}, QRELS, ["AP"], "bm25 holds no hit"),
        (RUN, {"7": {"a": 1}}, ["AP"], "no topic of bm25 is judged: it has 1, 2, the qrels have 7"),
    ],
)
def test_bad_input(run: Rankings, qrels: Qrels, measures: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_run(run, qrels, measures, name="bm25")


@st.composite
def judged_runs(draw: st.DrawFn) -> tuple[Rankings, Qrels]:
    documents = [f"d{number}" for number in range(8)]
    topic_ids = draw(st.lists(st.sampled_from(["1", "01", "é", "Q0", "5"]), min_size=2, max_size=5, unique=True))
    qrels = {
        topic_id: draw(st.dictionaries(st.sampled_from(documents), st.integers(-1, 3), min_size=1))
        for topic_id in topic_ids
    }
    run = {}
    for topic_id in topic_ids:
        doc_ids = draw(st.lists(st.sampled_from(documents), min_size=1, unique=True))
        quarters = draw(st.lists(st.integers(-40, 40), min_size=len(doc_ids), max_size=len(doc_ids)))
        run[topic_id] = Hits(doc_ids, [value / 4 for value in sorted(quarters, reverse=True)])
    return run, qrels


MEASURES = ["nDCG@3", "R@2", "AP", "RR@3", "Judged@3", "P(rel=2)@2"]


@settings(max_examples=60, deadline=None)
@given(data=judged_runs(), constant=st.integers(-100, 100), seed=st.integers(0, 99))
def test_order_of_topics_and_a_constant_change_nothing(data: tuple[Rankings, Qrels], constant: int, seed: int) -> None:
    run, qrels = data
    order = random.Random(seed).sample(sorted(run), len(run))
    moved = {t: Hits(run[t].doc_ids, [score + constant for score in run[t].scores]) for t in order}
    one, two = score_run(run, qrels, MEASURES), score_run(moved, {t: qrels[t] for t in order}, MEASURES)
    assert one.per_topic == two.per_topic
    assert two.means == pytest.approx(one.means)


@settings(max_examples=60, deadline=None)
@given(data=judged_runs())
def test_values_are_pytrec_evals(data: tuple[Rankings, Qrels]) -> None:
    run, qrels = data
    plain = {topic_id: dict(zip(hits.doc_ids, hits.scores, strict=True)) for topic_id, hits in run.items()}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.3", "recall.2", "map"}).evaluate(plain)
    scores = score_run(run, qrels, ["nDCG@3", "R@2", "AP"])
    for measure, theirs in {"nDCG@3": "ndcg_cut_3", "R@2": "recall_2", "AP": "map"}.items():
        assert scores.per_topic[measure] == {topic_id: expected[topic_id][theirs] for topic_id in run}


@pytest.fixture(scope="module")
def trec_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that `python -m pyserini.eval.trec_eval` runs."""
    spec = importlib.util.find_spec("pyserini")
    if sys.platform != "linux" or platform.machine() != "x86_64" or not spec or not spec.origin:
        pytest.skip("Pyserini's trec_eval for this system is not there")
    jar = next((Path(spec.origin).parent / "resources" / "jars").glob("*-fatjar.jar"))
    folder = tmp_path_factory.mktemp("trec_eval")
    with zipfile.ZipFile(jar) as archive:
        program = Path(archive.extract("trec_eval/trec_eval-linux-amd64", folder))
    program.chmod(0o755)
    return program


def printed(program: Path, options: list[str], qrels: Qrels, run: Path, folder: Path) -> dict[tuple[str, str], float]:
    """(measure, topic_id) -> value as trec_eval -c -q prints it, to 4 decimals; "all" is the mean."""
    judgements = folder / "qrels.txt"
    judgements.write_text("".join(f"{t} 0 {d} {g}\n" for t, grades in qrels.items() for d, g in grades.items()))
    command = [str(program), "-c", "-q", *options, str(judgements), str(run)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {(line.split()[0], line.split()[1]): float(line.split()[2]) for line in lines}


def assert_as_printed(scores: Scores, values: dict[tuple[str, str], float], names: dict[str, str]) -> None:
    for measure, theirs in names.items():
        assert scores.means[measure] == pytest.approx(values[theirs, "all"], abs=5.1e-5)
        for topic_id, value in scores.per_topic[measure].items():
            assert value == pytest.approx(values.get((theirs, topic_id), 0.0), abs=5.1e-5)


def test_adjusted_ties_score_as_pyserinis_trec_eval_says(trec_eval: Path, tmp_path: Path) -> None:
    """Scores 1e-6 apart, in the order of ids: below 16 that order counts, above it the falling order of ids."""
    documents = [f"d{number}" for number in range(6)]
    run = {
        topic_id: Hits(documents, [top - at * 1e-6 for at in range(6)])
        for topic_id, top in {"1": 3.5, "2": 17.25, "3": 70.1, "4": 140998.0}.items()
    }
    qrels = {topic_id: {"d0": 2, "d4": 1} for topic_id in [*run, "5"]} | {"6": {"d0": 0}}
    write_run(tmp_path / "a.trec", run, "t")
    measures = ["-m", "ndcg_cut.3", "-m", "recip_rank", "-m", "map"]
    values = printed(trec_eval, measures, qrels, tmp_path / "a.trec", tmp_path)
    scores = score_run(read_run(tmp_path / "a.trec"), qrels, ["nDCG@3", "RR", "AP"])
    assert_as_printed(scores, values, {"nDCG@3": "ndcg_cut_3", "RR": "recip_rank", "AP": "map"})
    assert (scores.per_topic["RR"]["1"], scores.per_topic["RR"]["4"]) == (1.0, 0.5)


DL19 = {
    "BM25": 0.5058,
    "BM25_RM3": 0.5216,
    "OPEN_AI_ADA2": 0.7035,
    "SPLADE_P_P_ENSEMBLE_DISTIL": 0.7308,
}
"""nDCG@10 on DL 2019 as Pyserini's reproduction matrix prints it (the runs are the first 100 hits)."""


@pytest.mark.parametrize("name", DL19)
def test_published_runs(name: str, test_data: Path, trec_eval: Path, tmp_path: Path) -> None:
    folder = test_data / "msmarco-dl-pool"
    qrels = read_qrels(folder / "qrels" / "dl19.full.tsv")
    run = read_run(folder / "runs" / f"dl19_top100.{name}.trec.gz")
    scores = score_run(run, qrels, ["nDCG@10"])
    assert scores.means["nDCG@10"] == pytest.approx(DL19[name], abs=5e-5)
    assert (scores.topics, scores.missing, scores.unjudged) == (43, (), ())

    write_run(tmp_path / "a.trec", run, "t")
    again = score_run(read_run(tmp_path / "a.trec"), qrels, ["nDCG@10", "R(rel=2)@100", "AP(rel=2)", "RR(rel=2)@10"])
    values = printed(trec_eval, ["-m", "ndcg_cut.10"], qrels, tmp_path / "a.trec", tmp_path)
    assert_as_printed(again, values, {"nDCG@10": "ndcg_cut_10"})
    graded = printed(trec_eval, ["-l", "2", "-m", "recall.100", "-m", "map"], qrels, tmp_path / "a.trec", tmp_path)
    assert_as_printed(again, graded, {"R(rel=2)@100": "recall_100", "AP(rel=2)": "map"})
    cut = printed(trec_eval, ["-l", "2", "-M", "10", "-m", "recip_rank"], qrels, tmp_path / "a.trec", tmp_path)
    assert_as_printed(again, cut, {"RR(rel=2)@10": "recip_rank"})
