"""A store listed, shown, exported, imported and verified."""

from __future__ import annotations

import gzip
import json
import sqlite3
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_entries import WHEN, entry

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.records import Decoding, Generation, GeneratorId, Message
from expandr_ir.store import Store, StoreCorruptError, StoredGeneration, StoreEntry
from expandr_ir.store.archive import (
    ExportOptions,
    ImportOptions,
    ListOptions,
    ShowOptions,
    export_rows,
    export_store,
    find,
    groups,
    import_rows,
    import_store,
    list_store,
    rescue_rows,
    show_generations,
)
from expandr_ir.store.keys import messages_hash, sample_key, settings_hash
from expandr_ir.store.verify import VerifyOptions, verify, verify_store


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_groups_count_by_generator_decoding_and_prompt(store):
    assert (groups(store), list(export_rows(store)), verify(store)) == ([], [], [])
    store.add(
        [
            entry("one"),
            entry("", sample=1),
            entry("cut", sample=2, reason="length", tokens=(None, 512)),
            entry("", sample=3, reason="refused", error="filter", tokens=(None, None)),
            entry("", sample=4, reason="error", error="timeout", tokens=(None, None)),
            entry("x", model="other"),
            entry("x", user="another prompt", prompt=None),
        ]
    )
    first, other, unknown = groups(store)
    assert (first.generator["model"], first.prompt, first.decoding["stop"]) == ("tiny", "passage@1", ["\n\n"])
    assert (first.texts, first.empty, first.truncated, first.refused, first.errors) == (3, 1, 1, 1, 1)
    assert (first.tokens_in, first.tokens_out, first.seconds, first.last) == (14, 518, 2.5, WHEN)
    assert (other.generator["model"], other.texts) == ("other", 1)
    assert (unknown.prompt, unknown.texts, unknown.empty) == (None, 1, 0)


def test_find_by_the_beginning_of_a_key(store):
    store.add([entry("one"), entry("two", sample=1)])
    row, _ = export_rows(store)
    assert (row["text"], row["generator"]["model"], row["decoding"]["stop"]) == ("one", "tiny", ["\n\n"])
    assert find(store, row["key"][:10]) == find(store, row["key"].upper()) == row
    for prefix, message in (("", "several keys begin with ''"), ("%", "no key in the store begins with '%'")):
        with pytest.raises(InputError, match=message):
            find(store, prefix)


def test_export_keeps_the_order_and_can_be_narrowed(store):
    entries = [entry(f"text {number}", user=f"topic {number}", prompt=f"p@{number % 2}") for number in range(11)]
    store.add([*entries, entry("x", model="other")])
    texts = [f"text {number}" for number in range(11)]
    for chosen, expected in (
        ({}, [*texts, "x"]),
        ({"model": "tiny"}, texts),
        ({"prompt": "p@1"}, texts[1::2]),
        ({"prompt": "p"}, texts),
        ({"model": "other", "prompt": "passage@1"}, ["x"]),
    ):
        assert [row["text"] for row in export_rows(store, **chosen)] == expected
    for unknown in ({"model": "othr"}, {"prompt": "p@2"}):
        with pytest.raises(InputError, match=next(iter(unknown.values()))):
            export_rows(store, **unknown)


texts = st.text(st.characters(codec=None), max_size=8)
tokens = st.none() | st.integers(0, 2**40)


@st.composite
def entries(draw):
    messages = tuple(draw(st.lists(st.builds(Message, st.sampled_from(["system", "user"]), texts), max_size=3)))
    plain = st.text(st.characters(codec="utf-8"), max_size=5)
    generator = draw(st.builds(GeneratorId, plain, plain, st.none() | plain, st.none() | plain))
    stops = st.lists(texts, max_size=2).map(tuple)
    decoding = draw(st.builds(Decoding, st.floats(0, 2), st.floats(0, 1), st.integers(1, 9), stops, st.just(1), tokens))
    sample = draw(st.integers(0, 9))
    reason = draw(st.sampled_from(["stop", "length", "refused", "error"]))
    text, error = (draw(texts), None) if reason in ("stop", "length") else ("", draw(texts))
    key = sample_key(messages_hash(messages), settings_hash(generator, decoding), sample)
    seconds = draw(st.floats(0, 1e6))
    generation = Generation(key, text, reason, draw(tokens), draw(tokens), seconds, draw(texts), error)
    return StoreEntry(
        messages,
        generator,
        decoding,
        sample,
        StoredGeneration(generation, WHEN, draw(st.booleans())),
        draw(st.none() | plain),
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(entries(), max_size=5))
def test_export_and_import_are_each_others_inverse(written):
    with ExitStack() as open_things:
        folder = Path(open_things.enter_context(tempfile.TemporaryDirectory()))
        one, other = (open_things.enter_context(Store.open(folder / name)) for name in ("a.sqlite", "b.sqlite"))
        one.add(written)
        rows = list(export_rows(one))
        imported = import_rows(other, write(folder / "rows.jsonl", rows))
        assert imported == (len(rows), 0)
        assert import_rows(other, folder / "rows.jsonl") == (0, len(rows))
        assert list(export_rows(other)) == rows
        assert verify(other) == []


def test_a_text_from_outside_is_verbatim_and_needs_no_key(store, tmp_path):
    row = {
        "messages": [{"role": "user", "content": "why"}],
        "generator": {"engine": "api", "model": "tiny"},
        "decoding": {"stop": ["\n\n"]},
        "sample": 0,
        "text": "Here is a passage: because",
    }
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    assert import_rows(store, path) == (1, 0)
    (stored,) = store.get([entry().stored.generation.key]).values()
    assert stored.verbatim
    assert stored.generation == Generation(entry().stored.generation.key, row["text"], "stop", None, None, 0.0, "")


