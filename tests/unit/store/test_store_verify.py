"""A store's file is checked, secrets are found in it, and what no hash covers is redacted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from store_entries import entry

from expandr_ir.errors import ExpandrError
from expandr_ir.store import Store, StoreCorruptError
from expandr_ir.store.archive import export_rows, find, groups, import_rows, rescue_rows
from expandr_ir.store.verify import VerifyOptions, verify, verify_store

DEEP, LONG = "[" * 3000 + "]" * 3000, "9" * 5000


def damaged(path, damage, count=3):
    """A store of three topics and models whose file was changed by SQL."""
    with Store.open(path) as store:
        store.add([entry(f"text {n}", user=f"topic {n}", model=f"m{n}") for n in range(count)])
        assert verify(store) == []
    with sqlite3.connect(path) as raw:
        raw.executescript(damage)
    return path


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE generations SET sample = 5 WHERE rowid = 2", "does not stand under the hash"),
        ("""UPDATE messages SET messages = '[{"role": "user", "content": "x"}]'""", "not what they were written as"),
        ("UPDATE messages SET messages = 'no JSON'", "not what they were written as"),
        ("UPDATE settings SET generator = '{}'", "settings"),
        ("UPDATE generations SET messages = x'ff' WHERE rowid = 2", "does not stand under the hash"),
        ("DELETE FROM messages", "refers to messages that are not there"),
        ("PRAGMA writable_schema = 1; DELETE FROM sqlite_master WHERE tbl_name = 'leases'", "SQLite: "),
    ],
)
def test_verify_finds_changes(tmp_path, damage, fault):
    with Store.open(damaged(tmp_path / "s.sqlite", damage, count=50)) as store:
        assert any(fault in sentence for sentence in verify(store))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        *((f"settings SET generator = '{text}'", "settings") for text in ("{", "[]", "null", DEEP)),
        (f"""settings SET decoding = '{{"seed": {LONG}}}'""", "settings"),
        ("settings SET decoding = x'00ff'", "settings"),
        ("messages SET messages = CAST(x'5bff' AS TEXT)", "messages"),
        ("messages SET messages = x'00'", "messages"),
        ("messages SET prompt = x'ff'", "'prompt' is no UTF-8"),
        ("generations SET text = x'ff'", "'text' is no UTF-8"),
        ("generations SET error = CAST(x'ff' AS TEXT)", "'error' is no UTF-8"),
        ("generations SET sample = 'x'", "'sample' is a str"),
        ("generations SET seconds = 'x'", "'seconds' is a str"),
        ("generations SET tokens_out = -5", "'tokens_out' is -5"),
        ("generations SET created = x'ff'", "'created' is no UTF-8"),
        ("generations SET verbatim = 'x'", "'verbatim' is a str"),
    ],
)
def test_a_damaged_row_is_named_and_the_others_are_rescued(tmp_path, damage, fault, caplog):
    first, *others = (entry(user=f"topic {n}", model=f"m{n}").stored.generation.key for n in range(3))
    with Store.open(damaged(tmp_path / "s.sqlite", f"UPDATE {damage} WHERE rowid = 1")) as store:
        (sentence,) = verify(store)
        assert fault in sentence
        assert first[:16] in sentence or "prompt" in damage
        with pytest.raises(StoreCorruptError, match="is damaged"):
            list(export_rows(store))
        with pytest.raises(StoreCorruptError):
            find(store, first)
        assert find(store, others[0])["text"] == "text 1"
        assert [row["text"] for row in export_rows(store, model="m2")] == ["text 2"]
        rescued = list(rescue_rows(store))
    assert [row["key"] for row in rescued] == others
    assert "1 rows cannot be read" in caplog.text
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rescued))
    with Store.open(tmp_path / "new.sqlite") as new:
        assert import_rows(new, tmp_path / "rows.jsonl") == (2, 0)


OF_TYPES = """settings SET generator = '{"engine": "api", "model": "m", "adapter": false}'"""


@pytest.mark.parametrize(
    "damage",
    ["settings SET generator = '{'", "settings SET generator = '{}'", OF_TYPES, "messages SET prompt = x'ff'"],
)
def test_groups_and_texts_of_a_damaged_store_are_refused(tmp_path, damage):
    with Store.open(damaged(tmp_path / "s.sqlite", f"UPDATE {damage}")) as store, pytest.raises(StoreCorruptError):
        groups(store)
    damage = "UPDATE generations SET text = x'ff'"
    with Store.open(damaged(tmp_path / "t.sqlite", damage)) as store, pytest.raises(StoreCorruptError, match="'text'"):
        store.get([entry(user="topic 0", model="m0").stored.generation.key])


KEYS = (
    "sk-proj-abcdefgh1234567890",
    "hf_abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4",
)


def written(folder):
    """All bytes of the store and its log."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


