"""Which query gives a preference, and why not; what is written of it and read back."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.io.manifest import write_manifest
from expandr_ir.records import Message
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.preference_files import (
    check_provenance,
    data_card,
    preference_row,
    read_preferences,
    read_provenance,
    summarize,
    write_preferences,
)
from expandr_ir.train.align.preferences import PreferencesOptions, compare_and_select
from expandr_ir.train.align.rewards import REASONS, Evidence, SelectionOptions, parse_threshold, select
from expandr_ir.train.data.rows import TrainingRow

GENERATOR = GeneratorConfig("echo", "echo")


def candidates(name, *texts, answer="an answer", evidence=None, dropped=()):
    return Candidates(
        TrainingRow(name, f"query {name}", ("positive",), ()),
        list(texts),
        [{"key": f"key-{name}-{place}", "temperature": 0.8, "sample": place} for place in range(len(texts))],
        answer,
        {"key": "key-a", "temperature": 1.0, "sample": 0} if answer else None,
        (Message("user", "Write about q."),),
        Counter(dropped),
        evidence or Evidence(),
    )


def array(*values):
    return np.array(values, dtype=np.float64)


def selected(entry, evidence, **others):
    """The candidates after selection, with the evidence that an encoder would have given."""
    entry.evidence = evidence
    options = PreferencesOptions(rows=[], generator=GENERATOR, output="", encoder="e", **others)
    return entry, compare_and_select([entry], None, None, options)


GOOD = Evidence(positive=array(0.2, 0.9, 0.5), answer=array(0.8, 0.7, 0.6), query=0.4)


def test_a_preference_by_hand():
    """Rewards 4/3, 3/2, 5/6: the second is chosen, the third rejected."""
    entry, threshold = selected(candidates("a", "x", "y y", "z z z"), GOOD)
    assert (entry.reason, entry.chosen, entry.rejected, threshold) == (None, 1, 2, 0.6)
    row = preference_row(entry)
    assert row["prompt"] == [{"role": "user", "content": "Write about q."}]
    assert row["chosen"] == [{"role": "assistant", "content": "y y"}]
    assert row["rejected"] == [{"role": "assistant", "content": "z z z"}]
    assert row["chosen_scores"] == {
        "reward": 1.5,
        "rewards": {"retriever": 1.0, "self": 0.5},
        "similarities": {"positive": 0.9, "answer": 0.7},
        "ranks": {"positive": 1, "answer": 2},
    }
    assert row["rejected_scores"]["ranks"] == {"positive": 2, "answer": 3}
    assert row["provenance"]["rejected"] == {"key": "key-a-2", "temperature": 0.8, "sample": 2}
    assert row["provenance"]["answer"]["key"] == "key-a"


@pytest.mark.parametrize(
    ("texts", "answer", "evidence", "options", "reason"),
    [
        ("xy", None, GOOD, {}, "no_answer"),
        ("xy", None, Evidence(positive=array(0.7, 0.8)), {"rewards": {"retriever": 1.0}}, None),
        ("x", "a", GOOD, {}, "too_few_candidates"),
        ("xy", "a", GOOD, {"min_candidates": 3}, "too_few_candidates"),
        ("xy", "a", Evidence(array(0.2, 0.1), array(0.3, 0.2)), {}, "below_threshold"),
        ("xyz", "a", GOOD, {"threshold": 1.7}, "below_threshold"),
        ("xyz", "a", GOOD, {"threshold": 1.6}, None),  # .9 + .7
        ("xy", "a", Evidence(array(0.5, 0.5), array(0.5, 0.5)), {}, "equal_rewards"),
        ("xy", "a", Evidence(array(0.5, 0.6), array(0.6, 0.5)), {}, "equal_rewards"),
        ("xyz", "a", GOOD, {"min_gap": 0.7}, "small_gap"),
        ("xyz", "a", GOOD, {"min_gap": 2 / 3}, None),  # 3/2 - 5/6
        ("xy", None, Evidence(positive=array(0.7, 0.8)), {"rewards": {"retriever": 1.0}, "min_gap": 0.5}, None),
        (
            *("xy", "a", Evidence(positive=array(0.4, 0.3), query=0.5)),
            *({"rewards": {"margin": 1.0}, "margin_keep": 0.95, "threshold": "none"}, "margin"),
        ),
    ],
)
def test_why_a_query_gives_none(texts, answer, evidence, options, reason):
    entry, _ = selected(candidates("a", *texts, answer=answer), replace(evidence), **options)
    assert entry.reason == reason
    assert reason in {None, *REASONS}


def test_a_quantile_drops_that_share():
    table = [candidates(str(n), "x", "y", evidence=Evidence(array(n / 10, 0), array(0.1, 0))) for n in range(8)]
    threshold = select(table, SelectionOptions(threshold="quantile:.25"))
    assert [entry.reason for entry in table] == ["below_threshold"] * 2 + [None] * 6
    assert threshold == pytest.approx(0.1 + 0.175)  # the quartile of 0, .1, ... .7, and .1


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.6, ("value", 0.6)), (".6", ("value", 0.6)), ("quantile:.25", ("quantile", 0.25)), ("none", ("none", None))],
)
def test_thresholds(threshold, expected):
    assert parse_threshold(threshold) == expected


@pytest.mark.parametrize(
    ("options", "evidence"),
    [
        ({}, {"positive", "answer"}),
        ({"rewards": {"corpus": 1.0}}, {"corpus", "positive"}),  # for the threshold
        ({"rewards": {"corpus": 1.0}, "threshold": "none"}, {"corpus"}),
        ({"rewards": {"retriever": 1.0}, "margin_keep": 0.95}, {"positive", "query"}),
    ],
)
def test_the_evidence_that_options_need(options, evidence):
    assert SelectionOptions(**options).evidence() == evidence


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rewards": {}}, "no reward is named"),
        ({"rewards": {"retreiver": 1.0}}, "(?s)unknown reward 'retreiver'.*Try: retriever"),
        ({"rewards": {"self": float("nan")}}, "the weight of reward 'self' is nan"),
        ({"rewards": {"self": 0.0}}, "the weight of reward 'self' is 0"),
        *(({name: value}, name) for name, value in (("min_candidates", 1), ("margin_keep", 2.0), ("min_gap", -1.0))),
        ({"min_gap": float("nan")}, "min_gap"),
        *(
            ({"threshold": text}, "the threshold")
            for text in ("", "x", "nan", "quantile:", "quantile:1", "quantile:-.1", "median")
        ),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        SelectionOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": None}, "no encoder is named"),
        ({"encoder": None, "rewards": {"corpus": 1.0}, "threshold": "none"}, "the reward 'corpus' needs a collection"),
        ({"queries": 0}, "queries is 0"),
    ],
)
def test_preferences_that_cannot_be_made(options, message):
    with pytest.raises(InputError, match=message):
        PreferencesOptions(**{"rows": [], "generator": GENERATOR, "output": "", "encoder": "e"} | options)


def test_a_reward_that_is_not_a_number_names_the_query():
    with pytest.raises(ExpandrError, match=r"query 'a' \('query a'\): the similarity 'answer' of candidate 1 is nan"):
        select([candidates("a", "x", "y", evidence=Evidence(array(1, 2), array(1, np.nan)))], SelectionOptions())


def three():
    """A preference, a query below the threshold, and one that was not compared; and the threshold."""
    low = array(0.1, 0.1, 0.1)
    table = [
        candidates("a", "x", "y y", "z z z", evidence=GOOD, dropped={"duplicate": 2}),
        candidates("b", "x x", "y", "z", evidence=Evidence(low, low), dropped={"empty": 1}),
        candidates("c", "x", answer=None),
    ]
    options = PreferencesOptions(rows=[], generator=GENERATOR, output="", encoder="e")
    return table, compare_and_select(table, None, None, options)


def test_the_summary_by_hand():
    summary = summarize(*three())
    assert (summary["queries"], summary["kept"], summary["candidates"]) == (3, 1, 7)
    assert summary["candidates_dropped"] == {"duplicate": 2, "empty": 1}
    assert {name: count for name, count in summary["dropped"].items() if count} == {
        "no_answer": 1,
        "below_threshold": 1,
    }
    assert summary["best_summed_similarity"]["1"] == pytest.approx(1.6)
    assert summary["words"]["chosen"]["mean"] == 2
    assert summary["words"]["rejected"]["mean"] == 3
    assert summary["words"]["chosen_longer"] == 0
    assert sum(summary["rewards"]["all"]["counts"]) == 6
    assert sum(summary["rewards"]["chosen"]["counts"]) == 1
    # rewards (4/3, 3/2, 5/6) less 11/9, (2, 2, 2) less 2; words (1, 2, 3) less 2, (2, 1, 1) less 4/3
    rewards = np.array([4 / 3, 3 / 2, 5 / 6, 2, 2, 2]) - np.array([11 / 9] * 3 + [2] * 3)
    words = np.array([1, 2, 3, 2, 1, 1]) - np.array([2] * 3 + [4 / 3] * 3)
    correlation = (rewards @ words) / np.sqrt((rewards @ rewards) * (words @ words))
    assert summary["correlation_of_reward_and_words"]["within_query"] == pytest.approx(correlation, abs=1e-6)


PROVENANCE = {
    "generator": {"engine": "local", "model": "m", "revision": None, "adapter": None},
    "prompt": {"id": "passage@1", "sha256": "5"},
    "decoding": {"temperatures": [1.0], "samples": 8, "top_p": 0.9, "max_new_tokens": 512},
    "answers": None,
    "encoder": {"name": "e", "model": "f", "precision": "float32"},
    "compare": {"similarity": "cosine"},
    "rewards": {"retriever": 1.0, "self": 1.0},
}


def folder_of(path, *, manifest=True):
    table, threshold = three()
    summary = summarize(table, threshold)
    output = write_preferences(path, table, summary, data_card(summary, PROVENANCE, ["rows.jsonl"]), parquet=False)
    if manifest:
        write_manifest(output, details={"provenance": PROVENANCE})
    return path


def test_the_folder(tmp_path):
    folder = folder_of(tmp_path)
    (row,) = read_preferences(folder)
    assert row["chosen"] == [{"role": "assistant", "content": "y y"}]
    assert read_preferences(folder / "preferences.jsonl") == [row]
    scores = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert [(row["row_id"], row["dropped"], len(row["candidates"])) for row in scores] == [
        ("a", None, 3),
        ("b", "below_threshold", 3),
    ]
    assert [candidate["reward"] for candidate in scores[0]["candidates"]] == [1.333333, 1.5, 0.833333]
    text = (folder / "README.md").read_text()
    assert "| queries dropped | no_answer 1, below_threshold 1 |" in text
    assert "| compared by | `e`, cosine |" in text


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"generator": {"model": "n"}}, "another LLM: .*model 'm', not 'n'"),
        ({"prompt": {"sha256": "6"}}, "another prompt: sha256 '5', not '6'"),
        ({"encoder": {"model": "f", "precision": "bfloat16"}}, "another encoder: precision 'float32', not 'bfloat16'"),
    ],
)
def test_provenance_that_disagrees(tmp_path, part, message):
    folder = folder_of(tmp_path)
    check_provenance(folder, PROVENANCE)
    check_provenance(folder, {"encoder": PROVENANCE["encoder"] | {"name": "another name"}})
    with pytest.raises(InputError, match=message):
        check_provenance(folder, part)


def test_provenance_of_changed_or_incomplete_preferences(tmp_path):
    with pytest.raises(MissingResourceError, match="has no manifest"):
        read_provenance(folder_of(tmp_path / "a", manifest=False))
    folder = folder_of(tmp_path / "b")
    with (folder / "preferences.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(InputError, match="is not what its manifest was written for"):
        read_provenance(folder)


@pytest.mark.parametrize(
    ("provenance", "fault"),
    [
        ([], "the generator of the provenance is null"),
        ({"generator": {"engine": "local"}}, 'the generator of the provenance is {"engine": "local"}'),
        (PROVENANCE | {"prompt": {"id": 1, "sha256": "5"}}, "the prompt of the provenance is"),
        (PROVENANCE | {"encoder": "e"}, 'the encoder of the provenance is "e"'),
    ],
)
def test_provenance_of_another_form(tmp_path, provenance, fault):
    folder = folder_of(tmp_path)
    write_manifest(folder / "preferences.jsonl", details={"provenance": provenance})
    with pytest.raises(InputError, match=fault):
        read_provenance(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"chosen": value}, "'chosen' is no list of messages") for value in (None, "text")),
        *(({"prompt": value}, "'prompt' is no list of messages") for value in ([], 5, ["text"])),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "'prompt' is no list of messages"),
        ({"rejected": [{"role": "assistant", "content": " "}]}, "'rejected' is no list of messages"),
        ({"rejected": [{"content": "x"}]}, "'rejected' is no list of messages"),
        ({"chosen": [{"role": "user", "content": "x"}]}, "'chosen' is not one message of the assistant"),
        ({"chosen": [{"role": "assistant", "content": "x"}] * 2}, "'chosen' is not one message of the assistant"),
        ({"rejected": [{"role": "assistant", "content": "y y"}]}, "chosen and rejected are the same"),
    ],
)
def test_preferences_that_cannot_be(tmp_path, change, message):
    (row,) = read_preferences(folder_of(tmp_path))
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(InputError, match=f"broken.jsonl, line 2: {message}"):
        read_preferences(path)


def test_no_preferences(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no preferences"):
        read_preferences(tmp_path / "none.jsonl")
