"""The regressions that come with the package: all of them load, and every condition can be run."""

from __future__ import annotations

import json
import shlex

import pytest

from expandr_ir.cli import main
from expandr_ir.cli.arguments import parse
from expandr_ir.cli.run import VERB as RUN
from expandr_ir.cli.run import Options as RunOptions
from expandr_ir.cli.search import VERB as SEARCH
from expandr_ir.cli.search import Options as SearchVerbOptions
from expandr_ir.collection.facts import load_facts
from expandr_ir.config import names
from expandr_ir.regress.commands import pyserini_commands, search_command
from expandr_ir.regress.loading import Regressions
from expandr_ir.regress.places import Places
from expandr_ir.regress.plan import Selection, plan, select

REGRESSIONS = Regressions()
TASKS = [
    "trec-covid", "nfcorpus", "nq", "hotpotqa", "fiqa", "arguana", "webis-touche2020", "cqadupstack", "quora",
    "dbpedia-entity", "scidocs", "fever", "climate-fever", "scifact", "msmarco",
]  # fmt: skip
SEARCHED = (
    "retriever",
    "aggregation",
    "sparse_aggregation",
    "dense_aggregation",
    "fields",
    "k1",
    "b",
    "rm3",
    "rocchio",
)


def steps(*collections):
    return plan(select(REGRESSIONS, Selection(collections)), Places())


@pytest.mark.parametrize("name", REGRESSIONS.names())
def test_it_loads_and_its_baselines_are_there(name):
    spec = REGRESSIONS.load(name)
    assert spec.conditions
    for condition in spec.conditions.values():
        assert condition.baseline in {None, *REGRESSIONS.catalogue.conditions}
    figures = [one for own in (*spec.expected.values(), *spec.published.values()) for one in own.values()]
    assert all(0 <= one.value <= 1 and one.source.strip() for one in figures)
    assert not any(word in one.source for one in figures for word in ("shared", "facts", "/work"))


def test_all_that_is_promised_is_there():
    assert {*TASKS, "passage-dev", "dl19", "dl20", "dl19-pool", "dl20-pool", "cacm", "cranfield", "demo"} <= {
        *REGRESSIONS.names()
    }
    plain = {"bm25-flat", "bm25-multifield", "bm25+rm3", "contriever", "contriever-msmarco", "bge-base"}
    live = {"query2doc", "lamer", "mugi", "exp4fuse", "hyde", "llm-qe", "expandr", "reinforced-ir", "expandr-hybrid"}
    for name in TASKS:
        wanted = plain if name == "cqadupstack" else plain | live
        assert wanted <= set(REGRESSIONS.load(name).conditions), name


def distinct_steps():
    """One step of each way to search; the conditions of a family differ in a file's name alone."""
    found = {}
    for step in steps():
        if step.options is None:
            assert step.skip or step.spec.mean_of
        else:
            found.setdefault((repr(step.options), step.condition.expander, step.condition.topics_field), step)
    return list(found.values())


@pytest.mark.parametrize("step", distinct_steps(), ids=lambda step: step.condition.name)
def test_every_condition_is_a_command_that_means_the_same(step):
    words = shlex.split(search_command(step, "x.run"))
    assert "--collection" in words
    assert words[-2:] == ["--output", "x.run"]
    if step.condition.expander:
        assert parse(RUN, RunOptions, words[2:]).expander == step.condition.expander
        return
    options = parse(SEARCH, SearchVerbOptions, words[2:])
    assert {one: getattr(options, one) for one in SEARCHED} == {one: getattr(step.options, one) for one in SEARCHED}


def test_a_mean_has_its_parts():
    spec = REGRESSIONS.load("cqadupstack")
    assert len(spec.mean_of) == 12
    for condition, figures in spec.expected.items():
        for metric, figure in figures.items():
            parts = [REGRESSIONS.load(part).expected[condition][metric].value for part in spec.mean_of]
            assert f"{sum(parts) / 12:.4f}" == f"{figure.value:.4f}"
    assert [step.spec.name for step in steps("cqadupstack")][-1] == "cqadupstack"


def test_names_are_those_of_the_known_collections():
    for name in REGRESSIONS.names():
        spec = REGRESSIONS.load(name)
        if spec.irds and spec.folder:
            facts = load_facts(name) if name in names("collections") else None
            assert facts, name
            assert spec.irds.startswith(facts.irds), name
            if spec.pyserini:
                assert spec.pyserini in facts.pyserini
                assert spec.lucene_index("flat") == facts.index


def test_dry_run_over_everything(capsys, tmp_path):
    assert main(["regress", "--dry-run", "--format", "json", "--output", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["collection"] for row in rows} == set(REGRESSIONS.names())
    assert len(rows) > 500
    assert all(row["does"] for row in rows)
    assert not list(tmp_path.iterdir())


def test_list_says_what_is_known(capsys, tmp_path):
    assert main(["regress", "--list", "--collection", "scifact", "--output", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "bm25-flat                                  exact     nDCG@10 .6789  R@100 .9253  R@1000 .9767" in told
    assert "hyde                                       live      nDCG@10 [.6910]  R@100 [.9640]" in told
    assert "expandr                                    live      no figure is known" in told


def test_commands_of_pyserini(capsys, tmp_path):
    argv = ["--collection", "scifact", "--condition", "bm25-multifield", "--output", str(tmp_path)]
    assert main(["regress", "--commands", "--format", "json", *argv]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["pyserini"][0] == (
        "python -m pyserini.search.lucene --threads 16 --batch-size 128 --index beir-v1.0.0-scifact.multifield "
        f"--topics beir-v1.0.0-scifact-test --output {tmp_path}/scifact/bm25-multifield.run --output-format trec "
        "--hits 1000 --bm25 --k1 0.9 --b 0.4 --remove-query --fields contents=1.0 title=1.0"
    )
    assert row["pyserini"][1] == (
        "python -m pyserini.eval.trec_eval -c -m ndcg_cut.10 beir-v1.0.0-scifact-test "
        f"{tmp_path}/scifact/bm25-multifield.run"
    )


def test_query_prefixes_of_pyserinis_commands():
    found = {}
    for name in ("scifact", "quora", "dl19"):
        (step,) = [step for step in steps(name) if step.condition.name == "bge-base"]
        found[name] = pyserini_commands(step, "x.run")[0]
    assert '--query-prefix "Represent this sentence for searching relevant passages:" --index beir' in found["scifact"]
    assert '--query-prefix "" --index beir-v1.0.0-quora.bge-base-en-v1.5 --topics' in found["quora"]
    assert "--index msmarco-v1-passage.bge-base-en-v1.5 --topics dl19-passage" in found["dl19"]
    assert "remove-query" not in found["dl19"]


@pytest.mark.parametrize(
    ("argv", "message", "remedy"),
    [
        (["--collection", "scifct"], "unknown collection 'scifct'", "Try: scifact"),
        (["--condition", "bm25-flatt"], "unknown condition 'bm25-flatt'", "Try: bm25-flat"),
        (["--tier", "exakt"], "unknown tier 'exakt'", "Try: exact"),
        (
            ["--collection", "cacm", "--condition", "hyde"],
            "no condition fits all of",
            "regress --list --collection cacm",
        ),
        (["--resume"], "has nothing to resume", "Expected"),
        (["--promote", "nothing.json"], "nothing.json is not there", "Expected"),
    ],
)
def test_what_is_typed_wrong(capsys, tmp_path, argv, message, remedy):
    assert main(["regress", *argv, "--output", str(tmp_path)]) in {2, 4}
    told = capsys.readouterr().err
    assert message in told
    assert remedy in told
