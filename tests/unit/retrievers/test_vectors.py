"""Corpus vectors: what a kill loses, what processes share, what other formats keep, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expandr_ir.collections.facts import CollectionFacts
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.records import Document
from expandr_ir.retrievers import encode
from expandr_ir.retrievers.encode import encode_corpus
from expandr_ir.retrievers.nearest import open_dense
from expandr_ir.retrievers.vectors import HnswOptions, open_shards, open_vectors

DIM = 8


class Corpus:
    name = "small corpus"
    facts = CollectionFacts(documents=50)

    def __init__(self, size=50, version="1"):
        self.size, self.version = size, version

    def fingerprint(self):
        return hashlib.sha256(f"{self.size} {self.version}".encode()).hexdigest()

    def documents(self):
        for number in range(self.size):
            yield Document(f"{number:03d}é", f"title {number}", "" if number % 10 == 9 else f"text {number}")


class FakeEncoder:
    """Vectors that depend on the text and on how many texts are encoded together, as batched floats do."""

    def __init__(self, prefix="", seconds=0.0, log=None):
        self.dim, self.prefix, self.seconds, self.log = DIM, prefix, seconds, log
        self.truncated: Counter[str] = Counter()
        self.empty: Counter[str] = Counter()
        self.calls = 0

    def identity(self):
        return {"model": "fake", "prefix": self.prefix, "sizes": (1, 2)}

    def encode_documents(self, documents):
        time.sleep(self.seconds)
        self.calls += 1
        self.truncated["documents"] += sum(document.doc_id.startswith("00") for document in documents)
        self.empty["documents"] += sum(not document.text for document in documents)
        if self.log:
            with self.log.open("a") as stream:
                stream.write(f"{documents[0].doc_id}\n")
        seeds = [hashlib.sha256(f"{self.prefix}{document}".encode()).digest() for document in documents]
        rows = np.array([list(seed[:DIM]) for seed in seeds], dtype=np.float32) - 128
        return rows + np.float32(len(documents) / 1000)


def all_vectors(vectors):
    return np.concatenate(list(vectors.shards()))


def ids(vectors):
    return [doc_id.decode() for doc_id in vectors.ids]


@pytest.fixture
def vectors(tmp_path):
    return encode_corpus(Corpus(), FakeEncoder(), tmp_path / "vectors", shard_documents=16)


def test_vectors_stand_in_the_order_of_the_documents(vectors):
    documents = list(Corpus().documents())
    assert ids(vectors) == [document.doc_id for document in documents]
    assert isinstance(vectors.ids, np.memmap)
    assert [len(shard) for shard in vectors.shards()] == [16, 16, 16, 2]
    assert all(isinstance(shard, np.memmap) and shard.dtype == np.float32 for shard in vectors.shards())
    assert np.array_equal(all_vectors(vectors)[48:], FakeEncoder().encode_documents(documents[48:]))
    assert vectors.counts == {"documents": 50, "truncated": 10, "empty": 5, "zero": 0}
    assert (len(vectors), vectors.dim, vectors.check()) == (50, DIM, 0)


def test_the_cache_is_keyed_by_encoder_and_corpus(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path))
    folders = set()
    for corpus, prefix, calls in [(Corpus(), "", 1), (Corpus(), "", 0), (Corpus(), "p: ", 1), (Corpus(50, "2"), "", 1)]:
        encoder = FakeEncoder(prefix)
        folders.add(encode_corpus(corpus, encoder).folder)
        assert encoder.calls == calls
    assert len(folders) == 3
    assert all(folder.parent == tmp_path / "vectors" and folder.name.startswith("small-corpus-") for folder in folders)


def test_a_folder_of_another_encoder_or_corpus_is_refused(vectors):
    with pytest.raises(InputError, match="another encoder"):
        encode_corpus(Corpus(), FakeEncoder("p: "), vectors.folder)
    with pytest.raises(InputError, match="another collection"):
        encode_corpus(Corpus(51), FakeEncoder(), vectors.folder)


@pytest.mark.parametrize("published", [50, None])
def test_progress_counts_documents_and_knows_their_number(tmp_path, monkeypatch, published):
    monkeypatch.setattr(Corpus, "facts", CollectionFacts(documents=published))
    events: list[Any] = []

    @contextmanager
    def progress(description, total):
        events.append((description, total))
        yield events.append

    monkeypatch.setattr(encode, "progress", progress)
    encode_corpus(Corpus(), FakeEncoder(), tmp_path, shard_documents=20)
    assert events == [("documents encoded", 50), 20, 20, 10]


def test_a_corpus_that_changes_while_it_is_encoded_is_found_out(tmp_path):
    class Changing(Corpus):
        def documents(self):
            return (Document(document.doc_id[::-1], "", "") for document in super().documents())

    encode_corpus(Corpus(), FakeEncoder(), tmp_path, shard_documents=16)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match="shard 0 has other documents"):
        encode_corpus(Changing(), FakeEncoder(), tmp_path)


def test_vectors_that_are_not_finite_are_never_stored(tmp_path):
    class Broken(FakeEncoder):
        def encode_documents(self, documents):
            made = super().encode_documents(documents)
            made[3, 2] = np.nan
            return made

    with pytest.raises(ExpandrError, match="'003é' is not finite"):
        encode_corpus(Corpus(), Broken(), tmp_path)
    assert not list(tmp_path.glob("*.npy"))


def start_encoding(folder, log, seconds):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_vectors import *
encode_corpus(Corpus(), FakeEncoder("", {seconds}, Path({str(log)!r})), Path({str(folder)!r}), shard_documents=4)
"""
    return subprocess.Popen([sys.executable, "-c", code])


