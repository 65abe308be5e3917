from __future__ import annotations

import gzip

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.qrels import read_qrels


def test_trec_columns_and_beir_header_give_the_same(tmp_path):
    (tmp_path / "q.txt").write_text("007 0 D1 2\n007\tQ0\tD2  0\r\n\n8 0 D1 -1\n8 0 D1 -1\n")
    (tmp_path / "q.tsv.gz").write_bytes(
        gzip.compress(b"query-id\tcorpus-id\tscore\n007\tD1\t2\n007\tD2\t0\n8\tD1\t-1\n")
    )
    expected = {"007": {"D1": 2, "D2": 0}, "8": {"D1": -1}}
    assert read_qrels(tmp_path / "q.txt") == expected
    assert read_qrels(tmp_path / "q.tsv.gz") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 0 D 1\n1 0 D 2\n", r"line 2: topic '1', document 'D' has grade 2, but 1 before"),
        (b"1 0 D 1.0\n", r"line 1: the grade '1\.0'"),
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
