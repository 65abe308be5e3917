"""Splits by the queries' hashes: stable, disjoint, counted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.train.rows import TrainingRow, normalized, read_rows
from expandr_ir.train.split import all_rows, parse_shares, part_of, subsample, write_split

SHARES = {"dpo": 0.5, "retriever": 0.4, "dev": 0.1}


def rows(count, start=0):
    return [TrainingRow(str(n), f"query {n}", (f"positive {n}",), ()) for n in range(start, start + count)]


def queries(folder, name):
    return [row.query for row in read_rows(folder / f"{name}.jsonl")]


def test_the_parts_are_stable_under_order_and_more_rows(tmp_path):
    few, many = rows(300), rows(900)
    write_split(few, SHARES, 1, tmp_path / "few")
    write_split(reversed(many), SHARES, 1, tmp_path / "many")
    for name in SHARES:
        kept = [query for query in queries(tmp_path / "many", name) if int(query.split()[1]) < 300]
        assert kept == queries(tmp_path / "few", name)[::-1]


def test_shares_are_met_and_counted(tmp_path):
    counts = write_split(rows(4000), SHARES, 1, tmp_path)
    assert sum(counts.parts.values()) == counts.rows == counts.queries == 4000
    for name, share in SHARES.items():  # five standard deviations of a binomial
        assert abs(counts.parts[name] - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5
    assert (counts.duplicates, counts.left_out) == (0, 0)


def test_another_seed_is_another_split(tmp_path):
    write_split(rows(200), SHARES, 1, tmp_path / "1")
    write_split(rows(200), SHARES, 2, tmp_path / "2")
    assert queries(tmp_path / "1", "dpo") != queries(tmp_path / "2", "dpo")


def test_duplicates_stay_with_their_query_and_are_counted(tmp_path):
    doubled = [*rows(100), *(TrainingRow(f"x{n}", f"QUERY   {n}", ("other",), ()) for n in range(40))]
    counts = write_split(doubled, SHARES, 1, tmp_path / "kept")
    assert (counts.rows, counts.queries, counts.duplicates) == (140, 100, 40)
    parts = [{normalized(query) for query in queries(tmp_path / "kept", name)} for name in SHARES]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    dropped = write_split(doubled, SHARES, 1, tmp_path / "dropped", duplicates="drop")
    assert sum(dropped.parts.values()) == 100
    assert dropped.part_queries == counts.part_queries


def test_shares_below_one_leave_rows_out(tmp_path):
    counts = write_split(rows(400), {"a": 0.25}, 1, tmp_path)
    assert counts.left_out + counts.parts["a"] == 400
    assert 60 < counts.parts["a"] < 140


@given(st.text(min_size=1), st.integers(0, 5))
def test_a_query_is_in_one_part_whatever_its_spelling(query, seed):
    part = part_of(query, SHARES, seed)
    assert part in SHARES
    assert part_of(f"  {query} ", SHARES, seed) == part


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no part is named"),
        (["dpo"], "part 'dpo'"),
        (["dpo=x"], "part 'dpo=x'"),
        (["dpo=0"], "above 0"),
        (["dpo=1.5"], "at most 1"),
        (["dpo=nan"], "part 'dpo=nan'"),
        (["a=.5", "a=.5"], "twice"),
        (["a=.7", "b=.7"], "add up to 1.4"),
        (["../a=.5"], "a name of letters"),
        (["=.5"], "a name of letters"),
    ],
)
def test_shares_that_cannot_be(parts, message):
    with pytest.raises(InputError, match=message):
        parse_shares(parts)


def test_three_tenths_and_seven_add_up():
    assert parse_shares(["a=.1", "b=.2", "c=.7"]) == {"a": 0.1, "b": 0.2, "c": 0.7}


def test_faults_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        write_split([], SHARES, 1, tmp_path)
    with pytest.raises(InputError, match="has none of the 1 rows"):
        write_split(rows(1), SHARES, 1, tmp_path)
    with pytest.raises(InputError, match="two queries have the id '0'"):
        write_split([*rows(50), TrainingRow("0", "another", ("p",), ())], SHARES, 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_sources_prefix_their_ids(tmp_path):
    for name in ("nq", "squad"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"query": name, "positive": "p", "id": "1"}) + "\n")
    sources = [str(tmp_path / f"{name}.jsonl") for name in ("nq", "squad")]
    assert [row.row_id for row in all_rows(sources, None)] == ["nq:1", "squad:1"]
    assert [row.row_id for row in all_rows(sources[:1], None)] == ["1"]


def test_a_sample_is_the_same_whatever_the_order():
    some = rows(100)
    picked = subsample(some, 20, 5)
    assert len(picked) == 20
    assert picked == [row for row in some if row in picked]
    assert subsample(some[::-1], 20, 5) == picked[::-1]
    assert set(subsample(some, 10, 5)) < set(picked)
    assert subsample(some, 20, 6) != picked
    assert subsample(some, None, 5) == subsample(some, 1000, 5) == some