def same_files(first, second):
    names = [{path.name for path in folder.glob("*.npy")} for folder in (first, second)]
    return names[0] == names[1] and all(
        (first / name).read_bytes() == (second / name).read_bytes() for name in names[0]
    )


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_killed_goes_on_at_the_first_missing_shard(tmp_path):
    process = start_encoding(tmp_path / "killed", tmp_path / "log", seconds=0.2)
    wait_for(tmp_path / "killed" / "000002.json")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list((tmp_path / "killed").glob("0*.json")))
    assert 3 <= done < 13
    with pytest.raises(InputError, match="not complete"):
        open_vectors(tmp_path / "killed")
    (tmp_path / "killed" / f".{done:06d}.vectors.npy.1.tmp").write_bytes(b"half")
    encoder = FakeEncoder()
    # The first run's number of documents a shard holds: another one would give other vectors.
    resumed = encode_corpus(Corpus(), encoder, tmp_path / "killed", shard_documents=7)
    assert encoder.calls == 13 - done
    whole = encode_corpus(Corpus(), FakeEncoder(), tmp_path / "whole", shard_documents=4)
    assert same_files(resumed.folder, whole.folder)
    assert resumed.counts == whole.counts
    assert not list(resumed.folder.glob(".*"))


def test_processes_share_the_shards(tmp_path):
    logs = [tmp_path / "log1", tmp_path / "log2"]
    processes = [start_encoding(tmp_path / "shared", log, seconds=0.15) for log in logs]
    assert [process.wait(60) for process in processes] == [0, 0]
    encoded = [log.read_text().split() if log.exists() else [] for log in logs]
    assert sorted(encoded[0] + encoded[1]) == [f"{number:03d}é" for number in range(0, 50, 4)]
    whole = encode_corpus(Corpus(), FakeEncoder(), tmp_path / "whole", shard_documents=4)
    assert same_files(tmp_path / "shared", whole.folder)


def test_what_a_dead_process_left_undone_is_done_by_the_one_that_waited(tmp_path):
    slow = start_encoding(tmp_path / "shared", tmp_path / "log", seconds=3)
    wait_for(tmp_path / "shared" / ".000000.lock")
    encoder = FakeEncoder(seconds=0.1)
    other = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(2); os.kill({slow.pid}, 9)"])
    made = encode_corpus(Corpus(), encoder, tmp_path / "shared")
    assert (slow.wait(), other.wait()) == (-9, 0)
    assert encoder.calls == 13
    assert len(made) == 50


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_faiss_folders_read_back_as_they_were(vectors, tmp_path, kind):
    import faiss

    vectors.to_pyserini_faiss(tmp_path / "faiss", kind, HnswOptions(m=4))
    back = open_vectors(tmp_path / "faiss")
    assert np.array_equal(all_vectors(back), all_vectors(vectors))
    assert (ids(back), back.counts, back.check()) == (ids(vectors), vectors.counts, 0)
    open_dense(back).check_encoder(FakeEncoder())
    assert {path.name for path in (tmp_path / "faiss").iterdir()} == {"index", "docid", "manifest.json"}
    if kind == "flat":  # byte for byte what FAISS writes
        index = faiss.IndexFlatIP(DIM)
        index.add(all_vectors(vectors))
        faiss.write_index(index, str(tmp_path / "index"))
        assert (tmp_path / "faiss" / "index").read_bytes() == (tmp_path / "index").read_bytes()


