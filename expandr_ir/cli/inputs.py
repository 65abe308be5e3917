"""The options that several verbs share: topics, judgements and expansions to read."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.io.expansions import Expansions, read_expansions
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.topics import read_topics
from expandr_ir.records import ExpandedTopic, Qrels, Topic
from expandr_ir.retrievers import plain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopicSource:
    """Options that name topics.

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

    def load_collection(self) -> Collection | None:
        """The collection that is named, if any."""
        return load_collection(self.collection) if self.collection else None

    def load_topics(self, collection: Collection | None, limit: int | None = None) -> dict[str, Topic]:
        """The topics of the file, else of the collection's split; the first `limit` of them, or all.

        Raises:
            InputError: neither a file nor a collection, a field without a file, or a limit below 1.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}", expected="1 or more")
        if self.topics_field and not self.topics:
            raise InputError("--topics-field without --topics", expected="--topics FILE.jsonl")
        if self.topics:
            topics = read_topics(self.topics, self.topics_field)
        elif collection is None:
            raise InputError("no topics are named", expected="--collection C or --topics FILE")
        else:
            _say_split(collection, self.split)
            topics = collection.topics(self.split)
        return dict(itertools.islice(topics.items(), limit))


def load_expanded(expansions: str | None, topics: dict[str, Topic], skip_missing: bool) -> Mapping[str, ExpandedTopic]:
    """The topics with the expansions of a file, or plain where none is named; what did not fit is said."""
    if not expansions:
        return plain(topics.values())
    found = read_expansions(expansions, topics, skip_missing)
    if found.missing:
        logger.warning("%d topics without an expansion are left out", len(found.missing))
    if empty := found.counts["empty"]:
        logger.warning("%d expansions are empty; their topics are searched with what is left", empty)
    if other_rows := found.counts["other_rows"]:
        logger.warning("%d rows of %s are for other topics", other_rows, expansions)
    return found


def missing_counts(topics: Mapping[str, ExpandedTopic]) -> dict[str, int]:
    """Counts of expansions for a run's manifest: topics left out, empty texts."""
    if not isinstance(topics, Expansions):
        return {}
    return {"missing_topics": len(topics.missing), "empty_expansions": topics.counts["empty"]}


def load_qrels(qrels: str | None, collection: str | None, split: str | None) -> tuple[Qrels, dict[str, Topic]]:
    """The judgements of a file, else of the collection's split, with all topics of the collection."""
    if qrels:
        return read_qrels(qrels), {}
    if not collection:
        raise InputError("no judgements are named", expected="--collection C or --qrels FILE")
    loaded = load_collection(collection)
    return loaded.qrels(split), loaded.all_topics()


def _say_split(collection: Collection, split: str | None) -> None:
    report = collection.report(split)
    if report.topics_without_qrels and report.split:
        text = "split %s: %d topics are judged; %d others are left out"
        logger.warning(text, report.split, report.topics, report.topics_without_qrels)
    if report.qrels_without_topic:
        text = "split %s: %d judged topics have no text and are left out"
        logger.warning(text, report.split, report.qrels_without_topic)
