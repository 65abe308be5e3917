"""Training rows from files, folders, collections and data sets, and what is wrong with broken ones."""

import gzip
import json

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.topics import read_topics
from expandr_ir.train.data.rows import TrainingRow, distinct_queries, normalized, query_hash, read_rows, row_json


def written(path, *rows):
    text = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q", "positive": "p", "negative": "n"}, (("p",), ("n",))),
        ({"query": "q", "positive": ["p", "r"], "negative": ["n", "m"]}, (("p", "r"), ("n", "m"))),
        ({"query": "q", "pos": ["p"], "neg": []}, (("p",), ())),
        ({"query": "q", "positives": ["p"], "negatives": ["n"]}, (("p",), ("n",))),
        ({"query": "q", "positive": "p"}, (("p",), ())),
        ({"query": "q", "positive": "p", "negative": None}, (("p",), ())),
    ],
)
def test_every_spelling_is_read(tmp_path, row, expected):
    (row_read,) = read_rows(written(tmp_path / "rows.jsonl", row))
    assert (row_read.query, (row_read.positives, row_read.negatives)) == ("q", expected)
    assert row_read.row_id == query_hash("q")[:16]


@pytest.mark.parametrize("name", ["row_id", "query_id", "topic_id", "_id", "id"])
def test_a_row_keeps_its_own_id(tmp_path, name):
    (row_read,) = read_rows(written(tmp_path / "rows.jsonl.gz", {"query": "q", "positive": "p", name: 7}))
    assert row_read.row_id == "7"


def test_what_is_written_is_read_back_and_read_as_topics(tmp_path):
    row = TrainingRow("a:1", "wie spät?", ("p", "r"), ("n",))
    path = written(tmp_path / "rows.jsonl", row_json(row))
    assert list(read_rows(str(path))) == [row]
    assert {key: topic.text for key, topic in read_topics(path).items()} == {"a:1": "wie spät?"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"positive": "p"}, "no field 'query'"),
        ({"query": "", "positive": "p"}, "the query is empty"),
        ({"query": " \t", "positive": "p"}, "the query is empty"),
        ({"query": 5, "positive": "p"}, "'query' is a int"),
        ({"query": ["q"], "positive": "p"}, "'query' is a list"),
        ({"query": "q"}, "no positive"),
        ({"query": "q", "positive": []}, "no positive"),
        ({"query": "q", "positive": None}, "no positive"),
        ({"query": "q", "positive": ""}, "text 1 of 'positive' is empty"),
        ({"query": "q", "positive": ["p", "  "]}, "text 2 of 'positive' is empty"),
        ({"query": "q", "positive": ["p", 3]}, "text 2 of 'positive' is a int"),
        ({"query": "q", "positive": {"text": "p"}}, "'positive' is a dict"),
        ({"query": "q", "positive": "p", "negative": ["n", ""]}, "text 2 of 'negative' is empty"),
        ({"query": "q", "positive": "p", "negative": 3}, "'negative' is a int"),
        ({"query": "q", "positive": "p", "id": ""}, "'id' is empty"),
        ({"query": "q", "positive": "p", "id": 1.5}, "'id' is a float"),
        ({"query": "q \ud800", "positive": "p"}, "the query has half a surrogate pair at character 3"),
        ({"row_id": "a\ud800", "query": "q", "positive": "p"}, "'row_id' has half a surrogate pair at character 2"),
        ({"query": "q", "positive": "\udfff"}, "text 1 of 'positive' has half a surrogate pair at character 1"),
        ("not json\n", "malformed JSON"),
        ('["q", "p"]\n', "a JSON list"),
    ],
)
def test_a_broken_row_is_named_with_file_and_line(tmp_path, row, message):
    path = written(tmp_path / "rows.jsonl", {"query": "fine", "positive": "p"}, row)
    with pytest.raises(InputError) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert message in str(caught.value)


