"""Expansions by the text of their topic: Pyserini passes nothing else on to an encoder or a searcher."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders import Expander
from expandr_ir.records import ExpandedTopic, Expansion, Topic

Write: TypeAlias = Callable[[Sequence[str]], Iterable[ExpandedTopic]]
"""Texts -> at least the topics of these texts, expanded."""


def text_key(text: str) -> str:
    """The text with single blanks for white space: readers of topics differ in tabs and line ends."""
    return " ".join(text.split())


class Lookup:
    """Expanded topics by their `text_key`; others are expanded by `write`, and an error without it."""

    def __init__(self, topics: Iterable[ExpandedTopic] = (), write: Write | None = None) -> None:
        self.topics: dict[str, ExpandedTopic] = {}
        self._write = write
        self._add(topics)

    @classmethod
    def of(cls, expansions: Lookup | Mapping[str, Sequence[str]]) -> Lookup:
        """The lookup of given expansions: a topic's text -> its expansions."""
        if isinstance(expansions, Lookup):
            return expansions
        for topic, texts in expansions.items():
            if isinstance(texts, str):
                raise InputError(f"the expansions of {topic!r} are one string", expected="a list of strings")
        return cls(
            ExpandedTopic(Topic(topic, topic), tuple(Expansion(sample, text) for sample, text in enumerate(texts)))
            for topic, texts in expansions.items()
        )

    @classmethod
    def plain(cls, topics: Iterable[Topic] = ()) -> Lookup:
        """The lookup in which every topic stands alone, for the aggregation "none"."""
        return cls(map(ExpandedTopic, topics), lambda texts: [ExpandedTopic(Topic(text, text)) for text in texts])

    def find(self, texts: Sequence[str]) -> list[str]:
        """The keys of these texts; afterwards, `topics` has all of them."""
        keys = [text_key(text) for text in texts]
        unknown = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.topics}
        if unknown and self._write:
            self._add(self._write(list(unknown.values())))
            unknown = {key: text for key, text in unknown.items() if key not in self.topics}
        if unknown:
            raise InputError(
                f"no expansions of the topic {next(iter(unknown.values()))!r}",
                expected=f"one of the {len(self.topics)} topics that expansions were given for, word for word",
                remedy="the topics and expansions that belong together, or a generator that writes what is missing",
            )
        return keys

    def _add(self, topics: Iterable[ExpandedTopic]) -> None:
        for topic in topics:
            twin = self.topics.setdefault(text_key(topic.topic.text), topic)
            if [expansion.text for expansion in twin.expansions] != [expansion.text for expansion in topic.expansions]:
                raise InputError(
                    f"the topics {twin.topic.topic_id!r} and {topic.topic.topic_id!r} have the same text, "
                    f"{topic.topic.text!r}, and different expansions",
                    expected="one set of expansions for a text: Pyserini passes on nothing else to tell topics apart",
                )


class Live:
    """Expands topics on demand, with an expander that is closed when the program ends.

    When the first of the topics that are known beforehand is needed, all of these are expanded in one go.
    """

    def __init__(self, expander: Expander, topics: Mapping[str, Topic] | None = None) -> None:
        self._expander, self._known = expander, dict(topics or {})
        atexit.register(expander.close)

    def __call__(self, texts: Sequence[str]) -> list[ExpandedTopic]:
        """These topics, and all known ones where one of them is, expanded."""
        known = {text_key(topic.text) for topic in self._known.values()}
        others = {text: Topic(text, text) for text in texts if text_key(text) not in known}
        expanded = self._expand(others) if others else []
        return expanded + self._expand(self._known) if len(others) < len(set(texts)) else expanded

    def _expand(self, topics: Mapping[str, Topic]) -> list[ExpandedTopic]:
        expander = self._expander
        expansions = expander.generate(expander.prompt, topics, context=expander.context(expander.prompt, topics))
        for topic_id in expansions.missing:
            failure = next(failure.error for failure in expansions.failures if failure.topic_id == topic_id)
            raise ExpandrError(f"{expander.generator.id.model} wrote nothing for {topics[topic_id].text!r}: {failure}")
        return list(expansions.values())