def test_jsonl_reads_back_as_it_was(vectors, tmp_path):
    vectors.to_pyserini_jsonl(tmp_path / "jsonl", Corpus().documents())
    back = open_vectors(tmp_path / "jsonl")
    assert np.array_equal(all_vectors(back), all_vectors(vectors))
    assert (ids(back), back.dim, back.manifest) == (ids(vectors), DIM, {})
    first = json.loads((tmp_path / "jsonl" / "embeddings.jsonl").read_text().splitlines()[0])
    assert (list(first), first["contents"]) == (["id", "docid", "contents", "vector"], "title 0\ntext 0")
    with pytest.raises(InputError, match="is there already"):
        vectors.to_pyserini_faiss(tmp_path / "jsonl")
    with pytest.raises(InputError, match="the end where '040é'"):
        vectors.to_pyserini_jsonl(tmp_path / "other", Corpus(40).documents())
    assert {path.name for path in tmp_path.iterdir()} == {"vectors", "jsonl"}


@pytest.mark.parametrize("doc_id", ["a ", "a\u00a0", "a\nb", "a\u2028b"])
def test_ids_that_pyserini_would_read_as_others_are_refused(doc_id, tmp_path):
    class Awkward(Corpus):
        def documents(self):
            yield Document(doc_id, "", "text")

    made = encode_corpus(Awkward(), FakeEncoder(), tmp_path / "vectors")
    with pytest.raises(InputError, match="white space"):
        made.to_pyserini_faiss(tmp_path / "faiss")
    assert not (tmp_path / "faiss").exists()


def faiss_folder(folder, rows, docids, index=None):
    import faiss

    folder.mkdir()
    index = index or faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    faiss.write_index(index, str(folder / "index"))
    (folder / "docid").write_bytes(docids.encode("utf-8", "surrogateescape"))
    return folder


