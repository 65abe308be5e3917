"""A search as the commands and as the Python that repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from expandr_ir.collections import Collection
from expandr_ir.records import ExpandedTopic
from expandr_ir.retrievers import SearchOptions
from expandr_ir.serve.options import public_name

_OF_DENSE = frozenset({"dense_aggregation", "dense", "encoder", "expansion_role", "expansion_prefix"})


def command(collection: Collection, topic: ExpandedTopic, options: SearchOptions) -> str:
    """Shell commands that write the query and its texts to files, and search with them."""
    query, texts = " ".join(topic.topic.text.split()), [expansion.text for expansion in topic.expansions]
    lines = [f"printf 'query\\t%s\\n' {shlex.quote(query)} > topic.tsv"]
    words = ["expandr", "search", "--collection", _name(collection), "--topics", "topic.tsv"]
    if texts:
        rows = (json.dumps({"topic_id": "query", "text": text}, ensure_ascii=False) for text in texts)
        lines.append(f"printf '%s\\n' {shlex.join(rows)} > texts.jsonl")
        words += ["--expansions", "texts.jsonl"]
    for name, value in _flags(_changed(options)):
        words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return "\n".join([*lines, shlex.join([*words, "--output", "query.run"])])


def python(collection: Collection, topic: ExpandedTopic, options: SearchOptions) -> str:
    """The same search in Python."""
    changed, texts = _changed(options), [expansion.text for expansion in topic.expansions]
    blocks = [value for value in changed.values() if is_dataclass(value)]
    return "\n".join(
        [
            "import expandr_ir as ex",
            *(f"from {type(block).__module__} import {type(block).__name__}" for block in blocks),
            "from expandr_ir.records import ExpandedTopic, Expansion, Topic",
            "from expandr_ir.retrievers import SearchOptions, load_retriever",
            "",
            f"collection = ex.load_collection({_name(collection)!r})",
            f"texts = {texts!r}",
            f"topic = Topic('query', {topic.topic.text!r})",
            "expanded = ExpandedTopic(topic, tuple(Expansion(i, text) for i, text in enumerate(texts)))",
            f"options = SearchOptions({', '.join(f'{name}={value!r}' for name, value in changed.items())})",
            "print(load_retriever(collection, options).search({'query': expanded}).to_frame())",
        ]
    )


def _name(collection: Collection) -> str:
    """How it is named on a command line; of a folder, the last part alone."""
    return collection.name if Path(collection.spec).is_dir() else collection.spec


def _changed(options: SearchOptions) -> dict[str, Any]:
    """The options of this search that are not the defaults."""
    defaults, passed_over = SearchOptions(), _OF_DENSE if options.retriever == "sparse" else frozenset[str]()
    names = [field.name for field in fields(SearchOptions) if field.name not in passed_over]
    changed = {name: getattr(options, name) for name in names if getattr(options, name) != getattr(defaults, name)}
    return changed | ({"encoder": public_name(changed["encoder"])} if "encoder" in changed else {})


def _flags(changed: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in changed.items():
        if is_dataclass(value) and not isinstance(value, type):
            defaults = type(value)()
            for field in fields(value):
                if (entry := getattr(value, field.name)) != getattr(defaults, field.name):
                    yield f"{name}.{field.name}", entry
        else:
            yield name, value
