from __future__ import annotations

import gzip
import json

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.qrels import read_qrels


def test_trec_columns_and_beir_header_give_the_same(tmp_path):
    (tmp_path / "q.txt").write_text("007 0 D1 2\n007\tQ0\tD2  0\r\n\n8 0 D1 -1\n8 0 D1 -1\n")
    (tmp_path / "q.tsv.gz").write_bytes(
        gzip.compress(b"query-id\tcorpus-id\tscore\n007\tD1\t2\n007\tD2\t0\n8\tD1\t-1\n")
    )
    rows = [("007", "D1", 2), ("007", "D2", 0.0), ("8", "D1", "-1")]
    for name, fields in (("q.jsonl", ("query-id", "corpus-id", "score")), ("r.jsonl", ("topic_id", "doc_id", "grade"))):
        lines = [json.dumps(dict(zip(fields, row, strict=True))) + "\n" for row in rows]
        (tmp_path / name).write_text("".join(lines))
    (tmp_path / "q.jsonl.gz").write_bytes(gzip.compress((tmp_path / "q.jsonl").read_bytes()))
    expected = {"007": {"D1": 2, "D2": 0}, "8": {"D1": -1}}
    for name in ("q.txt", "q.tsv.gz", "q.jsonl", "r.jsonl", "q.jsonl.gz"):
        assert read_qrels(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query-id": "1", "corpus-id": "D", "score": 1.5}', "line 1: 'score' is a float"),
        ('{"query-id": "1", "corpus-id": "D", "score": null}', "line 1: 'score' is a NoneType"),
        ('{"query-id": "1", "corpus-id": "D", "score": "high"}', "line 1: the grade 'high'"),
        ('{"query-id": "1", "corpus-id": "D", "score": 1e999}', "line 1: 'score' is a float"),
        ('{"query-id": "1", "corpus-id": "D", "score": 1e8}', "line 1: the grade 100000000"),
        ('{"query-id": "1", "score": 1}', "line 1: no field 'corpus-id'"),
        (
            '{"query-id": "1", "corpus-id": "D\\ud800", "score": 1}',
            "line 1: a control character or half a surrogate pair",
        ),
        ('{"query-id": "1\\u0000", "corpus-id": "D", "score": 1}', "line 1: a control character"),
        ("1 0 D 1", "line 1: malformed JSON"),
    ],
)
def test_bad_json_lines_name_file_and_line(tmp_path, content, message):
    (tmp_path / "q.jsonl").write_text(content + "\n")
    with pytest.raises(InputError, match=rf"q\.jsonl, {message}"):
        read_qrels(tmp_path / "q.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 0 D 1\n1 0 D 2\n", r"line 2: topic '1', document 'D' has grade 2, but 1 before"),
        (b"1 0 D 1.0\n", r"line 1: the grade '1\.0'"),
        (b"1 0 D 1_0\n", r"line 1: the grade '1_0'"),
        ("1 0 D \u0661\n".encode(), r"line 1: the grade '\u0661'"),
        (b"1 0 D 1\n1 0 E 100000000\n", r"line 2: the grade 100000000\nExpected: a grade from -1,000 to 1,000"),
        (b"1 0 D 3000000000\n", r"line 1: the grade 3000000000"),
        (b"1 0 D 99999999999999999999999\n", r"line 1: the grade 9999"),
        (b"1 0 D -99999999999999999999999\n", r"line 1: the grade -9999"),
        (b"1 0 D " + b"1" * 5000 + b"\n", r"line 1: the grade '1111"),
        (b"1 0 D\x1b 1\n", r"line 1: a control character"),
        (b"1 0 D\n", r"line 1: 3 columns(?s:.*)query-id<TAB>corpus-id<TAB>score"),
        (b"1 0 D 1 x\n", r"line 1: 5 columns"),
        (b"query-id\tcorpus-id\tscore\n1\tD\n", r"line 2: 2 columns"),
        (b"query-id\tcorpus-id\tscore\n1\tD 2\t1\n", r"line 2: white space in the id 'D 2'"),
        (b"query-id\tcorpus-id\tscore\n\tD\t1\n", r"line 2: an empty id"),
        (b"query-id\tcorpus-id\tscore\n", r"no judgements"),
        (b"", r"no judgements"),
    ],
)
def test_bad_input_names_file_and_line(tmp_path, content, message):
    (tmp_path / "q.tsv").write_bytes(content)
    with pytest.raises(InputError, match=rf"q\.tsv.*{message}"):
        read_qrels(tmp_path / "q.tsv")
    with pytest.raises(MissingResourceError):
        read_qrels(tmp_path / "absent.tsv")
