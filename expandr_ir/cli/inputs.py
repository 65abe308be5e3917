"""The options that several verbs share: topics and expansions to read."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError, check_number
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.topics import read_topics
from expandr_ir.records import ExpandedTopic, Topic
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
        """The topics of the file, else of the collection's split; the first `limit` of them, or all."""
        check_number("limit", limit, least=1)
        if self.topics_field and not self.topics:
            raise InputError("--topics-field without --topics", expected="--topics FILE.jsonl")
        if self.topics:
            topics = read_topics(self.topics, self.topics_field)
        elif collection is None:
            raise InputError("no topics are named", expected="--collection C or --topics FILE")
        else:
            topics = collection.topics(self.split)
            report = collection.report(self.split)
            if report.topics_without_qrels and report.split:
                text = "split %s: %d topics are judged; %d others are left out"
                logger.warning(text, report.split, report.topics, report.topics_without_qrels)
            if report.qrels_without_topic:
                text = "split %s: %d judged topics have no text and are left out"
                logger.warning(text, report.split, report.qrels_without_topic)
        return dict(itertools.islice(topics.items(), limit))


@dataclass(frozen=True, kw_only=True)
class ExpandedSource(TopicSource):
    """Options that name topics and their expansions.

    Args:
        expansions: a JSONL of expansions.
        skip_missing: leave out topics without an expansion, where that would be an error.
    """

    expansions: str | None = None
    skip_missing: bool = False

    def load_expanded(self, collection: Collection | None) -> Mapping[str, ExpandedTopic]:
        """The topics with the expansions of the file, or plain where none is named; what did not fit is said."""
        topics = self.load_topics(collection)
        if not self.expansions:
            return plain(topics.values())
        expansions = read_expansions(self.expansions, topics, self.skip_missing)
        if expansions.missing:
            logger.warning("%d topics without an expansion are left out", len(expansions.missing))
        if empty := expansions.counts["empty"]:
            logger.warning("%d expansions are empty; their topics are searched with what is left", empty)
        if other_rows := expansions.counts["other_rows"]:
            logger.warning("%d rows of %s are for other topics", other_rows, self.expansions)
        return expansions
