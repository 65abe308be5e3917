"""Expansions by the text of their topic, which is all that Pyserini passes on to an encoder or a searcher."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from expandr_ir.collection import Collection
from expandr_ir.config import GeneratorConfig, generator_config
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expand import expand
from expandr_ir.generators import Generator
from expandr_ir.pipeline import ExpandOptions, opened, prepare
from expandr_ir.records import ExpandedTopic, Expansion, Topic
from expandr_ir.store import Store

Write: TypeAlias = Callable[[Sequence[str]], Iterable[ExpandedTopic]]
"""Expands topics that nothing is recorded for: their texts to at least these topics, expanded."""


def text_key(text: str) -> str:
    """The text with single blanks for white space: readers of topics differ in what they make of tabs and line ends."""
    return " ".join(text.split())


class Lookup:
    """Expanded topics by their text.

    Args:
        topics: those at hand.
        write: expands others when they are first asked for; None makes them an error.

    Attributes:
        topics: all expanded topics so far, by `text_key`.

    Raises:
        InputError: two topics have the same text, but not the same expansions.
    """

    def __init__(self, topics: Iterable[ExpandedTopic] = (), write: Write | None = None) -> None:
        self.topics: dict[str, ExpandedTopic] = {}
        self._write = write
        self._add(topics)

    @classmethod
    def of_texts(cls, expansions: Mapping[str, Sequence[str]]) -> Lookup:
        """The lookup of expansions that are at hand: a topic's text -> its expansions.

        Raises:
            InputError: a single string where a list of expansions should be.
        """
        for topic, texts in expansions.items():
            if isinstance(texts, str):
                raise InputError(f"the expansions of {topic!r} are one string", expected="a list of strings")
        return cls(
            ExpandedTopic(Topic(topic, topic), tuple(Expansion(sample, text) for sample, text in enumerate(texts)))
            for topic, texts in expansions.items()
        )

    @classmethod
    def plain(cls, topics: Iterable[Topic] = ()) -> Lookup:
        """The lookup in which every topic stands alone, for the aggregation "none".

        Args:
            topics: those that are known beforehand.
        """
        return cls(map(ExpandedTopic, topics), lambda texts: [ExpandedTopic(Topic(text, text)) for text in texts])

    def find(self, texts: Sequence[str]) -> list[str]:
        """The keys of these texts; afterwards, `topics` has all of them.

        Raises:
            InputError: a text without expansions, where nothing writes them.
            ExpandrError: what `write` raises.
        """
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
        for one in topics:
            twin = self.topics.setdefault(text_key(one.topic.text), one)
            if _texts(twin) != _texts(one):
                raise InputError(
                    f"the topics {twin.topic.topic_id!r} and {one.topic.topic_id!r} have the same text, "
                    f"{one.topic.text!r}, and different expansions",
                    expected="one set of expansions for a text: Pyserini passes on nothing else to tell topics apart",
                )


class Live:
    """Expands topics with a generator when they are asked for; what the store has is not generated again.

    Args:
        generator: a name of conf/generators, a YAML file, engine:model, or the settings themselves.
        options: what is asked of it.
        topics: topics that are known beforehand; when the first is asked for, all are expanded in one go.
        collection: where a prompt's passages and documents come from.
        split: the split whose judged documents a prompt shows.

    Raises:
        InputError: an unknown generator.
    """

    def __init__(
        self,
        generator: str | GeneratorConfig,
        options: ExpandOptions,
        topics: Mapping[str, Topic] | None = None,
        collection: Collection | None = None,
        split: str | None = None,
    ) -> None:
        self._config = generator_config(generator) if isinstance(generator, str) else generator
        self._options, self._collection, self._split = options, collection, split
        self._known = dict(topics or {})
        self._stack = ExitStack()
        self._opened: tuple[Generator, Store] | None = None

    def __call__(self, texts: Sequence[str]) -> list[ExpandedTopic]:
        """These topics, and all that are known where one of them is, expanded.

        Raises:
            ExpandrError: a topic got no text at all, or the generator or the store failed; what came is stored.
        """
        known = {text_key(topic.text) for topic in self._known.values()}
        others = {text: Topic(text, text) for text in texts if text_key(text) not in known}
        expanded = self._expand(others) if others else []
        return expanded + self._expand(self._known) if len(others) < len(set(texts)) else expanded

    def close(self) -> None:
        """Closes the generator and the store."""
        self._stack.close()
        self._opened = None

    def _expand(self, topics: Mapping[str, Topic]) -> list[ExpandedTopic]:
        if self._opened is None:
            self._opened = self._stack.enter_context(opened(self._config, self._options))
            atexit.register(self.close)
        engine, store = self._opened
        plan = prepare(topics, self._collection, self._split, self._config, self._options, engine, store)
        found = expand(plan, engine, store, max_words=self._options.max_words)
        for one in found.topics:
            if not one.expansions:
                failure = next(each for each in found.failures if each.topic_id == one.topic.topic_id)
                raise ExpandrError(f"{self._config.model} wrote nothing for {one.topic.text!r}: {failure.error}")
        return list(found.topics)


def _texts(topic: ExpandedTopic) -> list[str]:
    return [expansion.text for expansion in topic.expansions]
