"""Downloads against an HTTP server in this process, over real sockets."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import expandr_ir
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.expansions_file import read_expansions
from expandr_ir.records import Topic
from expandr_ir.regress import download as downloads
from expandr_ir.regress import transfer
from expandr_ir.regress.download import MIRROR, Item, fetch, items
from expandr_ir.regress.downloads import read_items

ROWS = [{"query_id": "007", "query": "do fleas jump", "pseudo_doc": "They do."}] + [
    {"query_id": str(number), "query": f"query {number}", "pseudo_doc": f"passage {number} " * 40}
    for number in range(300)
]
CONTENT = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
HALF = len(CONTENT) // 2 // transfer._CHUNK * transfer._CHUNK
"""What is kept of a download that is cut off in the middle."""

TOPICS = {"007": Topic("007", "do fleas jump"), "5": Topic("5", "query 5")}


class Server:
    """Serves CONTENT, and remembers what was asked for.

    Attributes:
        faults: what to do about one request after the other; when none is left, serve.
        ranges: whether ranges are known.
        asked: (path, Range header) of each request.
    """

    def __init__(self):
        self.faults: list[str] = []
        self.ranges, self.content = True, CONTENT
        self.asked: list[tuple[str, str | None]] = []
        self.stop = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, self.headers.get("Range")))
                outer.answer(self, outer.faults.pop(0) if outer.faults else "serve")

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request, fault):
        if fault == "hang":
            self.stop.wait(30)
            return
        if fault.isdigit():
            request.send_error(int(fault))
            return
        if fault in {"page", "hidden page"}:
            body = b"<!DOCTYPE html><html>sign in</html>"
            self.send(request, 200, body, "text/html" if fault == "page" else "application/octet-stream")
            return
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if found and self.ranges:
            start = int(found[1])
            if start >= len(self.content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(self.content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        body = self.content[start:]
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        sent = body[: len(body) // 2] if fault in {"cut", "stall"} else body
        extra = {"Content-Range": f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"} if start else {}
        self.send(request, 206 if start else 200, sent, "application/x-ndjson", len(body), extra)
        if fault == "stall":
            self.stop.wait(30)
        if fault == "cut":
            request.connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def send(request, status, body, kind, length=None, extra=None):
        request.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": length or len(body), **(extra or {})}.items():
            request.send_header(name, str(value))
        request.end_headers()
        request.wfile.write(body)
        request.wfile.flush()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.stop.set()
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def offer(server, monkeypatch):
    """Makes the server's file the only item, of these properties."""
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.setattr(transfer.Patience, "wait_s", 0.01, raising=False)
    monkeypatch.setattr(transfer, "_LONGEST_WAIT_S", 0.02)

    def one(**other):
        given = {
            "name": "q2d/dl19",
            "url": f"{server.url}/dl19.jsonl",
            "file": "expansions/dl19/q2d.jsonl",
            "then": "query2doc",
            "licence": "none",
            "source": "here",
            "sha256": hashlib.sha256(server.content).hexdigest(),
            "size": len(server.content),
        }
        item = Item(**given | other)
        monkeypatch.setattr(downloads, "items", lambda: {item.name: item})
        return item

    one()
    return one


def get(target, **options):
    return fetch(["q2d/dl19"], target=target, **{"timeout_s": 5.0, **options})["q2d/dl19"]


def texts(path):
    return [one.text for one in read_expansions(path, TOPICS).topics["007"].expansions]


def part(target):
    return target / "downloads" / "q2d" / "dl19.part"


