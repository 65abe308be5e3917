"""Reading names file and line; writing leaves the old file or the new one, never half of either."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import atomic_write, home, read_jsonl, read_lines, sha256_file, sha256_json, text_field

pytestmark = pytest.mark.flash


def test_lines_carry_their_number_and_blank_ones_are_passed_over(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\n  \nfour\n".encode())
    assert list(read_lines(path)) == [(1, "one"), (4, "four")]


def test_gzip_reads_like_plain(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (2, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: malformed JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: a JSON list"),
        (b'{"a": 1}\n{"a": "\x00"}\n', "line 2: a NUL byte at column 8"),
        (b'{"a": 1}\n\n{"a": "\xff"}\n', "line 3: invalid UTF-8 at byte 8"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_jsonl(path))
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda data: data[:20] + b"\x00\x01" * 8 + data[36:], lambda _: b'{"a": 1}\n'],
)
def test_a_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(damage(gzip.compress(b"".join(b'{"a": %d}\n' % i for i in range(500)))))
    with pytest.raises(InputError, match="unreadable gzip after line"):
        list(read_jsonl(path))
    with pytest.raises(MissingResourceError, match="is not there"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(MissingResourceError, match="is a folder"):
        list(read_lines(tmp_path))


def test_ids_keep_their_zeros_and_integers_become_digits():
    assert text_field({"_id": "007"}, ("topic_id", "_id"), "f, line 1") == "007"
    assert text_field({"id": 7}, ("id",), "f, line 1") == "7"
    with pytest.raises(InputError, match="f, line 1: no field 'id'; it has a, b"):
        text_field({"b": 1, "a": 2}, ("id",), "f, line 1")
    with pytest.raises(InputError, match="'id' is a NoneType"):
        text_field({"id": None}, ("id",), "f, line 1")
    with pytest.raises(InputError, match="'id' is a bool"):
        text_field({"id": True}, ("id",), "f, line 1")


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path, name):
    path = tmp_path / "deep" / name
    with atomic_write(path) as stream:
        stream.write("old\n")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert list(read_lines(path)) == [(1, "old")]
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_equal_content_gives_equal_bytes_compressed_too(tmp_path):
    for name in ("a.gz", "b.gz"):
        with atomic_write(tmp_path / name) as stream:
            stream.write("same\n" * 100)
    assert sha256_file(tmp_path / "a.gz") == sha256_file(tmp_path / "b.gz")


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("EXPANDR_HOME")
    assert home().name == "expandr_ir"


@given(st.dictionaries(st.text(), st.integers() | st.text(st.characters())))
def test_a_hash_does_not_depend_on_the_order_of_keys(value):
    assert sha256_json(value) == sha256_json(dict(reversed(value.items())))


def test_the_hash_is_the_sha256_of_canonical_json():
    import hashlib

    assert sha256_json({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    assert sha256_json({"a": "\ud800"}) != sha256_json({"a": "\udc00"}) != sha256_json({"a": json.dumps("\ud800")})
