"""Which query gives a preference, and why not; what is written of it and read back."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.manifest import write_manifest
from expandr_ir.records import GeneratorId, Message
from expandr_ir.train.candidates import Candidate, Written
from expandr_ir.train.preference_card import card
from expandr_ir.train.preference_files import (
    check_provenance,
    preference_row,
    read_preferences,
    read_provenance,
    write_preferences,
)
from expandr_ir.train.preference_summary import summarize
from expandr_ir.train.preferences import SelectOptions, comparable, parse_threshold, score, select
from expandr_ir.train.rewards import Evidence
from expandr_ir.train.rows import TrainingRow

MESSAGES = (Message("user", "Write about q."),)
ANSWER = Candidate("an answer", "key-a", 1.0, 0)


def written(name, *texts, answer=ANSWER, dropped=None):
    row = TrainingRow(name, f"query {name}", ("positive",), ())
    candidates = tuple(Candidate(text, f"key-{name}-{place}", 0.8, place) for place, text in enumerate(texts))
    return Written(row, MESSAGES, candidates, answer, dropped or {})


def array(*values):
    return np.array(values, dtype=np.float64)


def selected(one, evidence, **options):
    options = SelectOptions(**options)
    kept, dropped = comparable([one], options)
    return select(score(kept, [evidence] * len(kept), options), dropped, options)


GOOD = Evidence(positive=array(0.2, 0.9, 0.5), answer=array(0.8, 0.7, 0.6), query=0.4)


def test_a_preference_by_hand():
    """Rewards 4/3, 3/2, 5/6: the second is chosen, the third rejected."""
    found = selected(written("a", "x", "y y", "z z z"), GOOD)
    (one,) = found.preferences
    assert (one.chosen, one.rejected, found.threshold) == (1, 2, 0.6)
    row = preference_row(one)
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
    ("one", "evidence", "options", "reason"),
    [
        (written("a", "x", "y", answer=None), GOOD, {}, "no_answer"),
        (written("a", "x"), GOOD, {}, "too_few_candidates"),
        (written("a", "x", "y"), GOOD, {"min_candidates": 3}, "too_few_candidates"),
        (written("a", "x", "y"), Evidence(array(0.2, 0.1), array(0.3, 0.2)), {}, "below_threshold"),
        (written("a", "x", "y", "z"), GOOD, {"threshold": 1.7}, "below_threshold"),
        (written("a", "x", "y"), Evidence(array(0.5, 0.5), array(0.5, 0.5)), {}, "equal_rewards"),
        (written("a", "x", "y"), Evidence(array(0.5, 0.6), array(0.6, 0.5)), {}, "equal_rewards"),
        (written("a", "x", "y", "z"), GOOD, {"min_gap": 0.7}, "small_gap"),
        (
            written("a", "x", "y"),
            Evidence(positive=array(0.4, 0.3), query=0.5),
            {"rewards": {"margin": 1.0}, "margin_keep": 0.95, "threshold": "none"},
            "margin",
        ),
    ],
)
def test_why_a_query_gives_none(one, evidence, options, reason):
    found = selected(one, evidence, **options)
    assert (found.preferences, found.dropped) == ((), {"a": reason})
    assert found.reasons == {name: int(name == reason) for name in found.reasons}


def test_a_query_at_the_threshold_is_kept():
    assert selected(written("a", "x", "y", "z"), GOOD, threshold=1.6).preferences  # .9 + .7
    assert selected(written("a", "x", "y", "z"), GOOD, min_gap=2 / 3).preferences  # 3/2 - 5/6


def test_an_answer_is_not_needed_where_no_reward_reads_it():
    one = written("a", "x", "y", answer=None)
    found = selected(one, Evidence(positive=array(0.7, 0.8)), rewards={"retriever": 1.0})
    assert [(kept.chosen, kept.rejected) for kept in found.preferences] == [(1, 0)]


def test_a_quantile_drops_that_share():
    queries = [written(str(n), "x", "y") for n in range(8)]
    evidence = [Evidence(array(n / 10, 0), array(0.1, 0)) for n in range(8)]
    options = SelectOptions(threshold="quantile:.25")
    found = select(score(queries, evidence, options), {}, options)
    assert found.dropped == {"0": "below_threshold", "1": "below_threshold"}
    assert found.threshold == pytest.approx(0.1 + 0.175)  # the quartile of 0, .1, ... .7, and .1


@pytest.mark.parametrize(
    ("threshold", "parsed"),
    [(0.6, ("value", 0.6)), (".6", ("value", 0.6)), ("quantile:.25", ("quantile", 0.25)), ("none", None)],
)
def test_thresholds(threshold, parsed):
    assert parse_threshold(threshold) == parsed


@pytest.mark.parametrize("threshold", ["", "x", "nan", "quantile:", "quantile:1", "quantile:-.1", "median"])
def test_thresholds_that_cannot_be(threshold):
    with pytest.raises(InputError, match="the threshold"):
        SelectOptions(threshold=threshold)


def test_the_evidence_that_options_ask_for():
    assert SelectOptions().evidence() == {"positive", "answer"}
    assert SelectOptions(rewards={"corpus": 1.0}).evidence() == {"corpus", "positive"}  # for the threshold
    assert SelectOptions(rewards={"corpus": 1.0}, threshold="none").evidence() == {"corpus"}
    assert SelectOptions(rewards={"retriever": 1.0}, margin_keep=0.95).evidence() == {"positive", "query"}
    with pytest.raises(InputError, match="unknown reward 'slef'"):
        SelectOptions(rewards={"slef": 1.0})
    for wrong in ({"min_gap": -1.0}, {"min_candidates": 1}, {"margin_keep": 2.0}, {"min_gap": float("nan")}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SelectOptions(**wrong)


def test_a_reward_that_is_not_a_number_names_the_query():
    with pytest.raises(ExpandrError, match=r"query 'a' \('query a'\): the similarity 'answer' of candidate 1 is nan"):
        score([written("a", "x", "y")], [Evidence(array(1, 2), array(1, np.nan))], SelectOptions())


def three():
    queries = [
        written("a", "x", "y y", "z z z", dropped={"duplicate": 2}),
        written("b", "x x", "y", "z", dropped={"empty": 1}),
        written("c", "x", answer=None),
    ]
    options = SelectOptions()
    kept, dropped = comparable(queries, options)
    scored = score(kept, [GOOD, Evidence(array(0.1, 0.1, 0.1), array(0.1, 0.1, 0.1))], options)
    return queries, scored, select(scored, dropped, options)


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
    queries, scored, found = three()
    summary = summarize(queries, scored, found)
    output = write_preferences(path, scored, found, summary, card(summary, PROVENANCE, ["rows.jsonl"]), parquet=False)
    if manifest:
        write_manifest(output, command=["x"], started=datetime.now(UTC), details={"provenance": PROVENANCE})
    return path


def test_the_folder(tmp_path):
    folder = folder_of(tmp_path)
    (row,) = read_preferences(folder)
    assert row["chosen"] == [{"role": "assistant", "content": "y y"}]
    assert read_preferences(folder / "preferences.jsonl") == [row]
    scores = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert [(one["row_id"], one["dropped"], len(one["candidates"])) for one in scores] == [
        ("a", None, 3),
        ("b", "below_threshold", 3),
    ]
    assert [one["reward"] for one in scores[0]["candidates"]] == [1.333333, 1.5, 0.833333]
    text = (folder / "README.md").read_text()
    assert "| queries dropped | no_answer 1, below_threshold 1 |" in text
    assert "| compared by | `e`, cosine |" in text


def test_provenance_that_agrees_and_disagrees(tmp_path):
    folder = folder_of(tmp_path)
    encoder = {"model": "f", "precision": "float32"}
    assert check_provenance(folder, generator=GeneratorId("local", "m"), prompt_sha256="5", encoder=encoder)
    with pytest.raises(InputError, match="another LLM: model 'm', not 'n'"):
        check_provenance(folder, generator=GeneratorId("local", "n"))
    with pytest.raises(InputError, match="another prompt: '5', not '6'"):
        check_provenance(folder, prompt_sha256="6")
    with pytest.raises(InputError, match="another encoder: precision 'float32', not 'bfloat16'"):
        check_provenance(folder, encoder={**encoder, "precision": "bfloat16"})


def test_provenance_of_changed_or_incomplete_preferences(tmp_path):
    with pytest.raises(MissingResourceError, match="has no manifest"):
        read_provenance(folder_of(tmp_path / "a", manifest=False))
    folder = folder_of(tmp_path / "b")
    with (folder / "preferences.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(InputError, match="is not what its manifest was written for"):
        read_provenance(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": None}, "'chosen' is no list of messages"),
        ({"chosen": "text"}, "'chosen' is no list of messages"),
        ({"prompt": []}, "'prompt' is no list of messages"),
        ({"rejected": [{"role": "assistant", "content": " "}]}, "'rejected' is no list of messages"),
        ({"rejected": [{"content": "x"}]}, "'rejected' is no list of messages"),
        ({"rejected": [{"role": "assistant", "content": "y y"}]}, "chosen and rejected are the same"),
    ],
)
def test_preferences_that_cannot_be(tmp_path, change, message):
    folder = folder_of(tmp_path)
    (row,) = read_preferences(folder)
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | change) + "\n")
    with pytest.raises(InputError, match=rf"broken.jsonl, line 2: {message}"):
        read_preferences(path)


def test_no_preferences(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no preferences"):
        read_preferences(tmp_path / "none.jsonl")
