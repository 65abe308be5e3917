"""Splits by the queries' hashes: stable, disjoint, counted."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.io.manifest import read_manifest
from expandr_ir.train.data.rows import TrainingRow, all_rows, normalized, read_rows, row_json
from expandr_ir.train.data.split import SplitOptions, parse_shares, part_of, split, subsample

SHARES = {"dpo": 0.5, "retriever": 0.4, "dev": 0.1}


def rows(count, start=0):
    return [TrainingRow(str(n), f"query {n}", (f"positive {n}",), ()) for n in range(start, start + count)]


def write_split(rows, shares, seed, folder, **more):
    """The result of a split of these rows."""
    source = folder.with_suffix(".jsonl")
    source.write_text("".join(json.dumps(row_json(row)) + "\n" for row in rows))
    parts = [f"{name}={share}" for name, share in shares.items()]
    return split(SplitOptions(parts=parts, rows=[str(source)], seed=seed, output=str(folder), **more))


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
    counts = write_split(rows(4000), SHARES, 1, tmp_path / "out")
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
    counts = write_split(rows(400), {"a": 0.25}, 1, tmp_path / "out")
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


def test_the_verb_writes_a_manifest_beside_each_part(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps(row_json(row)) + "\n" for row in [*rows(40), *rows(3)]))
    options = SplitOptions(parts=["a=.5", "b=.25"], rows=[str(source)], output=str(tmp_path))
    with pytest.raises(InputError, match=r"a.jsonl is also read"):
        split(options)
    result = split(replace(options, output=str(tmp_path / "out")))
    for name in ("a", "b"):
        manifest = read_manifest(tmp_path / "out" / f"{name}.jsonl")
        assert manifest.describes(tmp_path / "out" / f"{name}.jsonl")
        assert manifest.counts["rows"] == result.parts[name] == len(queries(tmp_path / "out", name))
        assert manifest.counts["source_duplicates"] == 3
        assert manifest.details["share"] == {"a": 0.5, "b": 0.25}[name]
        assert manifest.seeds == {"split": 42}
    assert str(result).endswith(f"43 rows of 40 queries, 3 duplicates, {result.left_out} in no part")


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
        write_split(some, SHARES, 1, tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "out.jsonl"]


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
