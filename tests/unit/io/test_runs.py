"""TREC runs: what is written, what reads back, what is refused, and how trec_eval orders it."""

from __future__ import annotations

import gzip
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandr_ir.errors import InputError
from expandr_ir.io import runs as run_files
from expandr_ir.io.runs import as_trec_eval_ranks, read_run, remove_own_document, run_names, write_run
from expandr_ir.records import Hits, Rankings

AWKWARD = ["007", "7", "Q0", "a\u00a0b", "é", "\u3000x", "1e5", "nan", "#", "<dbpedia:Ælfric>"]


def test_write_run_writes_six_columns_in_order(tmp_path: Path) -> None:
    write_run(tmp_path / "a.trec", {"007": Hits(["d2", "d1"], [2.5, 1 / 3]), "1": Hits(["Q0"], [-0.25])}, "mine")
    assert (tmp_path / "a.trec").read_text() == (
        "007 Q0 d2 1 2.500000 mine\n007 Q0 d1 2 0.333333 mine\n1 Q0 Q0 1 -0.250000 mine\n"
    )
    write_run(tmp_path / "a.trec.gz", {"1": Hits(["d"], [1.0])}, "t")
    assert gzip.decompress((tmp_path / "a.trec.gz").read_bytes()) == b"1 Q0 d 1 1.000000 t\n"
    assert read_run(tmp_path / "a.trec.gz") == {"1": Hits(["d"], [1.0])}


@st.composite
def runs(draw: st.DrawFn) -> Rankings:
    word = st.sampled_from(AWKWARD) | st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters=" \ufeff"), min_size=1
    )
    ids = draw(st.lists(word, min_size=1, max_size=4, unique=True))
    run = {}
    for topic_id in ids:
        doc_ids = draw(st.lists(word, min_size=1, max_size=6, unique=True))
        millionths = draw(st.lists(st.integers(-(10**8), 10**8), min_size=len(doc_ids), max_size=len(doc_ids)))
        run[topic_id] = Hits(doc_ids, [value / 1e6 for value in sorted(millionths, reverse=True)])
    return run


