"""An LLM's order of a row's documents."""

import pytest
from fake_llm_server import FakeServer, Reply
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.cli import main
from expandr_ir.errors import InputError
from expandr_ir.io.files import read_jsonl, write_jsonl
from expandr_ir.io.manifest import read_manifest
from expandr_ir.train.align.order import read_order, reordered, shown_order


@pytest.mark.parametrize(
    ("reply", "places"),
    [
        ("[2] > [3] > [1]", [1, 2, 0]),
        ("Sure: [3] > [3] > [1].", [2, 0]),
        ("2, 1, 3", [1, 0, 2]),
        ("the order of the 3 passages is [1]", [0]),
        ("[4] > [0] > [2]", [1]),
        ("[99999999999999999999]", []),
        ("I cannot say", []),
        ("", []),
    ],
)
def test_read_order(reply, places):
    assert read_order(reply, 3) == places


@settings(deadline=None)
@given(st.permutations(range(7)))
def test_a_written_order_is_read_back(order):
    assert read_order(" > ".join(f"[{place + 1}]" for place in order), 7) == list(order)


def test_what_stands_beside_the_negatives_moves_with_them():
    row = {"query": "q", "positives": ["p"], "negatives": list("abcd"), "negative_ids": list("ABCD"), "negative_scores": [4, 3, 2, 1]}  # fmt: skip  # noqa: E501
    moved = reordered(row, [2, 0], shown=3)
    assert moved["negatives"] == ["c", "a", "b", "d"]
    assert moved["negative_ids"] == ["C", "A", "B", "D"]
    assert moved["negative_scores"] == [2, 4, 3, 1]
    assert row["negatives"] == list("abcd")
    with pytest.raises(InputError, match="4 negatives and 1 negative_ids"):
        reordered(row | {"negative_ids": ["A"]}, [1], shown=2)
    assert reordered({"query": "q", "positives": ["p"], "negative": "n"}, [0], shown=1)["negative"] == "n"


def test_documents_are_shown_in_an_order_of_each_row():
    orders = [tuple(shown_order(f"r{number}", 4, 42)) for number in range(200)]
    assert {sorted(order)[3] for order in orders} == {3}
    first = [order[0] for order in orders].count(0)
    assert 30 < first < 70  # a quarter of 200
    assert orders == [tuple(shown_order(f"r{number}", 4, 42)) for number in range(200)]


ROWS = [
    {"row_id": "good", "query": "good", "positives": ["w9 best"], "negatives": ["w1", "w5", "w3", "w7"],
     "negative_ids": ["1", "5", "3", "7"]},
    {"row_id": "part", "query": "part", "positives": ["w2"], "negatives": ["w1", "w5"]},
    {"row_id": "mute", "query": "mute", "positives": ["w2"], "negatives": ["w1", "w5"]},
    {"row_id": "fail", "query": "fail", "positives": ["w2"], "negatives": ["w1", "w5"]},
    {"row_id": "none", "query": "none", "positives": ["w2"], "negatives": []},
]  # fmt: skip


def behave(_, body):
    """Puts passages in the falling order of their digits; each query misbehaves in its own way."""
    text = body["messages"][-1]["content"]
    query = text.rsplit("Query: ", 1)[1].split()[0]
    if query == "fail":
        return Reply(status=400)
    shown = [(int(line.split("w")[1][0]), line[: line.index("]") + 1]) for line in text.splitlines() if "] w" in line]
    order = [mark for _, mark in sorted(shown, reverse=True)]
    return Reply(texts=({"good": " > ".join(order), "part": order[0], "mute": "no"}[query],))


def order(server, tmp_path, *more):
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, ROWS)
    argv = ["train", "order", "--rows", str(rows), "--generator", "api:m", "--generator.api.base_url", server.url]
    argv += ["--store", str(tmp_path / "store.sqlite"), "--output", str(tmp_path / "ordered.jsonl")]
    return main([*argv, *more])


def test_rows_in_the_llms_order(tmp_path):
    with FakeServer(behave) as server:
        assert order(server, tmp_path) == 7  # one reply failed
        assert {body["temperature"] for body in server.bodies} == {0.0}
    ordered = [row for _, row in read_jsonl(tmp_path / "ordered.jsonl")]
    assert [row["row_id"] for row in ordered] == [row["row_id"] for row in ROWS]
    assert ordered[0]["negatives"] == ["w7", "w5", "w3", "w1"]
    assert ordered[0]["negative_ids"] == ["7", "5", "3", "1"]
    assert ordered[1]["negatives"] == ["w5", "w1"]  # only w5 was named
    assert ordered[2:] == ROWS[2:]
    counts = read_manifest(tmp_path / "ordered.jsonl").counts
    wanted = {"rows": 5, "ordered": 2, "positive_first": 1, "incomplete": 1, "unreadable": 1, "failed": 1}
    assert {name: counts[name] for name in wanted} == wanted
    assert counts["without_negatives"] == 1


def test_only_the_first_negatives_are_shown(tmp_path):
    with FakeServer(behave) as server:
        assert order(server, tmp_path, "--negatives", "2", "--max-words", "1") == 7
        assert all("best" not in body["messages"][-1]["content"].split("Query:")[0] for body in server.bodies)
    first = next(row for _, row in read_jsonl(tmp_path / "ordered.jsonl"))
    assert first["negatives"] == ["w5", "w1", "w3", "w7"]


def test_what_does_not_fit(tmp_path, capsys):
    with FakeServer(behave) as server:
        assert order(server, tmp_path, "--prompt", "passage") == 2
        assert "expected: {topic} and {passages}" in capsys.readouterr().err.lower()
        assert order(server, tmp_path, "--rows", str(tmp_path / "nowhere.jsonl")) == 4
    assert server.bodies == []
