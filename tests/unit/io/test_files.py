"""Reading names file and line; writing leaves the old file or the new one, never half of either."""

import gzip
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.io.files import (
    atomic_write,
    home,
    output_file,
    output_folder,
    parse_json,
    read_json,
    read_jsonl,
    read_lines,
    sha256_file,
    sha256_json,
    text_field,
    write_json,
)

pytestmark = pytest.mark.flash


def test_lines_carry_their_number_and_blank_ones_are_passed_over(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\n  \nfour\n".encode())
    assert list(read_lines(path)) == [(1, "one"), (4, "four")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "line 2: malformed JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: a JSON list"),
        (b'{"a": 1}\n{"a": "\x00"}\n', "line 2: a NUL byte at column 8"),
        (b'{"a": 1}\n\n{"a": "\xff"}\n', "line 3: invalid UTF-8 at byte 8"),
        (b'{"a": 1}\n{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}\n", "line 2: malformed JSON .* more than 100 deep"),
        (b'{"a": ' * 101 + b"1" + b"}" * 101, "line 1: malformed JSON .* more than 100 deep"),
        (b'{"a": -' + b"1" * 5000 + b"}", "line 1: malformed JSON .*more than 300 digits"),
        (b'{"a": ' + b"1" * 301 + b"}", "line 1: malformed JSON .*more than 300 digits"),
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
    path, twin = tmp_path / "deep" / name, tmp_path / f"twin-{name}"
    for same in (path, twin):
        with atomic_write(same) as stream:
            stream.write("old\n")
    assert sha256_file(path) == sha256_file(twin)  # compressed too
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert list(read_lines(path)) == [(1, "old")]
    assert [entry.name for entry in path.parent.iterdir()] == [name]


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


def test_json_comes_back_and_damage_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"b": "é \ud83d", "a": [1, None]}, sort_keys=True)
    assert (tmp_path / "a.json").read_bytes() == '{\n  "a": [\n    1,\n    null\n  ],\n  "b": "é \\ud83d"\n}\n'.encode()
    assert read_json(tmp_path / "a.json") == {"b": "é \ud83d", "a": [1, None]}
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"a\.json is damaged(.|\n)*Try: make it again"):
        read_json(tmp_path / "a.json", remedy="make it again")


@pytest.mark.parametrize("content", ["[" * 3000 + "]" * 3000, "1" * 5000, "[" * 101 + "]" * 101])
def test_json_within_limits(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        read_json(path)
    braces = {"text": "[{" * 3000, "list": [[[]]] * 200, "id": 10**299}
    assert parse_json(json.dumps(braces)) == braces
    nested = "[" * 100 + "]" * 100
    assert json.dumps(parse_json(nested)) == nested


def test_outputs_may_be_new_and_a_link_stays_a_link(tmp_path):
    assert output_file(str(tmp_path / "a" / "b" / "x.run")) == tmp_path / "a" / "b" / "x.run"
    assert output_folder(str(tmp_path / "a")) == tmp_path / "a"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "real.run").write_text("x")
    (tmp_path / "link.run").symlink_to(tmp_path / "real.run")
    assert output_file(str(tmp_path / "link.run"), [None, str(tmp_path / "other")]) == tmp_path / "real.run"


@pytest.mark.parametrize(
    ("check", "name", "message"),
    [
        (output_file, "{}", r"is a folder(.|\n)*Try: --output .*NAME"),
        (output_file, "{}/new/", "is a folder"),
        (output_file, os.devnull, "is no plain file"),
        (output_folder, "{}/file", "is a file"),
        (output_file, "{}/file/x.run", "file cannot be written"),
        (output_file, "{}/a/../read", "is also read"),
    ],
)
def test_outputs_are_checked_before_the_work(tmp_path, check, name, message):
    (tmp_path / "file").write_text("x")
    inputs = {"inputs": [None, f"{tmp_path}/read"]} if check is output_file else {}
    with pytest.raises(ExpandrError, match=message):
        check(name.format(tmp_path), **inputs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else():
    code = (
        "import os, sys; from expandr_ir.io.files import output_file; os.setuid(65534)\n"
        "try: output_file(sys.argv[1])\n"
        "except Exception as error: print(error)"
    )
    search = os.pathsep.join(sys.path)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        done = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/x.run"],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=True,
        )
    assert f"{folder} cannot be written" in done.stdout
