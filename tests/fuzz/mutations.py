"""Valid files changed at random: bytes, words and lines of any file, values and keys of JSON and YAML."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePath
from random import Random
from typing import Any

import yaml

Files = dict[str, bytes]
"""The content of a folder by the files' names."""

JSON_VALUES = [
    *("null", "true", "false", "0", "1", "-1", "1.5", "-0.0", "1e400", "-1e308", "NaN", "-Infinity", '""', '" "'),
    *("[]", "{}", "[[]]", "[null]", '{"a": null}', '[{"a": 1}]', '"1"', '"é"', '"../x"', '"x\\ny"', '"\\ud800"'),
    *('"\\u0000"', '"\\u001b[31mx"', '"\\u2028"', '"{x}"', '"{0.a}"', '"%s"', '"(("', "4611686018427387905"),
    *(
        "9223372036854775808",
        "9" * 400,
        "9" * 5000,
        "-" + "9" * 25,
        "[" * 3000 + "]" * 3000,
        '{"a":' * 3000 + "1" + "}" * 3000,
    ),
    *(json.dumps("x" * 300), json.dumps("a/" * 200), json.dumps("word " * 5000)),
]
NESTED = [
    f"{name}: &{name} [{', '.join([f'*{inner}' if inner else 'x'] * 8)}]" for inner, name in pairwise(["", *"abcdefgh"])
]
ALIASES = f"{{{', '.join(NESTED)}}}"
"""A mapping of 300 characters that stands for 8 ** 8 texts."""

YAML_VALUES = [
    *("~", ".nan", "-.inf", "0o9", "0x1F", "1:60", "1_000", "2024-01-01", "2024-13-45", "2001-12-14t21:59:43.10-05:00"),
    *("!!int x", "!!int ''", "!!float x", "!!bool x", "!!null x", "!!timestamp x", "!!binary '%'", "!!str [a]"),
    *("!!set {a}", "!!omap [a]", "!!pairs [[a]]", "!!seq a", "!!map a", "!!python/name:os.system ''", "!foo x"),
    *(
        "&x [*x]",
        "&x {a: *x}",
        "*x",
        "{<<: [1]}",
        "{<<: {a: 1}}",
        "{[a]: b}",
        "{{a: b}: c}",
        "{1: 2}",
        "{null: 1}",
        "=",
        "<<",
    ),
    *("'", '"\\x00"', '"\\ud800"', "|", "- a", "? a", "%YAML 9.9", "--- a", "...", "@a", "`a", "[a", "{a: b", ALIASES),
]
BYTES = [
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\t",
        b"\x0b",
        b"\x1b[2J",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\x85",
    ),
    *("\u2028\u00a0\u3000\u202e\U0001f600".encode(), b" ", b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"#", b"%"),
    *(b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b"\x7f" * 8, b"\x80" + b"\0" * 7, b"\x01\0\0\0", b"\xff\xff\xff\x7f"),
]
MOST_BYTES = 1 << 20
"""Of a changed file: a reader may take its time for more."""
WORDS = [value.encode("utf-8", "surrogatepass") for value in JSON_VALUES + YAML_VALUES]
_WORD = re.compile(rb"[^\s,:\[\]{}\"']+")
_MARK = "\u0001"  # in place of a value or key: any text goes there
_TWICE = "\u0002"  # before a key that stands there already


def mutate(random: Random, files: Files) -> Files:
    """The files with one to eight changes; a few have files that are gone, empty or exchanged."""
    changed = dict(files)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        name = random.choice(sorted(changed))
        changed[name] = _change(random, name, changed[name])[:MOST_BYTES]
    if random.random() < 0.02:
        first, second = random.choice(sorted(changed)), random.choice(sorted(changed))
        changed[first], changed[second] = changed[second], changed[first]
        if len(changed) > 1 and random.random() < 0.5:
            del changed[first]
    return changed