@settings(max_examples=60)
@given(run=runs())
def test_a_written_run_reads_back_as_it_was(run: Rankings, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("runs") / "a.trec"
    write_run(path, run, "tag")
    back = read_run(path)
    assert list(back) == list(run)
    assert back == run
    assert run_files._plainly(path, None) in (run, None)
    assert run_files._plainly(path, set()) is None


def test_the_order_of_equal_scores_survives(tmp_path: Path) -> None:
    run = {"1": Hits(["b", "c", "a"], [1.0000001, 1.0000002 - 1e-7, 1.0])}
    write_run(tmp_path / "a.trec", run, "t")
    assert read_run(tmp_path / "a.trec")["1"] == Hits(["b", "c", "a"], [1.0, 1.0, 1.0])


def test_the_score_decides_and_the_rank_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    path.write_text("1 Q0 low 1 0.5 t\n2 Q0 x 1 1 t\n1 0 high 2 7e1 t\n1\tQ0\tmid\tnone\t2\tt\n")
    assert read_run(path) == {"1": Hits(["high", "mid", "low"], [70.0, 2.0, 0.5]), "2": Hits(["x"], [1.0])}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 Q0 d 2 1.0", r"line 2: 5 columns\nExpected: 6 columns: topic_id Q0 doc_id rank score tag"),
        ("1 Q0 d 2 1.0 my tag", "line 2: 7 columns"),
        ("1 Q0 d 2 nan t", r"line 2: the score is 'nan'\nExpected: a finite number"),
        ("1 Q0 d 2 -inf t", "line 2: the score is '-inf'"),
        ("1 Q0 d 2 high t", "line 2: the score is 'high'"),
        ("1 Q0 c 2 0.5 t", "line 2: document 'c' a second time for topic '1'"),
        ("9 Q0 c 1 0.5 t", "line 2: topic '9' is not among the collection's topics"),
    ],
)
def test_faults_name_file_and_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.trec"
    path.write_text(f"1 Q0 c 1 1.0 t\n{line}\n")
    with pytest.raises(InputError, match=rf"a\.trec, {message}"):
        read_run(path, topics={"1", "2"})
    path.write_text("\n")
    with pytest.raises(InputError, match=r"a\.trec holds no line"):
        read_run(path)


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"1": Hits(["a b"], [1.0])}, "t", "topic '1': a document id is 'a b'"),
        ({"1": Hits(["", "a b"], [2.0, 1.0])}, "t", "topic '1': a document id is ''"),
        ({"1\n": Hits(["a"], [1.0])}, "t", r"a topic id is '1\\n'"),
        ({"1": Hits(["a"], [1.0])}, "my tag", "the tag is 'my tag'"),
        ({"1": Hits(["a", "a"], [2.0, 1.0])}, "t", "topic '1': a document occurs twice"),
        ({"1": Hits(["a"], [math.nan])}, "t", "topic '1': a score is not finite"),
        ({"1": Hits(["a", "b"], [1.0, 2.0])}, "t", "topic '1': the scores rise"),
    ],
)
def test_write_run_refuses_what_would_not_read_back(run: Rankings, tag: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        write_run(tmp_path / "a.trec", {"0": Hits(["x"], [1.0]), **run}, tag)
    assert list(tmp_path.iterdir()) == []


def test_remove_own_document_drops_the_topic_itself_only() -> None:
    run = {"a": Hits(["b", "a", "c"], [3.0, 2.0, 1.0]), "b": Hits(["a"], [1.0])}
    assert remove_own_document(run) == {"a": Hits(["b", "c"], [3.0, 1.0]), "b": Hits(["a"], [1.0])}
    assert [hit.rank for hit in remove_own_document(run)["a"]] == [1, 2]


@pytest.mark.parametrize(
    ("doc_ids", "scores", "ranked"),
    [
        (["a", "10", "9", "é", "z"], [2.0, 1.0, 1.0, 1.0, 1.0], ["a", "é", "z", "9", "10"]),  # ties by falling id
        # Anserini sets ties 1e-6 apart, in the order of ids; above 16 that is less than 32 bits hold.
        (["a", "b", "c"], [9.1, 9.099999, 9.099998], ["a", "b", "c"]),
        (["a", "b", "c"], [70.1, 70.099999, 70.099998], ["c", "b", "a"]),
    ],
)
def test_ranks_are_trec_evals(doc_ids, scores, ranked) -> None:
    assert as_trec_eval_ranks(Hits(doc_ids, scores)).doc_ids == ranked


def test_run_names_are_file_names_with_folders_where_they_clash(tmp_path: Path) -> None:
    one, two = tmp_path / "x" / "bm25.trec", tmp_path / "y" / "bm25.trec.gz"
    assert run_names([one, tmp_path / "y" / "q2d.run.gz", tmp_path / "a.b.txt"]) == ["bm25", "q2d", "a.b"]
    assert run_names([one, two]) == ["bm25.trec", "bm25.trec.gz"]
    assert run_names([one, two.with_suffix("")]) == ["x/bm25.trec", "y/bm25.trec"]
    assert run_names([Path("plain")]) == ["plain"]
    with pytest.raises(InputError, match=r"bm25\.trec is given twice"):
        run_names([one, tmp_path / "y" / ".." / "x" / "bm25.trec"])


LINE = st.one_of(
    st.builds(
        "{} Q0 {} {} {} tag".format,
        st.sampled_from(["1", "2", "\xe9"]),
        st.integers(0, 9).map("d{}".format),
        st.integers(1, 9),
        st.sampled_from(["3.5", "2", "1e-3", "nan", "x", "1_0"]),
    ),
    st.sampled_from(["", "1 Q0 d1 1 2.0", "1 0 d8 1 2.0 tag", "1\tQ0\td9\t1\t2.0\ttag", "1 Q0 d7 1 2.0 tag extra"]),
)


@given(st.lists(LINE, max_size=8), st.sampled_from(["\n", "\r\n"]), st.sampled_from([5, 40, 1 << 20]))
def test_whole_blocks_read_as_single_lines_do(lines, end, block):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_files, "_BLOCK", block)
        path = Path(folder) / "x.run"
        path.write_bytes(end.join(lines).encode())
        found = run_files._plainly(path, None)
        if found is not None:
            assert found == run_files._line_by_line(path, None)