def test_a_folder_of_files_prefixes_ids(tmp_path):
    written(tmp_path / "rows" / "nq.jsonl", {"query": "q", "positive": "p", "id": 0})
    written(tmp_path / "rows" / "squad.jsonl.gz", {"query": "r", "positive": "p", "id": 0})
    assert [row.row_id for row in read_rows(tmp_path / "rows")] == ["nq:0", "squad:0"]


def test_sources_that_are_none(tmp_path):
    with pytest.raises(MissingResourceError, match="is not there"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="which have splits"):
        read_rows(written(tmp_path / "rows.jsonl", {"query": "q", "positive": "p"}), split="train")
    with pytest.raises(InputError, match="is no collection"):
        list(read_rows("nothing-here"))


def beir(folder, qrels):
    written(folder / "corpus.jsonl", *({"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}"} for n in range(4)))
    written(folder / "queries.jsonl", {"_id": "a", "text": "first"}, {"_id": "b", "text": "second"})
    written(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\n", *qrels)
    return folder


def test_a_collection_gives_its_judgements_best_grade_first(tmp_path, caplog):
    folder = beir(tmp_path / "c", ["a\td2\t1\n", "a\td0\t1\n", "a\td3\t2\n", "a\td1\t0\n", "b\td1\t0\n"])
    (row,) = read_rows(folder)
    assert row == TrainingRow("a", "first", ("T3 text 3", "T0 text 0", "T2 text 2"), ())
    assert "1 topics without a relevant document" in caplog.text


def test_a_collection_that_lacks_a_relevant_document(tmp_path):
    with pytest.raises(InputError, match="lacks the documents d9"):
        list(read_rows(beir(tmp_path / "c", ["a\td9\t1\n"])))
    with pytest.raises(InputError, match="no topic has a relevant document"):
        list(read_rows(beir(tmp_path / "e", ["a\td1\t0\n"])))
    with pytest.raises(InputError, match="split"):
        list(read_rows(tmp_path / "c", split="test"))


def test_a_local_data_set(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = f"hub:{tmp_path / 'set'}"
    written(tmp_path / "set" / "train.jsonl", {"query": "q", "positive": "p"}, {"query": "r", "positive": ""})
    rows = read_rows(source)
    assert next(rows) == TrainingRow(query_hash("q")[:16], "q", ("p",), ())
    with pytest.raises(InputError, match="split train, row 2: text 1 of 'positive' is empty"):
        next(rows)
    with pytest.raises(InputError, match="split test"):
        read_rows(source, split="test")
    with pytest.raises(MissingResourceError, match="cannot be loaded"):
        read_rows(f"hub:{tmp_path / 'not-there'}")


def test_equal_queries_are_one(tmp_path):
    rows = [
        TrainingRow("1", "How  long?", ("p",), ()),
        TrainingRow("2", "how long?", ("r",), ()),
        TrainingRow("3", "ＨＯＷ long?", ("s",), ()),
        TrainingRow("4", "how longer?", ("t",), ()),
    ]
    assert normalized("ＨＯＷ  long? ") == "how long?"
    assert distinct_queries(rows) == ([rows[0], rows[3]], 2)
    with pytest.raises(InputError, match="two queries have the id '1'"):
        distinct_queries([rows[0], TrainingRow("1", "another", ("p",), ())])


def test_the_real_rows(test_data):
    from_file = list(read_rows(test_data / "train" / "scifact_train_bm25neg.jsonl.gz"))
    from_collection = list(read_rows(test_data / "beir" / "scifact"))
    assert len(from_file) == len(from_collection) == 809
    assert {row.row_id: row.query for row in from_file} == {row.row_id: row.query for row in from_collection}
    assert sum(len(row.positives) for row in from_collection) == 919
    path = test_data / "train" / "msmarco_dl_judged.jsonl.gz"
    with pytest.raises(InputError, match="line 3: no positive"):
        list(read_rows(path))
