"""The expanders and LLMs that requests may name, and the texts of an expansion while they are written."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from expandr_ir.collections import Collection
from expandr_ir.config import generator_config, names
from expandr_ir.errors import ExpandrError, InputError, NotInstalledError, unknown_name
from expandr_ir.expanders import ExpanderConfig, ExpandOptions, expander_config, load_expander
from expandr_ir.generators import Generator, load_generator
from expandr_ir.generators.gguf import SMALL_LLM, small_llm
from expandr_ir.io.expansions import Expansions
from expandr_ir.records import Generation, GenerationRequest, Topic
from expandr_ir.serve.options import ServeOptions, public_name
from expandr_ir.store import Store

T = TypeVar("T")


class AbandonedError(ExpandrError):
    """Nobody waits for the texts any more."""


class Drafts:
    """The texts of one expansion so far: told by the thread that generates, read by the one that answers."""

    def __init__(self) -> None:
        self.is_abandoned = False
        self._texts: dict[tuple[int, int], str] = {}
        self._shown: dict[tuple[int, int], str] = {}

    def tell(self, call: int, sample: int, text: str) -> None:
        """Takes a text; the generation ends here where it was abandoned."""
        if self.is_abandoned:
            raise AbandonedError("the expansion was given up: nobody waits for it")
        self._texts[call, sample] = text

    def news(self) -> Iterator[dict[str, Any]]:
        """The texts that have changed since the last time; a method of several calls counts them from 1."""
        for (call, sample), text in list(self._texts.items()):
            if self._shown.get((call, sample)) != text:
                self._shown[call, sample] = text
                yield {"call": call, "sample": sample, "text": text}


class Listened:
    """A shared generator whose texts are told to `drafts`; it stays open. One that can tell each token writes for one
    expansion at a time.
    """

    def __init__(self, generator: Generator, drafts: Drafts, turn: threading.Lock) -> None:
        self._generator, self._drafts, self._turn, self._calls = generator, drafts, turn, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields the generations, each told when it has come, and before that token by token where it can be."""
        self._calls += 1
        call, samples = self._calls, {sample.key: sample.sample for request in requests for sample in request.samples}

        def listen(key: str, text: str) -> None:
            self._drafts.tell(call, samples[key], text.rstrip("\ufffd"))  # the beginning of a character

        if not hasattr(self._generator, "listener"):
            yield from self._told(requests, listen)
            return
        with self._turn:
            self._generator.listener = listen
            try:
                yield from self._told(requests, listen)
            finally:
                self._generator.listener = None

    def _told(self, requests: Sequence[GenerationRequest], listen: Any) -> Iterator[Generation]:
        for generation in self._generator.generate(requests):
            listen(generation.key, generation.text)
            yield generation

    def close(self) -> None:
        """Leaves the generator open for the next expansion."""


class Writers:
    """The expanders and LLMs that requests may name, by public name; an LLM is loaded when first needed, and stays."""

    def __init__(self, options: ServeOptions) -> None:
        expanders = {name: expander_config(name) for name in options.expander or names("expanders")}
        cheapest = sorted(expanders, key=lambda name: (expanders[name].method != "prompt", expanders[name].samples))
        self.expanders = _by_public_name("expander", {name: expanders[name] for name in options.expander or cheapest})
        self.generators = _by_public_name("generator", {spec: generator_config(spec) for spec in options.generator})
        if not options.generator:
            with suppress(NotInstalledError):  # then a request for texts says so
                self.generators[SMALL_LLM] = small_llm()
        self._loaded: dict[str, tuple[Generator, threading.Lock]] = {}
        self._loading = threading.Lock()
        self.store = Store.open(options.store)

    def expander(self, name: str) -> ExpanderConfig:
        """The expander of this name.

        Raises:
            InputError: there is none that requests may use.
        """
        if name not in self.expanders:
            raise unknown_name("expander", name, self.expanders)
        return self.expanders[name]

    def generator(self, name: str | None) -> str:
        """The public name of the LLM, the first one for None.

        Raises:
            InputError: there is none of that name.
            NotInstalledError: there is none at all.
        """
        if not self.generators:
            raise NotInstalledError("this server has no LLM", remedy="expandr serve --generator NAME")
        if name is not None and name not in self.generators:
            raise unknown_name("generator", name, self.generators)
        return name or next(iter(self.generators))

    def expand(
        self,
        collection: Collection,
        topic: Topic,
        expander: str,
        generator: str,
        samples: int | None,
        split: str | None,
        drafts: Drafts,
    ) -> Expansions:
        """The topic with its expansions; what is stored is not generated again. See `Expander.expand`."""
        with load_expander(
            self.expander(expander),
            generator=self.generators[generator],
            store=self.store,
            collection=collection,
            split=split,
            options=ExpandOptions(samples=samples),
        ) as opened:
            opened.generator = Listened(*self._load(generator, drafts))
            return opened.expand({topic.topic_id: topic})

    def close(self) -> None:
        """Closes the LLMs and the store."""
        for generator, _ in self._loaded.values():
            generator.close()
        self.store.close()

    def _load(self, name: str, drafts: Drafts) -> tuple[Generator, Drafts, threading.Lock]:
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = load_generator(self.generators[name]), threading.Lock()
        generator, turn = self._loaded[name]
        return generator, drafts, turn


def _by_public_name(kind: str, configs: Mapping[str, T]) -> dict[str, T]:
    named: dict[str, T] = {}
    for spec, config in configs.items():
        if (name := public_name(spec)) in named:
            raise InputError(f"two {kind}s have the name {name!r}", expected="different names")
        named[name] = config
    return named
