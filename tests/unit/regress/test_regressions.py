"""The regressions that come with the package: all of them load, and every condition can be run."""

from __future__ import annotations

import json
import shlex

import pytest
import yaml

from expandr_ir.cli import main
from expandr_ir.collections.facts import load_facts
from expandr_ir.config import names
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.steps import RegressOptions, plan, pyserini_commands, search_command

REGRESSIONS = Regressions()
COLLECTIONS = [name for name in REGRESSIONS.files if name != "training"]
TASKS = [
    "trec-covid", "nfcorpus", "nq", "hotpotqa", "fiqa", "arguana", "webis-touche2020", "cqadupstack", "quora",
    "dbpedia-entity", "scidocs", "fever", "climate-fever", "scifact", "msmarco",
]  # fmt: skip
SEARCHED = (
    *("retriever", "aggregation", "sparse_aggregation", "dense_aggregation"),
    *("fields", "k1", "b", "rm3", "rocchio"),
)


def steps(*collections):
    return plan(REGRESSIONS, RegressOptions(collection=[*collections], data=["nowhere"]))


@pytest.mark.parametrize("name", REGRESSIONS.files)
def test_it_loads_and_its_baselines_are_there(name):
    regression = REGRESSIONS.load(name)
    assert regression.conditions
    for condition in regression.conditions.values():
        assert condition.baseline in {None, *REGRESSIONS.catalogue.conditions}
    tables = (*regression.expected.values(), *regression.published.values())
    figures = [one for table in tables for one in table.values()]
    assert all(0 <= one.value <= 1 and one.source.strip() for one in figures)
    assert not any(word in one.source for one in figures for word in ("shared", "facts", "/work"))


def test_all_that_is_promised_is_there():
    others = {"passage-dev", "dl19", "dl20", "dl19-pool", "dl20-pool", "cacm", "cranfield", "demo", "training"}
    assert {*TASKS, *others} <= {*REGRESSIONS.files}
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
            assert step.skip or step.regression.facts.mean_of or step.condition.family == "training"
        else:
            found.setdefault((repr(step.options), step.condition.expander, step.condition.topics_field), step)
    return list(found.values())


@pytest.mark.parametrize("step", distinct_steps(), ids=lambda step: step.condition.name)
def test_every_condition_is_a_command_that_means_the_same(step, capsys):
    words = shlex.split(search_command(step, "x.run"))
    assert "--collection" in words
    assert words[-2:] == ["--output", "x.run"]
    with pytest.raises(SystemExit, match="0"):
        main([*words[1:], "--print_config"])
    options = yaml.safe_load(capsys.readouterr().out)
    if step.condition.expander:
        assert options["expander"] == step.condition.expander
    else:
        assert {one: options[one] for one in SEARCHED} == {one: getattr(step.options, one) for one in SEARCHED}


def test_a_mean_has_its_parts():
    regression = REGRESSIONS.load("cqadupstack")
    assert len(regression.facts.mean_of) == 12
    for condition, figures in regression.expected.items():
        for metric, figure in figures.items():
            parts = [REGRESSIONS.load(part).expected[condition][metric].value for part in regression.facts.mean_of]
            assert f"{sum(parts) / 12:.4f}" == f"{figure.value:.4f}"
    assert [step.regression.name for step in steps("cqadupstack")][-1] == "cqadupstack"


@pytest.mark.parametrize("name", COLLECTIONS)
def test_names_are_those_of_the_known_collections(name):
    regression = REGRESSIONS.load(name)
    irds, folder, pyserini = (getattr(regression.facts, key) for key in ("irds", "folder", "pyserini"))
    if irds and folder:
        facts = load_facts(name) if name in names("collections") else None
        assert facts
        assert irds.startswith(facts.irds)
        if pyserini:
            assert pyserini in facts.pyserini
            assert regression.lucene_index("flat") == facts.index


def test_dry_run_over_everything(capsys, tmp_path):
    assert main(["regress", "--dry-run", "--format", "json", "--output", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["collection"] for row in rows} == {*REGRESSIONS.files}
    assert len(rows) > 500
    assert all(row["does"] for row in rows)
    assert not list(tmp_path.iterdir())


def test_a_list_shows_expected_and_published_figures(capsys, tmp_path):
    assert main(["regress", "--list", "--collection", "scifact", "--output", str(tmp_path)]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["bm25-flat"] == ["exact", "nDCG@10", ".6789", "R@100", ".9253", "R@1000", ".9767"]
    assert lines["hyde"] == ["live", "nDCG@10", "[.6910]", "R@100", "[.9640]"]


def test_trainings_are_listed_and_proofs_are_skipped_with_their_command(capsys, tmp_path):
    argv = ["regress", "--tier", "training", "--output", str(tmp_path), "--format", "json"]
    assert main([*argv, "--list"]) == 0
    rows = {row["condition"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 12
    assert rows["dpo-tiny.1x8"]["expected"]["loss max"]["tolerance"] == 0.01
    assert "66 figures" in rows["rounds-scifact"]["about"]
    assert main([*argv, "--condition", "*-scifact"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(one["condition"], one["values"][0]["verdict"]) for one in results] == [
        ("retriever-scifact", "SKIP"),
        ("rounds-scifact", "SKIP"),
    ]
    reason = "it trains for hours: python tests/benchmarks/proof_rounds.py --data DIR --seeds 0 1 2 --output DIR"
    assert results[1]["values"][0]["reason"] == reason


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
