"""What is no longer trusted is forgotten, and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from expandr_ir.errors import InputError
from expandr_ir.expanders.forget import ForgetOptions, forget
from expandr_ir.records import Decoding, Generation, GenerationRequest, GeneratorId, Message, SampleKey, Topic
from expandr_ir.store import Store
from expandr_ir.store.archive import export_rows
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash
from expandr_ir.store.verify import verify

ROWS = {
    "plain": ("fleas", "one", "passage@1", "stop", "a text"),
    "other model": ("fleas", "two", "passage@1", "stop", "a text"),
    "other prompt": ('Wei\u00df "fleas"', "one", "passage@2", "stop", "a text"),
    "cut": ("dogs", "one", "keywords@1", "length", "a text that"),
    "blank": ("cats", "one", "keywords@1", "stop", ""),
    "thinking": ("mice", "one", "keywords@1", "stop", "<think>hm</think>"),
    "refused": ("men", "one", "keywords@1", "refused", ""),
    "error": ("women", "one", "keywords@1", "error", ""),
}
YEARS = {name: f"20{10 + place}-06-01T00:00:00.000000+00:00" for place, name in enumerate(ROWS)}


def key_of(name):
    topic, model, *_ = ROWS[name]
    return sample_key(messages_hash([Message("user", topic)]), settings_hash(GeneratorId("api", model), Decoding()), 0)


@pytest.fixture
def path(tmp_path):
    with Store.open(tmp_path / "s.sqlite") as store:
        for name, (topic, model, prompt, reason, text) in ROWS.items():
            samples = (SampleKey(0, key_of(name), 0),)
            request = GenerationRequest(Topic("1", topic), (Message("user", topic),), samples, Decoding())
            error = "why" if reason in {"refused", "error"} else None
            generation = Generation(key_of(name), text, reason, 1, 1, 0.0, "fake", error)
            store.put([generation], [request], GeneratorId("api", model), prompt)
    with closing(sqlite3.connect(tmp_path / "s.sqlite")) as raw, raw:
        for name, when in YEARS.items():
            raw.execute("UPDATE generations SET created = ? WHERE key = ?", (when, key_of(name)))
    return tmp_path / "s.sqlite"


def names_in(path):
    with Store.open(path) as store:
        assert verify(store) == []
        keys = {row["key"] for row in export_rows(store)}
    return {name for name in ROWS if key_of(name) in keys}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"model": "two"}, ["other model"]),
        ({"prompt": "passage"}, ["plain", "other model", "other prompt"]),
        ({"prompt": "passage@1", "model": "one"}, ["plain"]),
        ({"topic": "fleas"}, ["plain", "other model", "other prompt"]),
        ({"topic": 'Wei\u00df "fleas"'}, ["other prompt"]),
        ({"topic": "flies"}, []),
        ({"reason": ["empty"]}, ["blank", "thinking"]),
        ({"reason": ["truncated", "refused"]}, ["cut", "refused"]),
        ({"reason": ["error"], "topic": "men"}, ["error"]),
        ({"before": "2011-06-01"}, ["plain"]),
        ({"before": "2011-06-01T01:00+02:00"}, ["plain"]),
        ({"before": "2011-06-01T00:00:01Z"}, ["plain", "other model"]),
        ({"keys": ["plain", "cut"]}, ["plain", "cut"]),
    ],
)
def test_what_all_options_say_is_forgotten(path, options, names):
    if "keys" in options:
        options = {"keys": [key_of(name)[:12].upper() for name in options["keys"]]}
    before = path.read_bytes()
    listing = forget(ForgetOptions(str(path), **options, dry_run=True))
    assert listing.endswith(f"{len(names)} of 8 generations would be forgotten")
    assert names_in(path) == {*ROWS}
    assert path.read_bytes() == before
    assert forget(ForgetOptions(str(path), **options)) == listing.replace("would be ", "")
    assert names_in(path) == {*ROWS} - {*names}
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM messages").fetchone()[0] == len(
            {ROWS[name][0] for name in ROWS if name not in names}
        )
    if names:
        model, prompt = ROWS[names[0]][1:3]
        assert f"api {model}, prompt {prompt}" in listing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says what to forget"),
        ({"topic": ""}, "nothing says what to forget"),
        ({"dry_run": True}, "nothing says what to forget"),
        ({"model": "tow"}, "unknown model"),
        ({"prompt": "pasage"}, "unknown prompt"),
        ({"reason": ["emty"]}, "--reason 'emty'"),
        ({"before": "yesterday"}, "--before yesterday"),
        ({"keys": ["zz"]}, "no key in the store"),
        ({"keys": [""]}, "several keys begin"),
    ],
)
def test_without_a_filter_that_fits_nothing_is_forgotten(path, options, message):
    with pytest.raises(InputError, match=message):
        forget(ForgetOptions(str(path), **options))
    assert names_in(path) == {*ROWS}


def test_a_damaged_generation_is_forgotten_by_its_key(path):
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE settings SET generator = '{' WHERE rowid = 1")
        raw.execute("UPDATE generations SET text = x'ff' WHERE key = ?", (key_of("plain"),))
    with Store.open(path) as store:
        named = [word for fault in verify(store) for word in fault.split() if key_of("plain").startswith(word)]
    assert named
    assert forget(ForgetOptions(str(path), reason=["empty"], topic="fleas")).startswith("0 of 8")
    assert "is damaged" in forget(ForgetOptions(str(path), keys=[key_of("plain")[:16]]))
    with Store.open(path) as store:
        assert len(store) == 7


@pytest.mark.parametrize("key", ["x'ff'", "CAST(x'ff' AS TEXT)"])
def test_a_generation_without_a_key_is_forgotten_with_the_others(path, key):
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE generations SET key = {key} WHERE key = ?", (key_of("plain"),))
    assert forget(ForgetOptions(str(path), prompt="passage@1")).endswith("2 of 8 generations forgotten")
    assert names_in(path) == {*ROWS} - {"plain", "other model"}
