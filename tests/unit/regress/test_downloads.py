"""Downloads against an HTTP server in this process, over real sockets; others' formats."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import socket
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expandr_ir.cli import main
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.io.expansions import read_expansions
from expandr_ir.records import Topic
from expandr_ir.regress import downloads
from expandr_ir.regress.downloads import (
    MIRROR,
    RETRIES,
    Entry,
    Group,
    Item,
    fetch,
    items,
    query2doc_rows,
    querygym_rows,
    split_repeats,
)

ROWS = [{"query_id": "007", "query": "do fleas jump", "pseudo_doc": "They do."}] + [
    {"query_id": str(number), "query": f"query {number}", "pseudo_doc": f"passage {number} " * 40}
    for number in range(300)
]
CONTENT = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TOPICS = {"007": Topic("007", "do fleas jump"), "5": Topic("5", "query 5")}


class Server:
    """Serves `content` and remembers the requests; `faults` come first, one a request."""

    def __init__(self):
        self.content = CONTENT
        self.faults: list[str] = []
        self.paths: list[str] = []
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.paths.append(self.path)
                outer.answer(self, outer.faults.pop(0) if outer.faults else "serve")

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request, fault):
        if fault == "hang":
            self.stop.wait(30)
        elif fault.isdigit():
            request.send_error(int(fault))
        else:
            body = b"<!DOCTYPE html><html>sign in</html>" if fault == "page" else self.content
            body = bytes([body[0] ^ 1]) + body[1:] if fault == "corrupt" else body
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: len(body) // 2] if fault in {"cut", "stall"} else body)
            request.wfile.flush()
            if fault == "stall":
                self.stop.wait(30)
            if fault in {"cut", "stall"}:
                request.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    running = Server()
    yield running
    running.stop.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def offer(server, monkeypatch):
    """Makes the server's file the only item, of these properties."""

    def one(then="query2doc", file="expansions/dl19/{name}.jsonl", url=None, unverified=None, **entry):
        known = {} if unverified else entry or {"sha256": hashlib.sha256(server.content).hexdigest()}
        group = Group(url or server.url + "/{name}.jsonl", file, then, "none", "here", {}, unverified)
        item = Item("q2d/dl19", group, Entry(**known), group.url.format(name="dl19"), file.format(name="dl19"))
        monkeypatch.setattr(downloads, "items", lambda: {"q2d/dl19": item})

    one()
    return one


def get(target):
    return fetch(["q2d/dl19"], target=target)["q2d/dl19"]


