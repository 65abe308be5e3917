"""The expander: topics in, expansions out; it reads the store and generates what is missing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.collections import check_collection
from expandr_ir.config import GeneratorConfig, generator_config
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expanders.calls import gather, join_texts
from expandr_ir.expanders.config import ExpanderConfig, ExpandOptions, expander_config
from expandr_ir.expanders.plan import Forecast, Plan
from expandr_ir.generators import Generator, load_generator
from expandr_ir.generators.base import GeneratorChangedError
from expandr_ir.generators.replies import MORE_TOKENS
from expandr_ir.io.expansions import Expansions
from expandr_ir.io.topics import as_topics
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Decoding, Document, ExpandedTopic, Topic
from expandr_ir.registry import find
from expandr_ir.retrievers import BM25
from expandr_ir.store import Store

if TYPE_CHECKING:
    from expandr_ir.collections import Collection
    from expandr_ir.io.topics import Topics

logger = logging.getLogger(__name__)

DEFAULT_PROMPT, DEFAULT_PASSAGES = "passage", 10
"""The prompt of a generator that was not trained with one, and the number of documents a prompt shows, by default."""


class Expander(AbstractContextManager["Expander"]):
    """One call of one prompt for each topic. A method of several calls overrides `expand_topics`.

    Use it as a context manager, or call `close`: it closes the generator and the store that it opened itself.

    The arguments are those of `load_expander`, which finds the method's class by its name.
    """

    def __init__(
        self,
        config: ExpanderConfig,
        *,
        generator: str | GeneratorConfig | Generator | None = None,
        store: Store | str | Path | None = None,
        collection: Collection | None = None,
        split: str | None = None,
        options: ExpandOptions | None = None,
    ) -> None:
        check_collection(collection)
        self.config, self.collection, self.split = config, collection, split
        self.options = options or ExpandOptions()
        self.samples = self.options.samples or config.samples
        self.passages = self.options.passages or config.passages or DEFAULT_PASSAGES
        if generator is None or isinstance(generator, str):
            generator = generator_config(generator or config.generator)
        self.generator_config = generator if isinstance(generator, GeneratorConfig) else None
        if not isinstance(generator, GeneratorConfig):
            self.generator = generator  # a caller's own, which is not closed here
        self._store = store if store is not None else self.options.store
        self._servers_named: set[str] = set()
        self._turn = threading.RLock()
        self._calls: list[Expansions] | None = None
        self._forecasts: list[Forecast] | None = None

    @cached_property
    def generator(self) -> Generator:
        """The LLM; models are loaded when they are first needed."""
        assert self.generator_config is not None
        return load_generator(self.generator_config)

    @cached_property
    def store(self) -> Store:
        """The expansion store."""
        return self._store if isinstance(self._store, Store) else Store.open(Path(self._store) if self._store else None)

    @property
    def decoding(self) -> Decoding:
        """The decoding in force: the generator's, with this expander's own values in place."""
        return self.config.decoding(self.generator_config.decoding if self.generator_config else Decoding())

    @cached_property
    def prompt(self) -> Prompt:
        """The prompt in force: the one named in the options, the configuration's, the generator's, or "passage"."""
        trained_with = self.generator_config.prompt if self.generator_config else None
        name = self.options.prompt or self.config.prompt_for(self.collection.name if self.collection else None)
        return load_prompt(name or trained_with or DEFAULT_PROMPT)

    def prompt_of(self, call: str) -> Prompt:
        """The prompt of another call of the method, from the configuration's `prompts`.

        Raises:
            InputError: the configuration names none.
        """
        if call not in self.config.prompts:
            raise InputError(
                f"the expander has no prompt for the call {call!r} of the method {self.config.method!r}",
                expected=f"prompts: {{{call}: a name of conf/prompts}}",
            )
        return load_prompt(self.config.prompts[call])

    def expand(self, topics: Topics) -> Expansions:
        """The expansions of the topics; what is stored is not generated again. Calls from several threads take turns.

        Args:
            topics: a mapping, texts, one text, a file or a DataFrame, see `as_topics`.

        Raises:
            InputError: topics or prompt do not fit, or the prompt shows documents and there is no collection.
            ExpandrError: the generator or the store fails, or no topic got a text; what was generated is stored.
        """
        topics = as_topics(topics)
        with self._turn:
            self._calls = []
            expansions = gather(topics, self.expand_topics(topics), self._calls)
            self._calls = None
        if not expansions:
            first = expansions.failures[0]
            retry = "--retry-refused asks again what was refused" if first.refused else "the same command tries again"
            raise ExpandrError(
                f"none of the {len(topics)} topics got an expansion; topic {first.topic_id}: {first.error}",
                expected="a text for at least one topic",
                remedy=None if MORE_TOKENS in first.error else retry,
            )
        expansions.seed = self.decoding.seed
        if self.collection:
            expansions.details["collection"] = self.collection.identity()
        return expansions

    def forecast(self, topics: Topics) -> Forecast:
        """The work that `expand` would be; nothing is generated. Calls that depend on texts to come are not counted."""
        with self._turn:
            self._forecasts = forecasts = list[Forecast]()
            try:
                self.expand_topics(as_topics(topics))
            finally:
                self._forecasts = None
        n_topics = [forecast.topics for forecast in forecasts]
        # a call with fewer topics waits for texts of earlier ones
        waits = min(n_topics) < max(n_topics) and any(forecast.to_generate for forecast in forecasts[:-1])
        return replace(sum(forecasts[1:], start=forecasts[0]), more_calls=waits)

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """The method itself: calls of `generate`, and their texts put together.

        A call's result lacks the topics that got no text; while `forecast` runs, it has those only that are stored.
        """
        return self.generate(self.prompt, topics, context=self.context(self.prompt, topics))

    def generate(
        self,
        prompt: Prompt | str,
        topics: Mapping[str, Topic],
        *,
        context: Mapping[str, Mapping[str, Any]] | None = None,
        earlier: Mapping[str, Mapping[str, ExpandedTopic]] | None = None,
        samples: int | None = None,
        decoding: Decoding | None = None,
    ) -> Expansions:
        """Texts of one prompt for each topic, in as many samples; what is stored is not generated again.

        Args:
            prompt: a template, or a name of conf/prompts.
            topics: by topic_id.
            context: values of the prompt's placeholders besides the topic, by topic_id and placeholder.
            earlier: texts of earlier calls that the prompt shows, by placeholder; topics without one are left out.
            samples: texts of each topic; None is `self.samples`.
            decoding: how they are sampled; None is `self.decoding`.
        """
        if earlier is not None:
            topics = {i: topic for i, topic in topics.items() if all(i in call for call in earlier.values())}
            texts = {i: {name: join_texts(call[i]) for name, call in earlier.items()} for i in topics}
            context = {i: {**(context or {}).get(i, {}), **texts[i]} for i in topics}
        while True:  # a generator that learns it cannot do what the keys say is asked again, with other keys
            plan = self.plan(prompt, topics, context=context, samples=samples, decoding=decoding)
            if self._forecasts is not None:
                self._forecasts.append(plan.forecast())
                expansions = plan.read()
                break
            with suppress(GeneratorChangedError):
                expansions = plan.generate()
                break
        self._warn_of_servers(plan)
        if self._calls is not None:
            self._calls.append(expansions)
        return expansions

    def _warn_of_servers(self, plan: Plan) -> None:
        """Says once which other servers wrote stored texts of the same key: an address is in no key."""
        others = plan.other_servers - self._servers_named
        self._servers_named |= others
        if others:
            logger.warning(
                "stored texts of %s come from %s and not from %s; --generator.revision NAME asks anew, beside them",
                *(self.generator.id.model, " and ".join(sorted(others)), " and ".join(plan.servers)),
            )

    def plan(
        self,
        prompt: Prompt | str,
        topics: Mapping[str, Topic],
        *,
        context: Mapping[str, Mapping[str, Any]] | None = None,
        samples: int | None = None,
        decoding: Decoding | None = None,
    ) -> Plan:
        """The plan of `generate` with the same arguments."""
        return Plan(
            topics,
            load_prompt(prompt) if isinstance(prompt, str) else prompt,
            self.generator,
            decoding or self.decoding,
            samples or self.samples,
            self.store,
            context=context,
            options=self.options,
        )

    def context(self, prompt: Prompt, topics: Mapping[str, Topic]) -> dict[str, dict[str, Any]]:
        """The documents that the prompt shows, by topic_id and placeholder: found by BM25, or judged relevant.

        Raises:
            InputError: the prompt shows documents and there is no collection, or a topic has no relevant one.
        """
        context: dict[str, dict[str, Any]] = {topic_id: {} for topic_id in topics}
        if "passages" in prompt.needs and topics:
            hits = self.bm25(prompt).search(topics)
            for topic_id, passages in self.documents(prompt, {i: hits[i].doc_ids for i in topics}).items():
                context[topic_id]["passages"] = passages
        if "document" in prompt.needs:
            qrels = self._require_collection(prompt).qrels(self.split)
            best = {topic_id: [_best_judged(topic_id, qrels.get(topic_id, {}))] for topic_id in topics}
            for topic_id, (document,) in self.documents(prompt, best).items():
                context[topic_id]["document"] = document
        return context

    def bm25(self, prompt: Prompt, **options: Any) -> BM25:
        """The search behind {passages}: BM25 over the collection."""
        return BM25(self._require_collection(prompt), **({"hits": self.passages} | options))

    def documents(self, prompt: Prompt, doc_ids: Mapping[str, Sequence[str]]) -> dict[str, list[Document]]:
        """The documents of each topic as prompts show them, from their ids by topic_id.

        Raises:
            InputError: the collection lacks some of them.
        """
        collection, max_words = self._require_collection(prompt), self.config.passage_words
        wanted = {doc_id for topic_doc_ids in doc_ids.values() for doc_id in topic_doc_ids}
        documents = {doc.doc_id: doc for doc in collection.documents() if doc.doc_id in wanted} if wanted else {}
        if missing := sorted(wanted - documents.keys()):
            names = ", ".join(missing[:3])
            raise InputError(f"{collection.spec} lacks the documents {names} ({len(missing)} in all)")
        if max_words is not None:
            documents = {i: replace(doc, text=" ".join(doc.text.split()[:max_words])) for i, doc in documents.items()}
        return {topic_id: [documents[i] for i in topic_doc_ids] for topic_id, topic_doc_ids in doc_ids.items()}

    def close(self) -> None:
        """Closes the generator and the store, as far as this expander opened them."""
        if self.generator_config is not None and "generator" in self.__dict__:
            self.generator.close()
        if "store" in self.__dict__ and not isinstance(self._store, Store):
            self.store.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        llm = self.generator_config.model if self.generator_config else self.generator.id.model
        return f"<{type(self).__name__}: prompt {self.prompt.id}, {llm}, {self.samples} samples>"

    def _require_collection(self, prompt: Prompt) -> Collection:
        if self.collection:
            return self.collection
        raise InputError(f"prompt {prompt.id!r} shows documents", expected="a collection", remedy="--collection C")


def _best_judged(topic_id: str, grades: Mapping[str, int]) -> str:
    """The document with the topic's highest grade, the one with the lowest id where several have it."""
    relevant = [(-grade, doc_id) for doc_id, grade in grades.items() if grade > 0]
    if not relevant:
        raise InputError(f"topic {topic_id!r} has no relevant document", expected="a positive grade in the qrels")
    return min(relevant)[1]