def test_faulty_faiss_folders(tmp_path):
    import faiss

    rows, broken = np.eye(3, dtype=np.float32), np.diag([1, np.inf, 1]).astype(np.float32)
    quantizer = faiss.IndexScalarQuantizer(3, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    folders = {
        "3 vectors, and docid has 2 ids": faiss_folder(tmp_path / "short", rows, "a\nb\n"),
        "docid, line 2: no id": faiss_folder(tmp_path / "blank", rows, "a\n\nb\n"),
        "docid: document 'a' a second time": faiss_folder(tmp_path / "twice", rows, "a\nb\na\n"),
        "docid: invalid UTF-8": faiss_folder(tmp_path / "latin1", rows, "a\n\udce9\nc\n"),
        "'dim' is '3'": faiss_folder(tmp_path / "types", rows, "a\nb\nc\n"),
        "document 'b' is not finite": faiss_folder(tmp_path / "inf", broken, "a\nb\nc\n"),
        "IndexScalarQuantizer": faiss_folder(tmp_path / "fp16", rows, "a\nb\nc\n", quantizer),
        "cannot read this index": faiss_folder(tmp_path / "cut", rows, "a\nb\nc\n"),
        "index: FAISS cannot read": faiss_folder(tmp_path / "head", rows, "a\nb\nc\n"),
        "it says that it is none": faiss_folder(tmp_path / "null", rows, "a\nb\nc\n"),
        "no file 'index'": faiss_folder(tmp_path / "missing", rows, "a\nb\nc\n"),
    }
    (tmp_path / "cut" / "index").write_bytes((tmp_path / "cut" / "index").read_bytes()[:60])
    (tmp_path / "head" / "index").write_bytes((tmp_path / "head" / "index").read_bytes()[:27])
    (tmp_path / "null" / "index").write_bytes(b"null")
    (tmp_path / "missing" / "index").unlink()
    (tmp_path / "types" / "manifest.json").write_text('{"encoder": {}, "fingerprint": "x", "dim": "3"}')
    for message, folder in folders.items():
        with pytest.raises(InputError, match=message):
            open_vectors(folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "a", "vector": [1, 2]}', '{"id": "b", "vector": [1]}'], "line 2: no vector of 2 finite"),
        (['{"id": "a", "vector": [1, NaN]}'], "line 1: no vector of some finite"),
        (['{"id": "a", "vector": 5}'], "line 1: no vector"),
        (['{"id": "a", "contents": "x"}'], "line 1: no vector"),
        (['{"id": "a", "vector": "123"}'], "line 1: no vector"),
        (['{"id": "a", "vector": []}'], "line 1: no vector"),
        (['{"vector": [1, 2]}'], "line 1: no field 'id'"),
        (['{"id": "a", "vector": [1]}', '{"id": "a", "vector": [1]}'], "line 2: document 'a' a second time"),
        (['{"id": "\\ud800", "vector": [1]}'], "line 1: .*half a surrogate pair"),
        (['{"id": "a\\u0000", "vector": [1]}'], "line 1: a control character"),
        (['{"id": "a", "vector": [1e39]}'], "line 1: no vector"),
        (['{"id": "a", "vector": [true]}'], "line 1: no vector"),
        ([f'{{"id": "a", "vector": [1{"0" * 200}]}}'], "line 1: no vector"),
        ([""], "holds no vector"),
    ],
)
def test_faulty_jsonl(tmp_path, lines, message):
    (tmp_path / "embeddings.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path)


def swap(folder):
    first, second = (folder / f"00000{number}.vectors.npy" for number in (0, 1))
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def save(name, change):
    """Writes an array of the folder anew, changed."""

    def damage(folder):
        np.save(folder / name, change(np.load(folder / name)))

    return damage


def put(name, text):
    return lambda folder: (folder / name).write_bytes(text)


NO_DTYPE = b"\x93NUMPY\x01\0\x3b\0{'descr': ',f4', 'fortran_order': False, 'shape': (2, 2), }\n"
DAMAGE = {  # and what is said when the folder is opened; "" where only sums tell
    "zeroed": (save("000001.vectors.npy", np.zeros_like), ""),
    "swapped": (swap, ""),
    "one bit": (save("000001.vectors.npy", lambda rows: rows + np.float32(0.001)), ""),
    "other ids": (save("000001.ids.npy", lambda ids: ids[::-1]), ""),
    "float64": (save("000001.vectors.npy", lambda rows: rows.astype(np.float64)), "holds float64 of shape"),
    "big endian": (save("000001.vectors.npy", lambda rows: rows.astype(">f4")), "holds >f4 of shape"),
    "objects": (save("000001.vectors.npy", lambda rows: rows.astype(object)), "cannot be read"),
    "wide": (save("000001.vectors.npy", lambda rows: rows[:, :7]), r"of shape \(16, 7\)\nExpected: float32 of shape"),
    "short": (save("000001.vectors.npy", lambda rows: rows[1:]), "49 vectors, but 50 ids"),
    "empty": (put("000001.vectors.npy", b""), "cannot be read"),
    "header": (put("000001.vectors.npy", b"\x93NUMPY\x01\0\x02\0{'"), "cannot be read"),
    "archive": (lambda folder: np.savez((folder / "000001.vectors.npy").open("wb"), x=[1]), "holds several arrays"),
    "0-d": (put("ids.npy", np.lib.format.MAGIC_PREFIX), "cannot be read"),
    "ids 0-d": (save("ids.npy", lambda ids: ids[0]), r"holds \|S5 of shape \(\)"),
    "ids of text": (save("ids.npy", lambda ids: np.char.decode(ids, "utf-8")), "holds <U4 of shape"),
    "ids twice": (save("ids.npy", lambda ids: ids[[0, *range(49)]]), "document '000é' a second time"),
    "no id": (save("ids.npy", lambda ids: np.where(ids == ids[2], b"", ids)), "line 3: no id"),
    "no UTF-8": (save("ids.npy", lambda ids: np.where(ids == ids[2], b"\xff", ids)), "no UTF-8"),
    "manifest": (put("manifest.json", b"[]"), "manifest.json: 'the file' is a list"),
    "manifest's types": (
        put("manifest.json", b'{"encoder": {}, "fingerprint": "", "dim": 8, "shards": "4"}'), "'shards' is '4'"
    ),
    "shards beyond": (
        put("manifest.json", b'{"encoder": {}, "fingerprint": "", "dim": 8, "shards": 4611686018427387905}'),
        "000004.vectors.npy cannot be read",
    ),
    "dtype": (put("000001.vectors.npy", NO_DTYPE), "cannot be read"),
    "no shards": (put("manifest.json", b'{"encoder": {}, "fingerprint": "", "dim": 8}'), "number of shards is 0"),
    "record": (put("000001.json", b"{"), ""),
    "record's types": (put("000001.json", b'{"documents": "16"}'), ""),
}  # fmt: skip


OF_THE_WHOLE = (
    "0-d",
    "ids 0-d",
    "ids of text",
    "ids twice",
    "no id",
    "no UTF-8",
    "manifest",
    "manifest's types",
    "shards beyond",
    "no shards",
)
SHARDS_ENCODED = {"swapped": 2} | dict.fromkeys(OF_THE_WHOLE, 0)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended(vectors, tmp_path, kind):
    damage, message = DAMAGE[kind]
    whole = encode_corpus(Corpus(), FakeEncoder(), tmp_path / "whole", shard_documents=16)
    (vectors.folder / "hnsw-16-100").mkdir()
    damage(vectors.folder)
    if message:
        with pytest.raises(InputError, match=message):
            open_vectors(vectors.folder)
    encoder = FakeEncoder()
    mended = encode_corpus(Corpus(), encoder, vectors.folder, verify=True)
    assert same_files(mended.folder, whole.folder)
    assert mended.counts == whole.counts
    assert encoder.calls == SHARDS_ENCODED.get(kind, 1)
    assert (vectors.folder / "hnsw-16-100").exists() == (not encoder.calls)
    assert not list(mended.folder.glob(".*"))


def test_a_killed_run_trusts_no_damaged_shard(vectors, caplog):
    swap(vectors.folder)
    (vectors.folder / "manifest.json").unlink()
    encoder = FakeEncoder()
    assert np.array_equal(all_vectors(encode_corpus(Corpus(), encoder, vectors.folder))[48:], all_vectors(vectors)[48:])
    assert encoder.calls == 2
    assert "shard 1 in" in caplog.text


def test_older_shards_without_sums_are_read(vectors, caplog):
    for record in vectors.folder.glob("0*.json"):
        record.write_text(
            json.dumps({name: count for name, count in json.loads(record.read_text()).items() if name != "sha256"})
        )
    encoder = FakeEncoder()
    assert encode_corpus(Corpus(), encoder, vectors.folder, verify=True).counts == vectors.counts
    assert encoder.calls == 0
    assert "4 shards of an older version have no sums" in caplog.text


def test_a_complete_folder_stays_as_it_is(vectors):
    before = {path.name: path.stat().st_mtime_ns for path in vectors.folder.iterdir()}
    vectors.folder.chmod(0o555)
    try:
        encode_corpus(Corpus(), FakeEncoder(), vectors.folder)
        open_dense(vectors.folder).check_encoder(FakeEncoder())
    finally:
        vectors.folder.chmod(0o755)
    assert {path.name: path.stat().st_mtime_ns for path in vectors.folder.iterdir()} == before


def test_damaged_shards_are_found(vectors):
    shard = sorted(vectors.folder.glob("*.vectors.npy"))[1]
    rows = np.load(shard)
    rows[[2, 5]] = 0
    np.save(shard, rows)
    assert open_shards(vectors.folder).check() == 2
    np.save(shard, rows[1:])
    with pytest.raises(InputError, match="49 vectors, but 50 ids"):
        open_shards(vectors.folder)
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read"):
        open_vectors(vectors.folder)
    shard.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        open_vectors(vectors.folder)


def test_open_vectors_says_what_it_looked_for(tmp_path):
    with pytest.raises(MissingResourceError, match="is not there"):
        open_vectors(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no vectors"):
        open_vectors(tmp_path)
