"""The Python API: its documented examples run, and it gives what the parts give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from expandr_ir import api
from expandr_ir.errors import ExpandrError

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "store.sqlite"))


def example(page: str, number: int = 0) -> str:
    return re.findall(r"```python\n(.*?)```", (CHECKOUT / page).read_text(encoding="utf-8"), re.DOTALL)[number]


def tiny(folder: Path) -> api.Collection:
    (folder / "qrels").mkdir(parents=True)
    texts = {"d1": "fleas jump", "d2": "dogs bark at fleas", "d3": "cats sleep"}
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": k, "text": v}) + "\n" for k, v in texts.items()))
    asked = {"t1": "what jumps", "t2": "who sleeps"}
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": k, "text": v}) + "\n" for k, v in asked.items()))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nt1\td1\t1\nt2\td3\t1\n")
    return api.load_collection(folder)


def replayed(folder: Path, **texts: str) -> str:
    path = folder / "recorded.jsonl"
    path.write_text("".join(json.dumps({"topic_id": one, "text": text}) + "\n" for one, text in texts.items()))
    return f"replay:{path}"


def test_everything_that_is_offered_is_there():
    assert all(callable(getattr(api, name)) for name in api.__all__)


@pytest.mark.java
@pytest.mark.parametrize(("page", "number"), [("docs/python.md", 0), ("docs/python.md", 1), ("README.md", 0)])
def test_documented_examples_run(page, number, capsys):
    names: dict[str, object] = {}
    exec(compile(example(page, number), page, "exec"), names)
    if number == 0:
        assert set(names["comparison"].runs[0].scores.means) == {"nDCG@10", "R@100"}
    else:
        assert 0 < names["run"]["d001"].scores[-1] <= names["run"]["d001"].scores[0]


def test_the_example_of_own_settings_is_well_formed():
    code = example("docs/python.md", 2).rpartition("expansions =")[0]
    names: dict[str, object] = {}
    exec(compile(code, "docs/python.md", "exec"), names)
    assert names["generator"].decoding.seed == 1


@pytest.mark.java
def test_expansions_find_what_the_topic_alone_does_not(tmp_path):
    collection = tiny(tmp_path / "tiny")
    expansions = api.expand(collection, generator=replayed(tmp_path, t1="fleas jump", t2="cats sleep"))
    assert {one: [e.text for e in topic.expansions] for one, topic in expansions.items()} == {
        "t1": ["fleas jump"],
        "t2": ["cats sleep"],
    }
    plain, expanded = api.search(collection), api.search(collection, expansions, aggregation="append", hits=2)
    assert plain["t1"].doc_ids == ["d1"]  # "jumps" is stemmed
    assert expanded["t1"].doc_ids == ["d1", "d2"]
    comparison = api.compare(plain, {"more": expanded}, collection.qrels(), ["R@1"])
    assert comparison.runs[0].outcomes[0].mean == 1.0
    assert "R@1" in api.render(comparison, "text")


def test_topics_without_a_text_are_left_out_and_said(tmp_path, caplog):
    found = api.expand(tiny(tmp_path / "tiny"), generator=replayed(tmp_path, t1="fleas"))
    assert list(found) == ["t1"]
    assert "1 of 2 topics have none and are left out" in caplog.text
    assert "has no sample 0 of topic 't2'" in caplog.text


def test_no_text_at_all_is_an_error(tmp_path):
    with pytest.raises(ExpandrError, match="none of the 2 topics got an expansion; topic t1: "):
        api.expand(tiny(tmp_path / "tiny"), generator=replayed(tmp_path, t9="x"))


def test_a_run_goes_to_a_file_and_back(tmp_path):
    run = {"t1": api.read_run(_run(tmp_path))["t1"]}
    api.write_run(tmp_path / "again.run", run, "x")
    assert api.read_run(tmp_path / "again.run") == run


def _run(folder: Path) -> Path:
    path = folder / "a.run"
    path.write_text("t1 Q0 d1 1 2.5 x\nt1 Q0 d2 2 1.5 x\n")
    return path