def load_expander(
    name: str | ExpanderConfig | None = None,
    *,
    generator: str | GeneratorConfig | Generator | None = None,
    store: Store | str | Path | None = None,
    collection: Collection | None = None,
    split: str | None = None,
    options: ExpandOptions | None = None,
) -> Expander:
    """The expander of a name.

    Args:
        name: a name of conf/expanders, a YAML file, or its settings; None is one call of the prompt in `options`.
        generator: the LLM in place of the expander's own: a name of conf/generators, a YAML file, engine:model, its
            settings, or the generator itself.
        store: the expansion store, or its file; None is $EXPANDR_STORE, else the one under EXPANDR_HOME.
        collection: the documents for prompts that show passages or judged documents.
        split: the split whose judged documents a prompt shows.
        options: prompt, samples, passages and the like in place of the expander's own.

    Raises:
        InputError: an unknown name (the nearest one is suggested), no generator, or options that do not fit.
    """
    if name is None:
        if generator is None:
            raise InputError("neither an expander nor a generator is named", expected="one of them")
        name = ExpanderConfig(generator="")
    config = name if isinstance(name, ExpanderConfig) else expander_config(name)
    method: type[Expander] = find("expandr_ir.expanders", config.method, METHODS, kind="method")
    return method(config, generator=generator, store=store, collection=collection, split=split, options=options)


METHODS: dict[str, str] = {
    "prompt": "expandr_ir.expanders.base:Expander",
    "csqe": "expandr_ir.expanders.csqe:CSQE",
    "ensemble": "expandr_ir.expanders.ensemble:Ensemble",
    "qa-expand": "expandr_ir.expanders.qa_expand:QAExpand",
    "reformer": "expandr_ir.expanders.reformer:ReFormeR",
    "thinkqe": "expandr_ir.expanders.thinkqe:ThinkQE",
}
"""Methods by name; other packages add theirs by entry points of the group `expandr_ir.expanders`."""