def test_import_passes_over_what_is_there_and_replaces_failures(store, tmp_path):
    with Store.open(tmp_path / "other.sqlite") as other:
        other.add([entry("new"), entry("new", sample=1), entry("new", sample=2)])
        path = write(tmp_path / "rows.jsonl", export_rows(other))
    store.add([entry("old"), entry("", sample=1, reason="error", error="timeout")])
    assert list(rescue_rows(store)) == list(export_rows(store))
    assert import_rows(store, path) == (2, 1)
    assert sorted((row["sample"], row["text"]) for row in export_rows(store)) == [(0, "old"), (1, "new"), (2, "new")]


GOOD = {
    "messages": [{"role": "user", "content": "why"}],
    "generator": {"engine": "api", "model": "tiny"},
    "decoding": {},
    "sample": 1,
    "text": "x",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": None}, "'text' is a NoneType"),
        ({"text": 3}, "'text' is a int"),
        ({"sample": True}, "'sample' is a bool"),
        ({"sample": "0"}, "'sample' is a str"),
        ({"sample": -1}, "'sample' is -1"),
        ({"tokens_in": 2**63}, "'tokens_in' is 9223372036854775808"),
        ({"seconds": float("nan")}, "'seconds' is nan"),
        ({"prompt": "\ud800"}, "'prompt' has half a surrogate pair"),
        ({"created": "x\udfff"}, "'created' has half a surrogate pair"),
        ({"messages": "why"}, "'messages' is a str"),
        ({"messages": ["why"]}, "line 2"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "name"),
        ({"messages": [{"role": "user", "content": 5}]}, "a message whose role or content is no text"),
        ({"generator": {"engine": "api"}}, "model"),
        ({"generator": {"engine": "api", "model": "m", "adapter": False}}, "'adapter' is False"),
        ({"decoding": {"temprature": 1}}, "temprature"),
        ({"decoding": {"temperature": "hot"}}, "hot"),
        ({"decoding": {"stop": "END"}}, "'stop' is a str, not a list"),
        ({"finish_reason": "sotp"}, "stop"),
        ({"key": "0" * 64}, "the key is 000000"),
        (None, "no field 'generator'"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(store, tmp_path, change, message):
    path = write(tmp_path / "rows.jsonl", [{**GOOD, "sample": 0}, {**GOOD, **change} if change else {"messages": []}])
    with pytest.raises(InputError, match="line 2") as caught:
        import_rows(store, path)
    assert message in str(caught.value)
    assert len(store) == 0
    with pytest.raises(MissingResourceError):
        import_rows(store, tmp_path / "none.jsonl")


def test_rescue_reads_what_a_damaged_store_still_has(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add([entry("word " * 100, sample=number) for number in range(200)])
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 2 * 4096)
    with Store.open(path) as store:
        with pytest.raises(StoreCorruptError):
            list(export_rows(store))
        rescued = list(rescue_rows(store))
    assert 100 < len(rescued) < 200
    with Store.open(tmp_path / "new.sqlite") as store:
        assert import_rows(store, write(tmp_path / "rows.jsonl", rescued)) == (len(rescued), 0)
        assert verify(store) == []


def test_rescue_goes_from_row_to_row_whatever_their_numbers_are(tmp_path):
    path = tmp_path / "s.sqlite"
    with Store.open(path) as store:
        store.add([entry(sample=number) for number in range(3)])
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE generations SET rowid = {1 << 62} WHERE rowid = 2")
        raw.execute("UPDATE generations SET text = x'ff' WHERE rowid = 1")
    with Store.open(path) as store:
        assert [row["sample"] for row in rescue_rows(store)] == [2, 1]


def test_the_verbs_open_the_store_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store.open(tmp_path / "a.sqlite") as store:
        store.add([entry("one"), entry("", sample=1, reason="error", error="timeout")])
        key = entry().stored.generation.key
    assert export_store(ExportOptions("a.sqlite", output="rows.jsonl.gz")) == "rows.jsonl.gz: 2 generations"
    counts = "rows.jsonl.gz: 2 added, 0 were there\nrows.jsonl.gz: 0 added, 2 were there"
    assert import_store(ImportOptions("b.sqlite", ["rows.jsonl.gz", "rows.jsonl.gz"])) == counts
    listing = list_store(ListOptions("b.sqlite"))
    assert listing.startswith(
        "api tiny, prompt passage@1\n    1 texts (0 empty, 0 truncated, 1 failed), 6 tokens out, last 2026"
    )
    (group,) = json.loads(list_store(ListOptions("b.sqlite", "json")))
    assert (group["texts"], group["errors"]) == (1, 1)
    assert json.loads(show_generations(ShowOptions("b.sqlite", [key[:8]])))["text"] == "one"
    whole = verify_store(VerifyOptions("b.sqlite"))
    assert (str(whole), whole.exit_code) == ("2 generations, 0 faults", 0)
    with sqlite3.connect("b.sqlite") as raw:
        raw.execute("UPDATE generations SET sample = 7")
    assert verify_store(VerifyOptions("b.sqlite")).exit_code == 6
    with pytest.raises(MissingResourceError):
        list_store(ListOptions("c.sqlite"))
    for verb, options in ((show_generations, ShowOptions("b.sqlite")), (import_store, ImportOptions("b.sqlite"))):
        with pytest.raises(InputError, match="is named"):
            verb(options)
