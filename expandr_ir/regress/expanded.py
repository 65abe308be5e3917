"""What a step searches: the topics alone, or with recorded expansions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.expansions_file import add_expansions, check_topic_text, read_expansions
from expandr_ir.files import read_jsonl, text_field
from expandr_ir.records import ExpandedTopic, Expansion, Topic
from expandr_ir.retrieve import plain


@dataclass(frozen=True)
class Asked:
    """What is searched.

    Args:
        topics: by topic_id.
        missing: topics without an expansion.
        empty: expansions that were written and are empty.
        samples: most expansions of a topic; None where the topics are searched alone.
    """

    topics: dict[str, ExpandedTopic]
    missing: tuple[str, ...]
    empty: int
    samples: int | None


def asked(topics: Mapping[str, Topic], expansions: Path | None, topics_field: str | None) -> Asked:
    """What is searched for these topics.

    Args:
        topics: the collection's topics of the split.
        expansions: a file of recorded expansions; None searches the topics alone.
        topics_field: the field that is searched as it stands, in place of the topic.

    Raises:
        InputError: the file does not fit; the message names file and line.
    """
    if expansions is None:
        return Asked(plain(topics.values()), (), 0, None)
    if topics_field is None:
        found = read_expansions(expansions, topics, skip_missing=True)
        samples = max(len(topic.expansions) for topic in found.topics.values())
        return Asked(found.topics, found.missing, found.empty, samples)
    return _as_it_stands(topics, expansions, topics_field)


def _as_it_stands(topics: Mapping[str, Topic], path: Path, field: str) -> Asked:
    """Each topic with the text that was searched for it in place of its own, and its expansions beside it.

    A text that is blank stands for a topic whose expansion is empty: the topic is searched alone.
    """
    found: dict[str, ExpandedTopic] = {}
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        topic = topics.get(text_field(row, ("topic_id",), where))
        if topic is None:
            continue
        check_topic_text(row, topic, where)
        if topic.topic_id in found:
            raise InputError(f"{where}: topic {topic.topic_id!r} a second time", expected="each topic once")
        samples: dict[int, Expansion] = {}
        add_expansions(samples, row, where)
        searched = text_field(row, (field,), where)
        text = searched if searched.strip() else topic.text
        found[topic.topic_id] = ExpandedTopic(Topic(topic.topic_id, text), tuple(samples.values()))
    ordered = {topic_id: found[topic_id] for topic_id in topics if topic_id in found}
    if not ordered:
        raise InputError(
            f"{path} has expansions of none of the {len(topics)} topics", expected="a file for these topics"
        )
    empty = sum(not one.text.strip() for topic in ordered.values() for one in topic.expansions)
    missing = tuple(topic_id for topic_id in topics if topic_id not in found)
    return Asked(ordered, missing, empty, max(len(topic.expansions) for topic in ordered.values()))