def _change(random: Random, name: str, content: bytes) -> bytes:
    path = PurePath(name)
    if path.suffix == ".gz" and random.random() < 0.7:
        try:
            return gzip.compress(_change(random, path.stem, gzip.decompress(content))[:MOST_BYTES], 1)
        except (OSError, EOFError, ValueError, zlib.error):
            pass  # an earlier change broke it
    structured = path.suffix in {".json", ".jsonl", ".yaml"} and random.random() < 0.6
    if structured and (swapped := _change_value(random, path.suffix, content)) is not None:
        return swapped
    return _change_bytes(random, content)


def _change_bytes(random: Random, content: bytes) -> bytes:
    start, end = sorted((random.randrange(len(content) + 1), random.randrange(len(content) + 1)))
    end = min(end, start + random.choice((1, 4, 16, 1 << 30)))
    part, words = content[start:end], list(_WORD.finditer(content))
    kind = random.randrange(9)
    if kind == 0 and part:
        return content[:start] + bytes([part[0] ^ 1 << random.randrange(8)]) + content[start + 1 :]
    if kind == 1:
        return content[:start]
    if kind == 2:
        return content[:start] + content[end:]
    if kind == 3:
        return content[:start] + part * random.choice((2, 3, 50)) + content[end:]
    if kind == 4:
        return content[:start] + bytes(len(part)) + content[end:]
    if kind == 5:
        lines = content.splitlines(keepends=True)
        return b"".join(random.sample(lines, random.randrange(len(lines) + 1)))
    if kind == 6 or not words:
        token = random.choice(BYTES)
        return content[:start] + token + content[start + random.choice((0, len(token))) :]
    word = random.choice(words)
    token = random.choice(WORDS) if kind == 7 else random.choice(words)[0]
    return content[: word.start()] + token + content[word.end() :]


def _change_value(random: Random, suffix: str, content: bytes) -> bytes | None:
    """The content with one value or key of its JSON or YAML changed; None where it is neither, or holds none."""
    if suffix == ".yaml" and b"&" in content:  # aliases of an earlier change could be too many
        return None
    lines = content.split(b"\n") if suffix == ".jsonl" else [content]
    at = random.randrange(len(lines))
    try:
        tree = yaml.load(content, Loader=yaml.CSafeLoader) if suffix == ".yaml" else json.loads(lines[at])
        slots = list(_slots(tree))
        if not slots:
            return None
        raw = _exchange(random, slots, JSON_VALUES + YAML_VALUES if suffix == ".yaml" else JSON_VALUES)
        text = json.dumps(tree, default=str, ensure_ascii=random.random() < 0.5)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, yaml.YAMLError):
        return None  # an earlier change broke it
    lines[at] = (
        text.replace(json.dumps(_MARK), raw).replace(json.dumps(_TWICE)[1:-1], "").encode("utf-8", "surrogatepass")
    )
    return b"\n".join(lines)


def _exchange(random: Random, slots: list[tuple[Any, Any]], values: list[str]) -> str:
    """Changes one slot of the tree; returns the text that goes in place of a mark."""
    (owner, key), raw = random.choice(slots), random.choice(values)
    kind = random.randrange(6) if isinstance(owner, dict) else random.randrange(4)
    if kind == 0:
        del owner[key]
    elif kind == 1:
        owner[key] = [owner[key]] * random.choice((1, 2, 40))
    elif kind == 2:
        other, place = random.choice(slots)
        owner[key] = json.loads(
            json.dumps(other.get(place) if isinstance(other, dict) else other[place : place + 1], default=str)
        )
    elif kind == 4:
        owner[random.choice(("", "a", "\ud800", "\x1b[1m", "x" * 300, "id", "text"))] = owner.pop(key)
    elif kind == 5 and random.random() < 0.5:
        owner[_MARK] = owner.pop(key)
    elif kind == 5:
        owner[_TWICE + key] = owner[key]
    else:
        owner[key] = _MARK
    return raw


def _slots(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each place of a value, as its owner and key."""
    places = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in places:
        yield tree, key
        yield from _slots(value)
