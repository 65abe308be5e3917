"""Rows with their expansions: what is refused, dropped, counted and drawn."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retriever_fixtures import row

from expandr_ir.errors import InputError
from expandr_ir.train.data.rows import TrainingRow
from expandr_ir.train.retriever.data import draw, hold_back, retriever_rows
from expandr_ir.train.retriever.options import RowOptions

ROWS = [TrainingRow("a", "one", ("p",), ("n", "m")), TrainingRow("b", "two", ("p", "r"), ("n",))]


@pytest.fixture
def options(tmp_path):
    """Options of rows whose expansions are these."""

    def write(expansions, **more):
        path = tmp_path / "expansions.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in expansions), encoding="utf-8")
        return RowOptions("rows", expansions=str(path), **more)

    return write


def test_rows_get_their_expansions_by_id(options):
    expansions = [{"topic_id": "b", "texts": ["x", ""]}, {"topic_id": "a", "texts": ["y"]}]
    rows, counts = retriever_rows(ROWS, options(expansions, negatives=2))
    assert [(row.row_id, row.expansions) for row in rows] == [("a", ("y",)), ("b", ("x", ""))]
    assert {name: count for name, count in counts.items() if count} == {
        "rows": 2,
        "empty_expansions": 1,
        "rows_with_fewer_negatives": 1,
    }


def test_a_row_without_expansion(options):
    some = [{"topic_id": "a", "texts": ["y"]}]
    with pytest.raises(InputError, match=r"1 of 2 rows: b\n(.*\n)*Try: --data.without-expansion alone"):
        retriever_rows(ROWS, options(some))
    alone, counts = retriever_rows(ROWS, options(some, without_expansion="alone"))
    assert [row.expansions for row in alone] == [("y",), ()]
    assert counts["without_expansion"] == 1
    dropped, counts = retriever_rows(ROWS, options(some, without_expansion="drop"))
    assert [row.row_id for row in dropped] == ["a"]
    assert counts["dropped_without_expansion"] == 1


def test_expansions_of_another_query_are_refused(options):
    with pytest.raises(InputError, match="'three'"):
        retriever_rows(ROWS, options([{"topic_id": "a", "query": "three", "text": "x"}]))


def test_rows_that_do_not_fit():
    mixed = [TrainingRow("a", "one", ("p",), ("n", "p", "m"))]
    with pytest.raises(InputError, match=r"row 'a': a positive is among the negatives: 'p'"):
        retriever_rows(mixed, RowOptions("rows"))
    (separate,), counts = retriever_rows(mixed, RowOptions("rows", positive_among_negatives="drop"))
    assert separate.row.negatives == ("n", "m")
    assert counts["positives_taken_from_negatives"] == 1
    with pytest.raises(InputError, match="no row to train on"):
        retriever_rows([], RowOptions("rows"))
    twice, counts = retriever_rows([ROWS[0], TrainingRow("c", " ONE", ("x",), ())], RowOptions("rows"))
    assert (len(twice), counts["repeated_queries"]) == (1, 1)


ROW = row("id", "q", "prs", "nopqr", "xy")


def test_each_positive_and_each_expansion_has_its_turn():
    options = RowOptions("rows", negatives=2, draw_expansion=True, draw_negatives=True)
    epochs = [draw(ROW, options, epoch, seed=3) for epoch in range(6)]
    assert Counter(positive for positive, _, _ in epochs) == {"p": 2, "r": 2, "s": 2}
    assert Counter(text for _, _, [text] in epochs) == {"x": 3, "y": 3}
    assert all(negatives == sorted(negatives) and len(set(negatives)) == 2 for _, negatives, _ in epochs)
    assert len({tuple(negatives) for _, negatives, _ in epochs}) > 1
    assert epochs == [draw(ROW, options, epoch, seed=3) for epoch in range(6)]
    assert draw(ROW, RowOptions("rows", negatives=3), 4, 0)[1:] == (["n", "o", "p"], ["x", "y"])
    assert draw(ROW, RowOptions("rows", negatives=9, draw_negatives=True), 4, 0)[1] == list("nopqr")


def test_expansions_are_dropped_in_their_share_of_the_turns():
    rows = [row(str(at), "q", "p", (), "x") for at in range(500)]
    options = RowOptions("rows", drop_expansions=0.25)
    turns = [[draw(row, options, epoch, 3)[2] for row in rows] for epoch in (0, 1)]
    assert all(texts in ([], ["x"]) for texts in turns[0])
    assert 0.2 < sum(not texts for texts in turns[0]) / len(rows) < 0.3
    assert turns[0] != turns[1]


@given(st.sets(st.text("abcdef0123456789", min_size=1), min_size=1), st.floats(0, 1, exclude_max=True))
def test_what_is_held_back_follows_from_the_id_alone(ids, share):
    rows = [row(row_id, row_id, "p") for row_id in sorted(ids)]
    training, dev = hold_back(rows, share)
    assert sorted(row.row_id for row in [*training, *dev]) == sorted(ids)
    for row_alone in rows:
        assert hold_back([row_alone], share)[1] == ([row_alone] if row_alone in dev else [])


def test_about_the_share_is_held_back():
    assert 150 < len(hold_back([row(str(at), "q", "p") for at in range(2000)], 0.1)[1]) < 250
