"""Topics to expansions: what a prompt needs is fetched, what is stored is read, what is missing is generated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.collection import Collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expand import Expanded, Plan, plan
from expandr_ir.generators import Generator, load_generator
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Document, ExpandedTopic, Topic
from expandr_ir.retrieve import SearchOptions, plain, search
from expandr_ir.store import Store

DEFAULT_PROMPT = "passage"
"""The prompt of a generator that was not trained with one of its own."""


@dataclass(frozen=True)
class ExpandOptions:
    """What is asked of the LLM.

    Args:
        prompt: a name of conf/prompts or a YAML file; None takes the one the generator was trained with, else
            "passage".
        samples: expansions of each topic.
        passages: documents that BM25 finds for the topic, for a prompt that shows them.
        max_words: most words of an expansion once it is cleaned; None is no limit.
        retry_refused: ask again what a content filter refused before.
        batch_samples: samples stored in one commit; None takes a twentieth of the plan, at least 32, at most 1,024.
        store: the expansion store's file; None takes $EXPANDR_STORE, else the one under EXPANDR_HOME.
    """

    prompt: str | None = None
    samples: int = 1
    passages: int = 10
    max_words: int | None = None
    retry_refused: bool = False
    batch_samples: int | None = None
    store: str | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "passages", "max_words", "batch_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name.replace('_', ' ')} is {value}", expected="1 or more")


@contextmanager
def opened(config: GeneratorConfig, options: ExpandOptions) -> Iterator[tuple[Generator, Store]]:
    """The generator and the expansion store, closed at the end of the block."""
    generator = load_generator(config)
    try:
        with Store.open(Path(options.store) if options.store else None) as store:
            yield generator, store
    finally:
        generator.close()


def prompt_of(config: GeneratorConfig, options: ExpandOptions) -> Prompt:
    """The prompt in force: the one that is named, else the one the generator was trained with, else "passage".

    Raises:
        InputError: an unknown prompt.
    """
    return load_prompt(options.prompt or config.prompt or DEFAULT_PROMPT)


def prepare(
    topics: Mapping[str, Topic],
    collection: Collection | None,
    split: str | None,
    config: GeneratorConfig,
    options: ExpandOptions,
    generator: Generator,
    store: Store,
) -> Plan:
    """The plan of the topics' expansions, with what the prompt shows besides the topic.

    Args:
        topics: what to expand.
        collection: where a prompt's passages and documents come from; None suffices for prompts that need neither.
        split: the split whose judged documents a prompt with {document} shows.
        config: the generator's settings.
        options: what is asked of it.
        generator: the generator itself.
        store: where texts may be already.

    Raises:
        InputError: an unknown prompt, or one that needs documents where there is no collection.
    """
    prompt = prompt_of(config, options)
    return plan(
        list(topics.values()),
        prompt,
        generator,
        config.decoding,
        options.samples,
        store,
        context=_context(prompt, topics, collection, split, options.passages),
        retry_refused=options.retry_refused,
        batch_samples=options.batch_samples,
    )


def usable(expanded: Expanded) -> dict[str, ExpandedTopic]:
    """The topics that have at least one expansion, by topic_id; an empty text is one.

    Raises:
        ExpandrError: none has.
    """
    topics = {one.topic.topic_id: one for one in expanded.topics if one.expansions}
    if not topics:
        first = expanded.failures[0]
        raise ExpandrError(
            f"none of the {len(expanded.topics)} topics got an expansion; topic {first.topic_id}: {first.error}",
            expected="a text for at least one topic",
            remedy="--retry-refused asks again what was refused" if first.refused else "the same command tries again",
        )
    return topics


def _context(
    prompt: Prompt, topics: Mapping[str, Topic], collection: Collection | None, split: str | None, passages: int
) -> dict[str, dict[str, Any]]:
    """What the prompt shows besides the topic, by topic_id and placeholder."""
    if not prompt.needs:
        return {}
    if collection is None:
        raise InputError(f"prompt {prompt.id!r} shows documents", expected="a collection", remedy="--collection C")
    wanted: dict[str, dict[str, Sequence[str]]] = {topic_id: {} for topic_id in topics}
    if "passages" in prompt.needs:
        found = search(plain(topics.values()), collection, SearchOptions(hits=passages)).run
        for topic_id in topics:
            wanted[topic_id]["passages"] = found[topic_id].doc_ids
    if "document" in prompt.needs:
        qrels = collection.qrels(split)
        for topic_id in topics:
            wanted[topic_id]["document"] = [_best_judged(topic_id, qrels.get(topic_id, {}))]
    texts = _documents(collection, {doc_id for needs in wanted.values() for ids in needs.values() for doc_id in ids})
    return {
        topic_id: {
            need: [texts[doc_id] for doc_id in ids] if need == "passages" else texts[ids[0]]
            for need, ids in needs.items()
        }
        for topic_id, needs in wanted.items()
    }


def _best_judged(topic_id: str, grades: Mapping[str, int]) -> str:
    """The judged document with the highest grade, by id where several have it."""
    best = min(grades, key=lambda doc_id: (-grades[doc_id], doc_id), default=None)
    if best is None or grades[best] <= 0:
        raise InputError(f"topic {topic_id!r} has no relevant document", expected="a positive grade in the qrels")
    return best


def _documents(collection: Collection, doc_ids: set[str]) -> dict[str, Document]:
    found = {document.doc_id: document for document in collection.documents() if document.doc_id in doc_ids}
    if missing := sorted(doc_ids - found.keys()):
        raise InputError(f"{collection.spec} lacks the documents {', '.join(missing[:3])} ({len(missing)} in all)")
    return found