def test_a_download_becomes_what_expansions_reads(server, offer, tmp_path):
    seen = []
    path = get(tmp_path, on_progress=lambda *told: seen.append(told))
    assert path == tmp_path / "expansions" / "dl19" / "q2d.jsonl"
    assert texts(path) == ["They do."]
    assert seen[-1] == ("q2d/dl19", len(CONTENT), len(CONTENT))
    note = json.loads(path.with_name("q2d.jsonl.download.json").read_text())
    assert note["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert [one.name for one in (tmp_path / "downloads").rglob("*") if one.is_file()] == []


def test_a_second_time_nothing_is_asked(server, offer, tmp_path):
    first = get(tmp_path)
    assert get(tmp_path) == first
    assert len(server.asked) == 1


def test_a_changed_item_is_fetched_anew(server, offer, tmp_path):
    get(tmp_path)
    server.content = CONTENT.replace(b"They do.", b"They don't.")
    offer()
    assert texts(get(tmp_path)) == ["They don't."]


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_an_interrupted_download_goes_on_where_it_stopped(server, offer, tmp_path, fault):
    server.faults = [fault]
    assert texts(get(tmp_path, timeout_s=0.3)) == ["They do."]
    assert [asked[1] for asked in server.asked] == [None, f"bytes={HALF}-"]


def test_the_next_command_goes_on_too(server, offer, tmp_path):
    server.faults = ["cut", "503", "503"]
    with pytest.raises(MissingResourceError, match="could not be downloaded: the server says 503") as error:
        get(tmp_path, attempts=2)
    assert "goes on where this one stopped" in error.value.remedy
    assert part(tmp_path).read_bytes() == CONTENT[:HALF]
    assert texts(get(tmp_path)) == ["They do."]
    assert server.asked[-1][1] == f"bytes={HALF}-"


def test_a_process_that_is_killed_as_it_downloads(server, offer, tmp_path):
    server.faults = ["stall"]
    item = items_of_offer()
    code = f"""
from pathlib import Path
from expandr_ir.regress.download import Item, Patience, fetch_item
fetch_item({item!r}, Path({str(tmp_path)!r}), Patience(), lambda *_: None)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(Path(expandr_ir.__file__).parents[1])}
    )
    wait_until(lambda: part(tmp_path).exists() and part(tmp_path).stat().st_size)
    process.kill()
    process.wait()
    assert texts(get(tmp_path)) == ["They do."]
    assert server.asked[-1][1] is not None


def items_of_offer() -> Item:
    return downloads.items()["q2d/dl19"]


def wait_until(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_without_ranges_sends_all_again(server, offer, tmp_path):
    server.ranges, server.faults = False, ["cut"]
    assert texts(get(tmp_path)) == ["They do."]
    assert [asked[1] for asked in server.asked] == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_that_is_complete_or_too_long(server, offer, tmp_path, size):
    offer(size=size)
    for left in (CONTENT, CONTENT + b"more", b"x" * len(CONTENT)):
        part(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        part(tmp_path).write_bytes(left)
        path = get(tmp_path)
        assert texts(path) == ["They do."]
        path.unlink()


def test_bytes_of_another_file_are_not_gone_on_with_twice(server, offer, tmp_path):
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(b"another file's beginning")
    assert texts(get(tmp_path)) == ["They do."]
    assert [asked[1] for asked in server.asked] == ["bytes=24-", None]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_corrupted_file_is_deleted_and_both_checksums_are_named(server, offer, tmp_path, algorithm):
    expected, found = (
        hashlib.new(algorithm, content).hexdigest() for content in (CONTENT, bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    )
    offer(**{"sha256": None, "md5": None, algorithm: expected})
    server.faults = ["corrupt"]
    with pytest.raises(ExpandrError) as error:
        get(tmp_path)
    assert f"{server.url}/dl19.jsonl: the {algorithm} is {found}; the file is deleted" in error.value.found
    assert error.value.expected == expected
    assert error.value.exit_code == 6
    assert not part(tmp_path).exists()
    assert not (tmp_path / "expansions").exists()


def test_a_hanging_server_is_given_up(server, offer, tmp_path):
    server.faults = ["hang"] * 2
    with pytest.raises(MissingResourceError, match=r"no answer in 0.2 s \(2 tries\)"):
        get(tmp_path, timeout_s=0.2, attempts=2)


def test_a_server_that_is_busy_for_a_while(server, offer, tmp_path):
    server.faults = ["500", "503", "429", "cut", "502"]
    assert texts(get(tmp_path)) == ["They do."]


def test_no_server(offer, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    offer(url=url)
    with pytest.raises(MissingResourceError, match=re.escape(url)):
        get(tmp_path, attempts=2)


@pytest.mark.parametrize("status", ["404", "403", "410"])
def test_a_file_that_is_not_there(server, offer, tmp_path, status):
    server.faults = [status]
    with pytest.raises(MissingResourceError, match=f"{server.url}/dl19.jsonl: the server says {status}"):
        get(tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", ["page", "hidden page"])
def test_a_web_page_in_place_of_the_file(server, offer, tmp_path, fault):
    offer(size=None)
    server.faults = [fault]
    with pytest.raises(MissingResourceError, match="a web page came in place of the file"):
        get(tmp_path)
    assert not part(tmp_path).exists() or not part(tmp_path).stat().st_size


def test_another_size_than_expected(server, offer, tmp_path):
    offer(size=7)
    with pytest.raises(ExpandrError, match=f"has {len(CONTENT)} bytes\nExpected: 7"):
        get(tmp_path)


def test_a_full_disk(server, offer, tmp_path, monkeypatch):
    offer(size=2**60)
    with pytest.raises(ExpandrError, match="bytes are free, and q2d/dl19 takes 1,152,921,504,606,846,976 more"):
        get(tmp_path)
    offer(size=None)

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *mode, **other: Full() if path.suffix == ".part" else real(path, *mode, **other)
    )
    with pytest.raises(OSError, match="No space left on device"):
        get(tmp_path)


def test_two_at_once_download_once(server, offer, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(texts(get(tmp_path)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["They do."]] * 4
    assert len(server.asked) == 1


def test_a_file_without_a_known_checksum_is_checked_from_the_second_time_on(server, offer, tmp_path, caplog):
    offer(sha256=None, unverified="nobody says")
    path = get(tmp_path)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert f"q2d/dl19 cannot be checked (nobody says): its sha256 is {digest}" in caplog.text
    path.unlink()
    server.faults = ["corrupt"]
    with pytest.raises(ExpandrError, match="the file is deleted") as error:
        get(tmp_path)
    assert error.value.expected == digest


def test_a_folder_or_a_server_as_mirror(server, offer, tmp_path, monkeypatch):
    offer(url="http://127.0.0.1:9/nowhere.jsonl")
    monkeypatch.setenv(MIRROR, f"{server.url}/copies/")
    assert texts(get(tmp_path / "one")) == ["They do."]
    assert [asked[0] for asked in server.asked] == ["/copies/q2d/dl19.jsonl"]
    mirror = tmp_path / "mirror"
    monkeypatch.setenv(MIRROR, str(mirror))
    with pytest.raises(MissingResourceError, match=f"{mirror}/q2d/dl19.jsonl is not there"):
        get(tmp_path / "two")
    (mirror / "q2d").mkdir(parents=True)
    (mirror / "q2d" / "dl19.jsonl").write_bytes(CONTENT)
    assert texts(get(tmp_path / "two")) == ["They do."]
    assert (mirror / "q2d" / "dl19.jsonl").exists()
    (mirror / "q2d" / "dl19.jsonl").write_bytes(CONTENT + b"\n")
    with pytest.raises(ExpandrError, match="the file is deleted"):
        get(tmp_path / "three")
    assert (mirror / "q2d" / "dl19.jsonl").exists()


def zipped(*members: tuple[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, text in members:
            packed.writestr(name, text)
    return stream.getvalue()


def test_a_zip_becomes_a_folder(server, offer, tmp_path):
    server.content = zipped(("tiny/corpus.jsonl", "{}\n"), ("tiny/qrels/test.tsv", "x"), ("__MACOSX/tiny/._x", ""))
    offer(then="unzip", file="beir/tiny")
    folder = get(tmp_path)
    assert folder == tmp_path / "beir" / "tiny"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "corpus.jsonl",
        "qrels/test.tsv",
    ]
    assert get(tmp_path) == folder
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(("tiny/../../escaped", "x")), "would leave the folder"),
        (zipped(("/etc/escaped", "x")), "would leave the folder"),
        (zipped(("a\\..\\b", "x")), "would leave the folder"),
        (zipped(("one/x", ""), ("two/x", "")), "it holds one, two"),
        (zipped(("alone", "")), "it holds the file alone"),
        (zipped(), "it holds nothing"),
        (b"PK\x03\x04 not a zip", "cannot be unpacked"),
    ],
)
def test_a_zip_that_is_not_what_it_should_be(server, offer, tmp_path, content, message):
    server.content = content
    offer(then="unzip", file="beir/tiny")
    with pytest.raises(InputError, match=message):
        get(tmp_path)
    assert not (tmp_path / "beir" / "tiny").exists()
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_zip_with_a_link(server, offer, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        link = zipfile.ZipInfo("tiny/link")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    server.content = stream.getvalue()
    offer(then="unzip", file="beir/tiny")
    with pytest.raises(InputError, match="is a link"):
        get(tmp_path)


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(InputError, match="Try: beir/scifact"):
        fetch(["beir/scifct"], target=tmp_path)


def test_the_items_of_conf():
    found = items()
    assert len(found) == 15 + 5 + 30
    assert found["beir/scifact"].md5 == "5f7d1de60b170fc8027bb7898e2efca1"
    assert found["beir/scifact"].url.endswith("/BEIR/datasets/scifact.zip")
    assert found["query2doc/dl19"].file == "expansions/dl19/query2doc.text-davinci-003.jsonl"
    assert found["querygym/scifact/mugi.gpt-4.1"].download_name == "querygym/scifact/mugi.gpt-4.1.tsv"
    assert len({item.file for item in found.values()}) == len({item.url for item in found.values()}) == len(found)
    for item in found.values():
        assert re.search(r"/[0-9a-f]{40}/", item.url) or item.md5, "the address names no revision"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shasum": "x"}, "unknown key of .*'shasum'"),
        ({"sha256": None}, "no checksum"),
        ({"md5": "0" * 32}, "sha256 and md5"),
        ({"sha256": "xyz"}, "64 hexadecimal digits"),
    ],
)
def test_a_faulty_item(tmp_path, change, message):
    item = {"path": "x.zip", "sha256": "0" * 64} | change
    assert_refused(tmp_path, {}, item, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"then": "unpack"}, "unknown `then`"),
        ({"file": "../{name}"}, "below the target"),
        ({"url": "ftp://x/{path}"}, "http or https"),
        ({"mirror": "x"}, "unknown key"),
    ],
)
def test_a_faulty_group(tmp_path, change, message):
    assert_refused(tmp_path, change, {"path": "x.zip", "sha256": "0" * 64}, message)


def assert_refused(tmp_path, shared, item, message):
    group = {"url": "https://x/{path}", "file": "{name}", "then": "unzip", "licence": "none", "source": "here"}
    path = tmp_path / "downloads.yaml"
    path.write_text(json.dumps({"groups": {"g": group | shared | {"items": {"x": item}}}}))
    with pytest.raises(InputError, match=message):
        read_items(path)
