"""Splits by the queries' hashes: stable, disjoint, counted."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.io.manifest import read_manifest
from expandr_ir.train.data.rows import TrainingRow, all_rows, normalized, read_rows, row_json
from expandr_ir.train.data.split import SplitOptions, parse_shares, part_of, split, subsample

SHARES = {"dpo": 0.5, "retriever": 0.4, "dev": 0.1}


def rows(count):
    return [TrainingRow(str(n), f"query {n}", (f"positive {n}",), ()) for n in range(count)]


def write_split(rows, folder, shares=SHARES, seed=1, **more):
    """The figures of a split of these rows, and the queries of each part."""
    source = folder.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row_json(row)) + "\n" for row in rows))
    parts = [f"{name}={share}" for name, share in shares.items()]
    summary = split(SplitOptions(parts=parts, rows=[str(source)], seed=seed, output=str(folder), **more))
    assert summary.path == folder
    queries = {name: [row.query for row in read_rows(folder / f"{name}.jsonl")] for name in shares}
    for name in shares:
        assert summary.figures[f"{name}.jsonl"]["rows"] == len(queries[name])
    return summary.figures, queries


def test_the_parts_are_stable_under_order_and_more_rows(tmp_path):
    many = rows(900)
    _, few_queries = write_split(many[:300], tmp_path / "few")
    _, many_queries = write_split(reversed(many), tmp_path / "many")
    _, other_queries = write_split(many[:300], tmp_path / "other", seed=2)
    for name in SHARES:
        assert [query for query in many_queries[name] if int(query.split()[1]) < 300] == few_queries[name][::-1]
        assert other_queries[name] != few_queries[name]


def test_shares_are_met_and_counted(tmp_path):
    figures, queries = write_split(rows(4000), tmp_path / "out")
    for name, share in SHARES.items():  # five standard deviations of a binomial
        assert abs(len(queries[name]) - 4000 * share) < 5 * (4000 * share * (1 - share)) ** 0.5
    totals = {name: count for name, count in figures.items() if not name.endswith(".jsonl")}
    assert totals == {"rows": 4000, "queries": 4000, "duplicates": 0, "left_out": 0}


def test_duplicates_stay_with_their_query_and_are_counted(tmp_path):
    doubled = [*rows(100), *(TrainingRow(f"x{n}", f"QUERY   {n}", ("other",), ()) for n in range(40))]
    figures, queries = write_split(doubled, tmp_path / "kept")
    assert (figures["rows"], figures["queries"], figures["duplicates"]) == (140, 100, 40)
    parts = [set(map(normalized, queries[name])) for name in SHARES]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    _, distinct = write_split(doubled, tmp_path / "dropped", duplicates="drop")
    assert {name: len(part) for name, part in distinct.items()} == {
        name: figures[f"{name}.jsonl"]["queries"] for name in SHARES
    }


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
        (["a=.5", "a=.5"], "each once"),
        (["a=.7", "b=.7"], "add up to 1.4"),
        (["../a=.5"], "a name of letters"),
        (["=.5"], "a name of letters"),
    ],
)
def test_shares_that_cannot_be(parts, message):
    with pytest.raises(InputError, match=message):
        parse_shares(parts)


def test_three_tenths_and_seven_add_up():
    assert parse_shares(["a=.1", "b=2e-1", "c=.7"]) == {"a": 0.1, "b": 0.2, "c": 0.7}


def test_a_manifest_stands_beside_each_part_of_some_rows(tmp_path):
    shares = {"a": 0.5, "b": 0.25}
    figures, queries = write_split([*rows(40), *rows(3)], tmp_path / "out", shares)
    assert 0 < figures["left_out"] == 43 - sum(map(len, queries.values()))
    for name, share in shares.items():
        manifest = read_manifest(tmp_path / "out" / f"{name}.jsonl")
        assert manifest.describes(tmp_path / "out" / f"{name}.jsonl")
        assert manifest.counts["rows"] == len(queries[name])
        assert manifest.counts["source_duplicates"] == 3
        assert manifest.details["share"] == share
        assert manifest.seeds == {"split": 1}
    part = str(tmp_path / "out" / "a.jsonl")
    with pytest.raises(InputError, match=r"a.jsonl is also read"):
        split(SplitOptions(parts=["a=.5"], rows=[part], output=str(tmp_path / "out")))


@pytest.mark.parametrize(
    ("some", "message"),
    [
        ([], "has none of the 0 rows"),
        (rows(1), "has none of the 1 rows"),
        ([*rows(50), TrainingRow("0", "another", ("p",), ())], "two queries have the id '0'"),
    ],
)
def test_faults_leave_nothing_behind(some, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_split(some, tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "out.jsonl"]


def test_several_sources_prefix_their_ids(tmp_path):
    sources = [str(tmp_path / f"{name}.jsonl") for name in ("nq", "squad")]
    for source in sources:
        Path(source).write_text(json.dumps({"query": source, "positive": "p", "id": "1"}) + "\n")
    assert [row.row_id for row in all_rows(sources, None)] == ["nq:1", "squad:1"]
    assert [row.row_id for row in all_rows(sources[:1], None)] == ["1"]


def test_a_sample_is_the_same_whatever_the_order():
    some = rows(100)
    sample = subsample(some, 20, 5)
    assert len(sample) == 20
    assert sample == [row for row in some if row in sample]
    assert subsample(some[::-1], 20, 5) == sample[::-1]
    assert set(subsample(some, 10, 5)) < set(sample)
    assert subsample(some, 20, 6) != sample
    assert subsample(some, None, 5) == subsample(some, 1000, 5) == some
