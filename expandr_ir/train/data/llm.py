"""Queries that an LLM writes of documents, and its verdicts on them; all of it goes through the expansion store."""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from expandr_ir.errors import InputError
from expandr_ir.expanders import load_expander
from expandr_ir.io.expansions import Expansions
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Document, Topic
from expandr_ir.train.data.checks import Dropped, Query

if TYPE_CHECKING:
    from expandr_ir.train.data.synthesize import SynthesizeOptions


class Call(NamedTuple):
    """One document with one wording of a prompt."""

    document: Document
    prompt: Prompt
    manner: str | None


class QueryWriter:
    """The LLMs that write queries and judge them; all of their texts go through the expansion store."""

    def __init__(self, options: SynthesizeOptions, documents: Sequence[Document], stack: ExitStack) -> None:
        prompts, self.verdict = [load_prompt(name) for name in options.prompts], load_prompt(options.quality_prompt)
        _check_prompts(prompts, self.verdict if options.quality else None)
        self.groups: dict[tuple[str, int], list[Call]] = defaultdict(list)
        for document in documents:  # manners in an order of its own, none twice before all were taken once
            shown = replace(document, text=document.text[: options.max_characters])
            manners = [(prompt, manner) for prompt in prompts for manner in (prompt.manners or (None,))]
            digest = hashlib.sha256(f"manner:{options.seed}:{document.doc_id}".encode()).digest()
            random.Random(digest).shuffle(manners)  # noqa: S311
            whole, rest = divmod(options.queries, len(manners))
            for place, (prompt, manner) in enumerate(manners):
                if samples := whole + (place < rest):
                    self.groups[prompt.sha256, samples].append(Call(shown, prompt, manner))
        more = options.expand_options()
        writer = load_expander(generator=options.generator, options=more)
        self.writer = self.reviewer = stack.enter_context(writer)
        if options.quality_generator:
            reviewer = load_expander(generator=options.quality_generator, store=writer.store, options=more)
            self.reviewer = stack.enter_context(reviewer)
        self.texts: list[Expansions] = []

    def forecast(self) -> dict[str, int]:
        """The work of writing; verdicts are not counted, since there are no queries yet."""
        forecasts = [self.writer.plan(**arguments).forecast() for _, arguments in self._requests()]
        total = sum(forecasts[1:], start=forecasts[0]).rows()
        return {name: count for name, count in total.items() if name != "topics"}

    def write(self) -> tuple[list[Query], list[Dropped]]:
        """The queries that the LLM wrote, and those it failed to write."""
        queries: list[Query] = []
        failed: list[Dropped] = []
        for calls, arguments in self._requests():
            texts = self.writer.generate(**arguments)
            self.texts.append(texts)
            origins = {key: {"prompt": texts.details["prompt"], "manner": call.manner} for key, call in calls.items()}
            queries += [
                Query(calls[topic_id].document, text.text, {**origins[topic_id], "key": text.key})
                for topic_id, expanded in texts.items()
                for text in expanded.expansions
            ]
            for failure in texts.failures:
                origin = {**origins[failure.topic_id], "error": failure.error}
                failed.append((Query(calls[failure.topic_id].document, "", origin), "failed"))
        return queries, failed

    def judge(self, queries: Sequence[Query]) -> tuple[list[Query], list[Dropped]]:
        """The queries that a verdict, greedy and short, calls fit, and the others."""
        texts = self.reviewer.generate(
            self.verdict,
            {query.topic_id: Topic(query.topic_id, query.text) for query in queries},
            context={query.topic_id: {"document": query.document} for query in queries},
            samples=1,
            decoding=replace(self.reviewer.decoding, temperature=0.0, max_new_tokens=8),
        )
        self.texts.append(texts)
        good: list[Query] = []
        bad: list[Dropped] = []
        for query in queries:
            reply = texts[query.topic_id].expansions[0].text if query.topic_id in texts else ""
            verdict = re.search(r"\b[01]\b", reply)
            if verdict and verdict[0] == "1":
                good.append(query)
            else:
                bad.append((query, "bad" if verdict else "no_verdict"))
        return good, bad

    def costs(self) -> dict[str, dict[str, Any]]:
        """Counts, seconds and tokens of all texts, for the manifest."""
        return {
            "counts": {name: sum(batch.counts[name] for batch in self.texts) for name in ("generated", "stored")},
            "seconds": {"generate": sum(batch.seconds or 0.0 for batch in self.texts)},
            "tokens": {name: sum(batch.tokens[name] for batch in self.texts) for name in ("in", "out")},
        }

    def _requests(self) -> Iterator[tuple[dict[str, Call], dict[str, Any]]]:
        """The calls by topic_id, and the arguments of `generate`, for each prompt and number of samples."""
        for (_, samples), group in self.groups.items():
            calls = {f"{call.document.doc_id}#{number}": call for number, call in enumerate(group)}
            context = {
                topic_id: {"document": call.document} | ({"manner": call.manner} if call.manner else {})
                for topic_id, call in calls.items()
            }
            topics = {topic_id: Topic(topic_id, "") for topic_id in calls}
            yield calls, {"prompt": group[0].prompt, "topics": topics, "context": context, "samples": samples}


def _check_prompts(prompts: Sequence[Prompt], verdict: Prompt | None) -> None:
    for prompt in prompts:
        if "document" not in prompt.needs or {"passages", "topic"} & set(prompt.placeholders):
            names = ", ".join(f"{{{name}}}" for name in prompt.placeholders)
            raise InputError(
                f"prompt {prompt.id!r} shows {names}",
                expected="{document}, and neither {topic} nor {passages}: there is no query yet",
                remedy="--prompts synthetic-web",
            )
    if verdict and ("topic" not in verdict.placeholders or set(verdict.needs) != {"document"}):
        raise InputError(
            f"prompt {verdict.id!r} asks for no verdict on a query and a document",
            expected="{topic} and {document}, and no more",
            remedy="--quality-prompt synthetic-quality",
        )