def test_the_verb_fetches_names_and_patterns_into_a_folder(server, offer, tmp_path, capsys, monkeypatch):
    for name in ("q2d/dl19", "q2d/*"):
        assert main(["download", name, "--output", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"q2d/dl19: {tmp_path}/expansions/dl19/dl19.jsonl\n"
    assert len(server.paths) == 1
    monkeypatch.chdir(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["expansions"]
    assert texts("expansions/dl19/dl19.jsonl") == ["They do."]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--list"], 0, "beir/scifact "),
        (["--list", "querygym/dl20/m*"], 0, r"^querygym/dl20/mugi.gpt-4.1 +0.2 MB  Apache-2.0\n$"),
        ([], 2, "nothing is named\n(.|\n)*Try: expandr download --list"),
        (["beir/scifct"], 2, "Try: beir/scifact"),
        (["beir/scifact", "query2dok/*"], 2, r"unknown download 'query2dok/\*'"),
    ],
)
def test_the_verb_lists_and_refuses(capsys, words, code, text):
    assert main(["download", *words]) == code
    printed = capsys.readouterr()
    assert re.search(text, printed.out + printed.err)


def texts(path):
    return [one.text for one in read_expansions(path, TOPICS)["007"].expansions]


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_download_becomes_what_expansions_reads_until_the_item_changes(server, offer, tmp_path):
    path = get(tmp_path)
    assert path == tmp_path / "expansions" / "dl19" / "dl19.jsonl"
    assert texts(path) == ["They do."]
    note = path.with_name("dl19.jsonl.download.json")
    assert json.loads(note.read_text())["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert sorted(files(tmp_path)) == [path, note]
    assert (get(tmp_path), len(server.paths)) == (path, 1)
    note.write_text("[]")  # JSON, but no note: the file is fetched anew
    assert (get(tmp_path), len(server.paths)) == (path, 2)
    assert json.loads(note.read_text())["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    server.content = CONTENT.replace(b"They do.", b"They don't.")
    offer()
    assert texts(get(tmp_path)) == ["They don't."]


@pytest.mark.parametrize("faults", [["cut"], ["stall"], ["corrupt"], ["500", "503", "429"], ["hang", "cut"]])
def test_what_fails_for_a_while_is_tried_again(server, offer, tmp_path, faults, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.3)
    server.faults = [*faults]
    assert texts(get(tmp_path)) == ["They do."]
    assert len(server.paths) == len(faults) + 1


@pytest.mark.parametrize("fault", ["cut", "503", "hang"])
def test_what_goes_on_failing_is_given_up_and_leaves_nothing(server, offer, tmp_path, fault, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
    server.faults = [fault] * 9
    with pytest.raises(MissingResourceError, match=rf"could not be downloaded: .*\({RETRIES + 1} tries\)"):
        get(tmp_path)
    assert files(tmp_path) == []
    server.faults = []
    assert texts(get(tmp_path)) == ["They do."]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_is_named_with_the_right_one_and_the_file_deleted(server, offer, tmp_path, algorithm):
    corrupt = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    expected, actual = (hashlib.new(algorithm, content).hexdigest() for content in (CONTENT, corrupt))
    offer(**{algorithm: expected})
    server.faults = ["corrupt"] * 9
    with pytest.raises(ExpandrError, match=actual) as error:
        get(tmp_path)
    assert (error.value.expected, error.value.exit_code) == (f"{algorithm}:{expected}", 6)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [("404", "the server says 404"), ("403", "the server says 403"), ("page", "a web page came in its place")],
)
def test_a_file_that_is_not_there_is_not_tried_again(server, offer, tmp_path, fault, message):
    offer(unverified="a test")
    server.faults = [fault]
    with pytest.raises(MissingResourceError, match=f"{server.url}/dl19.jsonl: {message}"):
        get(tmp_path)
    assert len(server.paths) == 1


def test_two_at_once_download_once(server, offer, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: texts(get(tmp_path)), range(4))) == [["They do."]] * 4
    assert len(server.paths) == 1


def test_a_file_without_a_known_checksum_is_checked_from_the_second_time_on(server, offer, tmp_path, caplog):
    offer(unverified="nobody says")
    path = get(tmp_path)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert f"q2d/dl19 cannot be checked (nobody says): its sha256 is {digest}" in caplog.text
    path.unlink()
    server.faults = ["corrupt"] * 9
    with pytest.raises(ExpandrError) as error:
        get(tmp_path)
    assert error.value.expected == f"sha256:{digest}"


def test_a_folder_or_a_server_as_mirror(server, offer, tmp_path, monkeypatch):
    offer(url="http://127.0.0.1:9/nowhere.jsonl")
    with pytest.raises(MissingResourceError, match=r"127.0.0.1:9/nowhere.jsonl could not be downloaded"):
        get(tmp_path / "none")
    monkeypatch.setenv(MIRROR, f"{server.url}/copies/")
    assert texts(get(tmp_path / "one")) == ["They do."]
    assert server.paths == ["/copies/q2d/dl19.jsonl"]
    mirror = tmp_path / "mirror"
    monkeypatch.setenv(MIRROR, str(mirror))
    with pytest.raises(MissingResourceError, match=f"{mirror}/q2d/dl19.jsonl is not there"):
        get(tmp_path / "two")
    (mirror / "q2d").mkdir(parents=True)
    copy = mirror / "q2d" / "dl19.jsonl"
    copy.write_bytes(CONTENT)
    assert texts(get(tmp_path / "two")) == ["They do."]
    copy.write_bytes(CONTENT + b"\n")
    with pytest.raises(ExpandrError, match="does not match"):
        get(tmp_path / "three")
    assert copy.exists()


ENTRY = b"PK\x01\x02\x14\x03\x14\0"
"""The beginning of an entry of the directory; its flags follow."""


def zipped(*members: tuple[str, str], link: str = "", kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as packed:
        for name, text in members:
            packed.writestr(name, text)
        if link:
            member = zipfile.ZipInfo(link)
            member.external_attr = 0o120777 << 16
            packed.writestr(member, "/etc/passwd")
    return stream.getvalue()


def test_a_zip_becomes_a_folder(server, offer, tmp_path):
    server.content = zipped(("tiny/corpus.jsonl", "{}\n"), ("tiny/qrels/test.tsv", "x"), ("__MACOSX/tiny/._x", ""))
    offer(then="unzip", file="beir/tiny")
    folder = get(tmp_path)
    assert folder == tmp_path / "beir" / "tiny"
    assert sorted(path.relative_to(folder).as_posix() for path in files(folder)) == ["corpus.jsonl", "qrels/test.tsv"]
    assert (get(tmp_path), len(server.paths)) == (folder, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(("tiny/../../escaped", "x")), "would leave the folder"),
        (zipped(("/etc/escaped", "x")), "would leave the folder"),
        (zipped(("a", "x")).replace(b"a", b"\0"), "the member '' has no name"),
        (zipped(("a\\..\\b", "x")), "would leave the folder"),
        (zipped(link="tiny/link"), "is a link"),
        (zipped(("one/x", ""), ("two/x", "")), "it holds one, two"),
        (zipped(("alone", "")), "it holds alone"),
        (zipped(), "it holds nothing"),
        (b"PK\x03\x04 not a zip", "cannot be unpacked"),
        (zipped(("t/x", "")).replace(ENTRY + b"\0\0", ENTRY + b"\1\0"), "is encrypted"),
        (zipped(("t/x", "")).replace(ENTRY, ENTRY + b"\0\0")[:-2], "cannot be unpacked"),
        (zipped(("t/x", ""))[:-6] + b"\xff\xff\xff\x7f\0\0", "cannot be unpacked"),
        (zipped(("t/a", "x"), ("t/a/b", "y")), "cannot be unpacked"),
        (zipped(("t/a/b", "y"), ("t/a", "x")), "cannot be unpacked"),
        (zipped((f"t/{'x' * 300}", "")), "name too long"),
        (zipped(("t/x", "text"), kind=zipfile.ZIP_BZIP2).replace(b"BZh", b"BZx"), "cannot be unpacked"),
        (zipped(("t/x", "text"), kind=zipfile.ZIP_LZMA).replace(b"\x5d\0\0", b"\xff\0\0"), "cannot be unpacked"),
        (zipped(("t/x", "text"), kind=zipfile.ZIP_DEFLATED).replace(b"\x08\0", b"\x63\0"), "cannot be unpacked"),
        (zipped(("t/é", "")).replace("é".encode(), b"\xff\xfe"), "cannot be unpacked"),
    ],
)
def test_a_zip_that_is_not_what_it_should_be(server, offer, tmp_path, content, message):
    server.content = content
    offer(then="unzip", file="beir/tiny")
    with pytest.raises(InputError, match=message):
        get(tmp_path)
    assert not (tmp_path / "beir" / "tiny").exists()
    assert not list(tmp_path.rglob("*escaped*"))


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(InputError, match="Try: beir/scifact"):
        fetch(["beir/scifct"], target=tmp_path)


def test_the_items_of_conf():
    known = items()
    assert len(known) == 15 + 5 + 30
    assert known["beir/scifact"].entry.md5 == "5f7d1de60b170fc8027bb7898e2efca1"
    assert known["query2doc/dl19"].file == "expansions/dl19/query2doc.text-davinci-003.jsonl"
    assert known["querygym/scifact/mugi.gpt-4.1"].download_name == "querygym/scifact/mugi.gpt-4.1.tsv"
    assert len({item.file for item in known.values()}) == len({item.url for item in known.values()}) == len(known)
    for item in known.values():
        assert re.search(r"/[0-9a-f]{40}/", item.url) or item.entry.md5, "the address names no revision"


@pytest.mark.parametrize(
    ("group", "item", "message"),
    [
        ({}, {"shasum": "x"}, "unknown key 'shasum'"),
        ({}, {"sha256": None}, "0 of sha256, md5 and unverified"),
        ({}, {"md5": "0" * 32}, "2 of sha256, md5 and unverified"),
        ({}, {"sha256": "xyz"}, "64 hex digits"),
        ({}, {"size": "big"}, "'size' is 'big'"),
        ({"then": "unpack"}, {}, "unknown then 'unpack'"),
        ({"file": "../{name}"}, {}, "below the target"),
        ({"url": "ftp://x/{path}"}, {}, "http or https"),
        ({"mirror": "x"}, {}, "unknown key 'mirror'"),
        ({"items": ["x"]}, {}, "'items' is a list"),
        ({"items": None}, {}, "'items' is None"),
        ({"items": {"x": None}}, {}, "'x' is None"),
        ({"url": "https://x/{nope}"}, {}, r"no braces but {path} \(of url\) and {name}"),
        ({"url": "https://x/{path.x}"}, {}, "no braces"),
        ({"url": "https://x/{"}, {}, "no braces"),
        ({"file": "{0:>99999999999}"}, {}, "no braces"),
        ({"file": "\0{name}"}, {}, "below the target"),
        ({"items": {"../x": {"sha256": "0" * 64}}}, {}, "below the target"),
        ({"url": "https://[x/{path}"}, {}, "http or https"),
        ({"url": "https://x:99999999/{path}"}, {}, "http or https"),
    ],
)
def test_a_downloads_yaml_of_a_wrong_shape(tmp_path, group, item, message):
    entry = {"path": "x.zip", "sha256": "0" * 64} | item
    known = {"url": "https://x/{path}", "file": "{name}", "then": "unzip", "licence": "none", "source": "here"}
    path = tmp_path / "downloads.yaml"
    path.write_text(json.dumps({"groups": {"g": known | {"items": {"x": entry}} | group}}))
    with pytest.raises(InputError, match=message):
        items(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b a b a b c d", (3, "c d")),
        ("flea flea", (2, "")),
        ("do fleas jump do fleas jump They do.", (2, "They do.")),
        ("New New York New New York New New York It is a city.", (3, "It is a city.")),
        ("do fleas jump They do.", (0, "do fleas jump They do.")),
        ("one", (0, "one")),
        ("", (0, "")),
    ],
)
def test_split_repeats(text, expected):
    assert split_repeats(text) == expected


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=3, max_size=6, unique=True),
    st.integers(min_value=2, max_value=7),
    st.text("xyz ", max_size=20),
)
def test_repeats_are_taken_off_and_nothing_else(words, repeats, rest):
    topic = " ".join(words)
    assume(not rest.startswith(" "))
    assert split_repeats(f"{topic} " * repeats + rest) == (repeats, rest)


def test_querygym(tmp_path):
    path = tmp_path / "queries.tsv"
    first = 'do fleas jump do fleas jump They do,\tand say "yes".\nFar.'
    with path.open("w", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows([["007", first], ["8", "how long live dogs keywords"]])
    assert list(querygym_rows(path)) == [
        {"topic_id": "007", "text": 'They do,\tand say "yes".\nFar.', "searched": first, "query_repeats": 2},
        {"topic_id": "8", "text": "how long live dogs keywords", "searched": "how long live dogs keywords"},
    ]
    for text in ("1\tq\tmore\n", "1\n", "\tq\n", '1\t"open\n'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"queries.tsv, line 1: "):
            list(querygym_rows(path))


def test_query2doc(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text('{"query_id": "007", "query": "do fleas jump", "pseudo_doc": ""}\n')
    assert list(query2doc_rows(path)) == [{"topic_id": "007", "query": "do fleas jump", "text": ""}]
    path.write_text('{"query_id": "007", "query": "do fleas jump", "passage": "x"}\n')
    with pytest.raises(InputError, match=r"dev.jsonl, line 1: no field 'pseudo_doc'"):
        list(query2doc_rows(path))
