"""Which topics, judgements and expansions a command line means: the options that several verbs share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.expansions_file import ExpansionSet, read_expansions
from expandr_ir.qrels import read_qrels
from expandr_ir.records import ExpandedTopic, Qrels, Topic
from expandr_ir.retrieve import plain
from expandr_ir.topics import read_topics


@dataclass(frozen=True)
class TopicSource:
    """Where topics come from.

    Args:
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: which judged topics; None takes the collection's default.
        topics: a file of topics instead: TSV, JSONL or Pyserini's JSON, plain or .gz.
        topics_field: the field of a JSONL that holds the text to search.
    """

    collection: str | None = None
    split: str | None = None
    topics: str | None = None
    topics_field: str | None = None


def collection_of(source: TopicSource) -> Collection | None:
    """The collection that was named, if any."""
    return load_collection(source.collection) if source.collection else None


def topics_of(source: TopicSource, collection: Collection | None) -> dict[str, Topic]:
    """The topics of the file, else of the collection's split.

    Raises:
        InputError: neither a file nor a collection, or a field without a file.
    """
    if source.topics_field and not source.topics:
        raise InputError("--topics-field without --topics", expected="--topics FILE.jsonl")
    if source.topics:
        return read_topics(source.topics, source.topics_field)
    if collection is None:
        raise InputError("no topics are named", expected="--collection C or --topics FILE")
    report = collection.report(source.split)
    if report.topics_without_qrels and report.split:
        others = report.topics_without_qrels
        say(f"split {report.split}: {report.topics} topics are judged; {others} others are left out")
    if report.qrels_without_topic:
        say(f"split {report.split}: {report.qrels_without_topic} judged topics have no text and are left out")
    return collection.topics(source.split)


def expanded_of(
    expansions: str | None, topics: dict[str, Topic], skip_missing: bool
) -> tuple[dict[str, ExpandedTopic], ExpansionSet | None]:
    """The topics with the expansions of a file, or plain where there is none; what did not fit is said."""
    if not expansions:
        return plain(topics.values()), None
    found = read_expansions(expansions, topics, skip_missing)
    if found.missing:
        say(f"{len(found.missing)} topics without an expansion are left out")
    if found.empty:
        say(f"{found.empty} expansions are empty; their topics are searched with what is left")
    if found.other_rows:
        say(f"{found.other_rows} rows of {expansions} are for other topics")
    return found.topics, found


def qrels_of(qrels: str | None, collection: str | None, split: str | None) -> tuple[Qrels, dict[str, Topic]]:
    """The judgements of a file, else of the collection's split, with all topics of the collection."""
    if qrels:
        return read_qrels(qrels), {}
    if not collection:
        raise InputError("no judgements are named", expected="--collection C or --qrels FILE")
    loaded = load_collection(collection)
    return loaded.qrels(split), loaded.all_topics()


def identity(collection: Collection | None) -> dict[str, str] | None:
    """What a manifest says of the collection."""
    return {"name": collection.name, "spec": collection.spec} if collection else None


def files_of(**named: str | None) -> dict[str, Path]:
    """The files among a command's inputs, by role, for its manifest."""
    return {role: Path(name) for role, name in named.items() if name and Path(name).exists()}


def say(message: str) -> None:
    """A remark on stderr, so that what is printed can be piped."""
    print(f"expandr: {message}", file=sys.stderr)
