"""Rows with their expansions: what is refused, dropped, counted and drawn."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.train.data.rows import TrainingRow
from expandr_ir.train.retriever.data import RetrieverRow, draw, hold_back, retriever_rows
from expandr_ir.train.retriever.options import RowOptions

ROWS = [TrainingRow("a", "one", ("p",), ("n", "m")), TrainingRow("b", "two", ("p", "r"), ("n",))]


@pytest.fixture
def expansions(tmp_path):
    def write(**texts):
        path = tmp_path / "expansions.jsonl"
        lines = [{"topic_id": row_id, "texts": list(some)} for row_id, some in texts.items()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return str(path)

    return write


def test_rows_get_their_expansions_by_id(expansions):
    rows, counts = retriever_rows(ROWS, RowOptions("rows", expansions=expansions(b=["x", ""], a=["y"]), negatives=2))
    assert [(row.row_id, row.expansions) for row in rows] == [("a", ("y",)), ("b", ("x", ""))]
    wanted = {
        "rows": 2,
        "repeated_queries": 0,
        "without_expansion": 0,
        "empty_expansions": 1,
        "positives_taken_from_negatives": 0,
    }
    assert counts == wanted | {"rows_with_fewer_negatives": 1}


def test_a_row_without_expansion(expansions):
    path = expansions(a=["y"])
    with pytest.raises(InputError, match=r"1 of 2 rows: b\n(.*\n)*Try: --data.without-expansion alone"):
        retriever_rows(ROWS, RowOptions("rows", expansions=path))
    alone, counts = retriever_rows(ROWS, RowOptions("rows", expansions=path, without_expansion="alone"))
    assert [row.expansions for row in alone] == [("y",), ()]
    assert counts["without_expansion"] == 1
    dropped, counts = retriever_rows(ROWS, RowOptions("rows", expansions=path, without_expansion="drop"))
    assert [row.row_id for row in dropped] == ["a"]
    assert counts["dropped_without_expansion"] == 1


def test_expansions_of_another_query_are_refused(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"topic_id": "a", "query": "three", "text": "x"}\n')
    with pytest.raises(InputError, match="'three'"):
        retriever_rows(ROWS, RowOptions("rows", expansions=str(path)))


def test_a_positive_among_the_negatives():
    rows = [TrainingRow("a", "one", ("p",), ("n", "p", "m"))]
    with pytest.raises(InputError, match=r"row 'a': a positive is among the negatives: 'p'"):
        retriever_rows(rows, RowOptions("rows"))
    (row,), counts = retriever_rows(rows, RowOptions("rows", positive_among_negatives="drop"))
    assert row.row.negatives == ("n", "m")
    assert counts["positives_taken_from_negatives"] == 1


def test_no_rows_and_repeated_queries():
    with pytest.raises(InputError, match="no row to train on"):
        retriever_rows([], RowOptions("rows"))
    twice, counts = retriever_rows([ROWS[0], TrainingRow("c", " ONE", ("x",), ())], RowOptions("rows"))
    assert (len(twice), counts["repeated_queries"]) == (1, 1)


ROW = RetrieverRow(TrainingRow("id", "q", ("p", "r", "s"), tuple("nopqr")), ("x", "y"))


def test_each_positive_and_each_expansion_has_its_turn():
    options = RowOptions("rows", negatives=2, draw_expansion=True, draw_negatives=True)
    epochs = [draw(ROW, options, epoch, seed=3) for epoch in range(6)]
    assert Counter(positive for positive, _, _ in epochs) == {"p": 2, "r": 2, "s": 2}
    assert Counter(text for _, _, [text] in epochs) == {"x": 3, "y": 3}
    assert all(negatives == sorted(negatives) and len(set(negatives)) == 2 for _, negatives, _ in epochs)
    assert len({tuple(negatives) for _, negatives, _ in epochs}) > 1
    assert epochs == [draw(ROW, options, epoch, seed=3) for epoch in range(6)]


def test_nothing_is_drawn_unless_asked():
    assert draw(ROW, RowOptions("rows", negatives=3), 4, 0)[1:] == (["n", "o", "p"], ["x", "y"])
    assert draw(ROW, RowOptions("rows", negatives=9, draw_negatives=True), 4, 0)[1] == list("nopqr")


def test_expansions_are_dropped_in_their_share_of_the_turns():
    rows = [RetrieverRow(TrainingRow(str(at), "q", ("p",), ()), ("x",)) for at in range(500)]
    options = RowOptions("rows", drop_expansions=0.25)
    turns = [[draw(row, options, epoch, 3)[2] for row in rows] for epoch in (0, 1)]
    assert all(texts in ([], ["x"]) for texts in turns[0])
    assert 0.2 < sum(not texts for texts in turns[0]) / len(rows) < 0.3
    assert turns[0] != turns[1]
    assert turns[0] == [draw(row, options, 0, 3)[2] for row in rows]


@given(st.sets(st.text("abcdef0123456789", min_size=1), min_size=1), st.floats(0, 1, exclude_max=True))
def test_what_is_held_back_follows_from_the_id_alone(ids, share):
    rows = [RetrieverRow(TrainingRow(one, one, ("p",), ())) for one in sorted(ids)]
    kept, back = hold_back(rows, share)
    assert sorted(row.row_id for row in [*kept, *back]) == sorted(ids)
    for row in rows:
        assert hold_back([row], share)[1] == ([row] if row in back else [])


def test_about_the_share_is_hold_back():
    rows = [RetrieverRow(TrainingRow(str(at), "q", ("p",), ())) for at in range(2000)]
    assert 150 < len(hold_back(rows, 0.1)[1]) < 250