def old_store(path, **columns):
    """A store with columns of one row as a release before masking could leave them."""
    with Store.open(path) as store:
        store.add([entry("", reason="error", error="timeout"), entry("plain", sample=1)])
    with sqlite3.connect(path) as raw:
        for name, value in columns.items():
            raw.execute(f"UPDATE generations SET {name} = ? WHERE sample = 0", (value,))
    return path


@pytest.mark.parametrize(
    ("column", "value", "masked"),
    [
        *(("error", f"Incorrect key {key}.", "Incorrect key ***.") for key in KEYS),
        ("error", "Illegal header value b'Bearer prime-abc\\r'", "Illegal header value b'Bearer ***'"),
        ("error", "invalid api key: q1w2e3r4", "invalid api key: ***"),
        ("error", '{"api_key": "q1w2e3r4"}', '{"api_key": "***"}'),
        ("error", "no answer from http://anna:pw@host/v1?api-key=q1", "no answer from http://***@host/v1?api-key=***"),
        ("engine_version", f"openai 2.0, {KEYS[0]}", "openai 2.0, ***"),
        ("text", f"the key is {KEYS[0]}", "the key is ***"),
    ],
)
def test_keys_in_an_old_store_are_found_and_redacted(tmp_path, column, value, masked):
    path = old_store(tmp_path / "s.sqlite", **{column: value})
    secrets = [part for part in (*KEYS, "prime-abc", "q1w2e3r4", "anna:pw") if part in value]
    before = verify_store(VerifyOptions(str(path)))
    key = entry().stored.generation.key
    assert before.exit_code == 6
    assert before.faults == [f"generation {key}: its {column} holds something like a key; --redact masks it"]
    with Store.open(path) as store:  # an error is masked before it is shown, too
        assert find(store, key)[column] == (value if column == "text" else masked)
        assert secrets[0] not in str(store.get([key])[key].generation.error)
    after = verify_store(VerifyOptions(str(path), redact=True))
    assert (str(after), after.exit_code) == ("2 generations, 1 redacted, 0 faults", 0)
    with Store.open(path) as store:
        assert find(store, key)[column] == masked
    assert not any(secret.encode() in written(tmp_path) for secret in secrets)


@pytest.mark.parametrize(
    "text", ["the Bearer of news", "see http://a@b", "risk-aversion-of-2023-and-later-years", "api key: ask for one"]
)
def test_ordinary_texts_are_no_keys(store, text):
    store.add([entry(text)])
    assert verify(store) == []


def test_what_a_key_is_made_of_cannot_be_redacted(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add([entry(user=f"is {KEYS[0]} mine"), entry(model=f"http://anna:pw@host/{KEYS[1]}")])
    verified = verify_store(VerifyOptions(str(path), redact=True))
    assert (verified.redacted, verified.exit_code, len(verified.faults)) == (0, 6, 2)
    for fault, word, kind in zip(verified.faults, ("mine", "model"), ("messages", "settings"), strict=True):
        stored = entry(user=f"is {KEYS[0]} mine") if word == "mine" else entry(model=f"http://anna:pw@host/{KEYS[1]}")
        assert fault.startswith(f"{kind} ")
        assert f"expandr store forget {stored.stored.generation.key[:16]}" in fault


def test_a_key_that_was_deleted_before_is_wiped_from_free_pages(tmp_path):
    path = old_store(tmp_path / "s.sqlite", error=KEYS[0] * 500)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA secure_delete = OFF")  # as SQLite is built in many places
        raw.execute("DELETE FROM generations WHERE sample = 0")
    assert KEYS[0].encode() in written(tmp_path)
    assert str(verify_store(VerifyOptions(str(path), redact=True))) == "1 generations, 0 redacted, 0 faults"
    assert KEYS[0].encode() not in written(tmp_path)


def test_a_log_that_is_in_use_is_no_success(tmp_path, monkeypatch):
    path = old_store(tmp_path / "s.sqlite", error=KEYS[0])
    monkeypatch.setattr("expandr_ir.store.store.BUSY_TIMEOUT_S", 0.1)
    with sqlite3.connect(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM generations").fetchone()
        with pytest.raises(ExpandrError, match="is in use"):
            verify_store(VerifyOptions(str(path), redact=True))
    assert verify_store(VerifyOptions(str(path), redact=True)).exit_code == 0


def test_pages_that_cannot_be_read_are_faults(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add([entry("word " * 100, sample=number) for number in range(200)])
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 2 * 4096)
    verified = verify_store(VerifyOptions(str(path)))
    assert verified.exit_code == 6
    assert "is damaged" in verified.faults[0]
