"""The store: keys, what is kept and what is replaced, and that nothing is lost in silence."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.io.files import sha256_json
from expandr_ir.records import Decoding, Generation, GenerationRequest, GeneratorId, Message, SampleKey, Topic
from expandr_ir.store import Store, StoreCorruptError, store_path
from expandr_ir.store.keys import messages_hash, sample_key, sample_seed, settings_hash

LLM = GeneratorId("local", "tiny", "main", None)


def request(text="why is the sky blue", samples=1):
    messages, decoding = (Message("system", "Write."), Message("user", text)), Decoding()
    digest, settings = messages_hash(messages), settings_hash(LLM, decoding)
    keys = [sample_key(digest, settings, sample) for sample in range(samples)]
    wanted = tuple(SampleKey(sample, key, sample_seed(key)) for sample, key in enumerate(keys))
    return GenerationRequest(Topic("1", text), messages, wanted, decoding)


def answer(asked, sample=0, text="because", finish_reason="stop", error=None):
    return Generation(asked.samples[sample].key, text, finish_reason, 7, 1, 0.5, "fake 1", error)


# Keys


def test_key_is_the_hash_of_hashes_that_the_documentation_states():
    messages = sha256_json([{"role": "user", "content": "é"}])
    settings = sha256_json(
        {
            "generator": {"engine": "api", "model": "m", "revision": None, "adapter": None},
            "decoding": {
                "temperature": 1.0,
                "top_p": 0.9,
                "max_new_tokens": 512,
                "stop": ["\n"],
                "repetition_penalty": 1.0,
                "seed": 3,
            },
        }
    )
    assert messages_hash((Message("user", "é"),)) == messages
    assert settings_hash(GeneratorId("api", "m"), Decoding(stop=("\n",), seed=3)) == settings
    assert settings_hash(GeneratorId("api", "m"), Decoding(temperature=1, stop=("\n",), seed=3)) == settings
    assert sha256_json({"b": 1, "a": 2}) == sha256_json({"a": 2, "b": 1})
    assert sample_key(messages, settings, 2) == sha256_json([messages, settings, 2])


def test_keys_do_not_change_between_releases():
    key = sample_key(messages_hash((Message("user", "hello"),)), settings_hash(LLM, Decoding()), 0)
    assert key == "2d18e83294ec32523c73ac878d56931a66bd55cd3536192194f5723e41959ffd"
    assert sample_seed(key) == 0x2D18E832 // 2
    assert [sample_seed(f"{first}{'0' * 56}") for first in ("00000000", "00000003", "ffffffff")] == [0, 1, 2**31 - 1]


texts = st.text(st.characters(codec=None), max_size=8)
messages_of = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=3
).map(tuple)
decodings = st.builds(
    Decoding,
    temperature=st.floats(0, 2),
    top_p=st.floats(0.1, 1),
    max_new_tokens=st.integers(1, 99),
    stop=st.lists(texts, max_size=2).map(tuple),
    repetition_penalty=st.floats(1, 2),
    seed=st.integers(0, 9),
)
generators = st.builds(GeneratorId, st.sampled_from(["api", "local"]), texts, st.none() | texts, st.none() | texts)
parts = st.tuples(messages_of, generators, decodings, st.integers(0, 9))


def key_of(messages, generator, decoding, sample):
    return sample_key(messages_hash(messages), settings_hash(generator, decoding), sample)


@given(parts)
def test_each_field_of_each_part_counts(whole):
    messages, generator, decoding, sample = whole
    key = key_of(*whole)
    assert key_of((*messages, Message("user", "")), generator, decoding, sample) != key
    assert key_of(messages, generator, decoding, sample + 1) != key
    for field in dataclasses.fields(GeneratorId):
        other = dataclasses.replace(generator, **{field.name: f"{getattr(generator, field.name)}x"})
        assert key_of(messages, other, decoding, sample) != key
    for field in dataclasses.fields(Decoding):
        value = getattr(decoding, field.name)
        other = dataclasses.replace(decoding, **{field.name: (*value, "x") if field.name == "stop" else value + 1})
        assert key_of(messages, generator, other, sample) != key


# What is kept


def test_put_and_get(store):
    asked = request(samples=2)
    assert store.put([answer(asked), answer(asked, 1, "")], [asked], LLM, "passage@1") == 2
    others = [f"{number:064x}" for number in range(40_000)]  # more than SQLite takes as variables
    rows = store.get([sample.key for sample in asked.samples] + others)
    assert [row.generation for row in rows.values()] == [answer(asked), answer(asked, 1, "")]
    assert not rows[asked.samples[0].key].verbatim
    assert rows[asked.samples[0].key].created.endswith("+00:00")
    assert len(store) == 2


@pytest.mark.parametrize("text", ["", "a\0b", "half \ud83d", "\ud800", "日本\u2028\r\n", "x" * 3_000_000])
def test_texts_come_back_as_they_were(store, text):
    asked = request(f"{text[:9]}?")
    store.put([answer(asked, text=text)], [asked], LLM)
    assert store.get([asked.samples[0].key])[asked.samples[0].key].generation.text == text


@pytest.mark.parametrize("later", [("other", "stop", None), ("", "error", "late"), ("", "refused", "late")])
@pytest.mark.parametrize("earlier", ["error", "refused"])
def test_a_text_replaces_a_failure_and_is_never_replaced(store, earlier, later):
    asked = request()
    key = asked.samples[0].key
    store.put([answer(asked, text="", finish_reason=earlier, error="no")], [asked], LLM)
    assert store.get([key])[key].generation.error == "no"
    assert store.put([answer(asked)], [asked], LLM) == 1
    assert store.put([answer(asked, 0, *later)], [asked], LLM) == 0
    assert store.get([key])[key].generation == answer(asked)
    assert len(store) == 1


def test_answers_that_do_not_fit_keep_nothing(store):
    asked, stray = request(), request("something else")
    with pytest.raises(ExpandrError, match="nobody asked for"):
        store.put([answer(asked), answer(stray)], [asked], LLM)
    with pytest.raises(ExpandrError, match="is said to have the key"):
        store.put([answer(asked)], [asked], GeneratorId("local", "another"))
    assert len(store) == 0


def test_a_batch_is_one_commit(store, tmp_path):
    with Store.open(tmp_path / "s.sqlite") as other:
        asked = request(samples=3)

        def answers():
            yield answer(asked, 0)
            assert len(other) == 0
            yield answer(asked, 1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.put(answers(), [asked], LLM)
        assert len(other) == 0
        store.put([answer(asked, 0), answer(asked, 1)], [asked], LLM)
        assert len(other) == 2


def test_threads_share_a_store(store):
    asked = [request(f"question {number}") for number in range(80)]

    def write(part):
        for one in part:
            store.put([answer(one)], [one], LLM)
            assert store.get([one.samples[0].key])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [asked[start::4] for start in range(4)]))
    assert len(store) == 80


def test_a_forked_process_may_not_use_the_connection(store, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ExpandrError, match="after the fork"):
        len(store)


# The file


def test_path(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path))
    monkeypatch.delenv("EXPANDR_STORE", raising=False)
    assert store_path() == tmp_path / "store.sqlite"
    monkeypatch.setenv("EXPANDR_STORE", str(tmp_path / "other"))
    assert store_path() == tmp_path / "other"
    assert store_path(tmp_path / "mine") == tmp_path / "mine"
    path = tmp_path / "a" / "b c" / "s%20?.sqlite"
    Store.open(path).close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(MissingResourceError, match="is not there"):
        Store.open(tmp_path / "s.sqlite", create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="is a folder"):
        Store.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExpandrError, match="a folder that can be written"):
        Store.open(tmp_path / "file" / "s.sqlite")


def test_many_open_a_new_store_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(Store.open, [tmp_path / "s.sqlite"] * 8))
    asked = request()
    stores[0].put([answer(asked)], [asked], LLM)
    assert [len(opened) for opened in stores] == [1] * 8
    for opened in stores:
        opened.close()


def filled(path, texts=200):
    with Store.open(path) as store:
        asked = [request(f"question {number}") for number in range(texts)]
        store.put([answer(one, text="word " * 100) for one in asked], asked, LLM)
    return [one.samples[0].key for one in asked]


def damage(path, size=None, offset=0, junk=b""):
    with path.open("r+b") as file:
        if size is not None:
            file.truncate(size)
        file.seek(offset)
        file.write(junk)


@pytest.mark.parametrize(
    "how",
    [{"size": 0}, {"size": 50}, {"size": 5000}, {"size": 40960}, {"junk": b"x" * 100}, {"junk": b"\0" * 4096}],
    ids=["empty", "half a header", "one page", "ten pages", "garbage header", "zeroed page"],
)
def test_a_damaged_file_is_reported_and_left_alone(tmp_path, how):
    path = tmp_path / "s.sqlite"
    filled(path)
    damage(path, **how)
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError) as caught, Store.open(path) as store:
        store.get([f"{number:064x}" for number in range(300)])
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.found
    assert "expandr store verify" in caught.value.remedy
    assert ".recover" in caught.value.remedy
    assert path.read_bytes() == before


def test_damage_in_the_middle_is_found_when_it_is_read(tmp_path):
    path = tmp_path / "s.sqlite"
    keys = filled(path)
    for page in range(2, path.stat().st_size // 4096):
        damage(path, offset=page * 4096, junk=b"\xff" * 4096)
    with Store.open(path) as store, pytest.raises(StoreCorruptError):
        store.get(keys)


def test_a_log_without_its_file_is_damage(tmp_path):
    (tmp_path / "s.sqlite-wal").write_bytes(b"left behind")
    with pytest.raises(StoreCorruptError, match=r"its log s\.sqlite-wal is there"):
        Store.open(tmp_path / "s.sqlite")
    assert not (tmp_path / "s.sqlite").exists()


def test_text_that_is_no_utf8_is_damage(tmp_path):
    path = tmp_path / "s.sqlite"
    (key,) = filled(path, 1)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE generations SET text = CAST(x'ff' AS TEXT)")
    with Store.open(path) as store, pytest.raises(StoreCorruptError, match="'text' is no UTF-8"):
        store.get([key])


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("application_id = 7", "something else"),
        ("user_version = 0", "tables of version 0\nExpected: version 1"),
        ("user_version = 2", "tables of version 2"),
    ],
)
def test_someone_elses_database_or_another_release_s(tmp_path, mark, message):
    path = tmp_path / "s.sqlite"
    Store.open(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA {mark}")
    with pytest.raises(ExpandrError, match=message):
        Store.open(path)


def test_full(store):
    with store.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    asked = request(samples=2)
    store.put([answer(asked)], [asked], LLM)
    with pytest.raises(ExpandrError, match="no space is left") as caught:
        store.put([answer(asked, 1, "x" * 100_000)], [asked], LLM)
    assert caught.value.exit_code == 6
    assert list(store.get([sample.key for sample in asked.samples])) == [asked.samples[0].key]


@pytest.mark.parametrize(
    ("state", "message"), [("query_only = 1", "cannot be written"), ("busy_timeout = 50", "locked by another process")]
)
def test_read_only_and_locked(store, tmp_path, state, message):
    with store.reading() as connection:
        connection.execute(f"PRAGMA {state}")
    asked = request()
    with Store.open(tmp_path / "s.sqlite") as other, other.transaction(), pytest.raises(ExpandrError, match=message):
        store.put([answer(asked)], [asked], LLM)
