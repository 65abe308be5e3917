"""Queries that an LLM writes of documents, and its verdicts on them; all of it goes through the expansion store."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from expandr_ir.errors import InputError
from expandr_ir.expand import Expanded, Plan, ProgressHook, expand, plan
from expandr_ir.generators import Generator
from expandr_ir.prompts import Prompt
from expandr_ir.records import Decoding, Document, Topic
from expandr_ir.store import Store
from expandr_ir.train.synthesize.checks import Candidate, Reason

MARK = "#"
"""Between a document's id and the number of what it is asked for: no part of any store's key."""


class Manner(NamedTuple):
    """What of a prompt's wording is drawn: the prompt, and one of its manners."""

    prompt: Prompt
    manner: str | None


@dataclass(frozen=True)
class Asked:
    """One document with one manner, and how many queries are wanted of it."""

    document: Document
    manner: Manner
    samples: int

    def context(self) -> dict[str, Any]:
        """What the prompt shows besides the topic."""
        shown: dict[str, Any] = {"document": self.document}
        return shown | ({"manner": self.manner.manner} if self.manner.manner else {})


@dataclass
class Spent:
    """What the LLM's texts cost, stored ones included."""

    tokens: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    generated: int = 0
    stored: int = 0

    def add(self, expanded: Expanded) -> None:
        """Adds the counts of one expansion."""
        counts = expanded.counts
        self.tokens.update({"in": counts.tokens_in, "out": counts.tokens_out})
        self.seconds += counts.seconds
        self.generated += counts.generated
        self.stored += counts.stored


def check_prompts(prompts: Sequence[Prompt]) -> None:
    """Nothing, where every prompt can be asked of a document alone.

    Raises:
        InputError: one that does not show the document, or shows passages or a topic.
    """
    for prompt in prompts:
        if "document" not in prompt.needs or {"passages", "topic"} & set(prompt.placeholders):
            shown = ", ".join(f"{{{name}}}" for name in prompt.placeholders)
            raise InputError(
                f"prompt {prompt.id!r} shows {shown}",
                expected="{document}, and neither {topic} nor {passages}: there is no query yet",
                remedy="--prompts synthetic-web",
            )


def manners(prompts: Sequence[Prompt]) -> list[Manner]:
    """Every manner of every prompt; a prompt without manners is one."""
    return [Manner(prompt, manner) for prompt in prompts for manner in (prompt.manners or (None,))]


def assign(documents: Sequence[Document], known: Sequence[Manner], queries: int, seed: int) -> list[Asked]:
    """What each document is asked for: manners in an order of its own, none twice before all were taken once."""
    asked = []
    for document in documents:
        order = list(known)
        digest = hashlib.sha256(f"manner:{seed}:{document.doc_id}".encode()).digest()
        random.Random(digest).shuffle(order)  # noqa: S311
        whole, rest = divmod(queries, len(order))
        for place, manner in enumerate(order):
            if samples := whole + (place < rest):
                asked.append(Asked(document, manner, samples))
    return asked


def cut(document: Document, characters: int) -> Document:
    """The document with the first so many characters of its text."""
    return replace(document, text=document.text[:characters])


def plans(
    asked: Sequence[Asked], generator: Generator, decoding: Decoding, store: Store, **options: Any
) -> list[tuple[Plan, dict[str, Asked]]]:
    """A plan for each prompt and number of samples, with what each of its topics stands for.

    Args:
        asked: what is asked for.
        generator: the LLM.
        decoding: how it samples.
        store: where texts may be already.
        options: as `expand.plan` takes them.
    """
    groups: dict[tuple[str, int], list[Asked]] = defaultdict(list)
    for one in asked:
        groups[one.manner.prompt.sha256, one.samples].append(one)
    made = []
    for (_, samples), group in groups.items():
        by_id = {f"{one.document.doc_id}{MARK}{number}": one for number, one in enumerate(group)}
        topics = [Topic(topic_id, "") for topic_id in by_id]
        context = {topic_id: one.context() for topic_id, one in by_id.items()}
        prompt = group[0].manner.prompt
        made.append((plan(topics, prompt, generator, decoding, samples, store, context=context, **options), by_id))
    return made


def write(
    planned: Sequence[tuple[Plan, Mapping[str, Asked]]],
    generator: Generator,
    store: Store,
    spent: Spent,
    on_progress: ProgressHook | None = None,
) -> tuple[list[Candidate], list[tuple[Candidate, Reason]]]:
    """The queries that the LLM wrote, and those it failed to write.

    Raises:
        ExpandrError: the store fails, or the generator can give nothing more.
    """
    written: list[Candidate] = []
    failed: list[tuple[Candidate, Reason]] = []
    for one, by_id in planned:
        expanded = expand(one, generator, store, on_progress)
        spent.add(expanded)
        for topic in expanded.topics:
            asked = by_id[topic.topic.topic_id]
            for expansion in topic.expansions:
                origin = {"prompt": one.prompt, "manner": asked.manner.manner, "key": expansion.key}
                written.append(Candidate(asked.document, expansion.text, origin))
        for failure in expanded.failures:
            asked = by_id[failure.topic_id]
            origin = {"prompt": one.prompt, "manner": asked.manner.manner, "error": failure.error}
            failed.append((Candidate(asked.document, "", origin), "failed"))
    return written, failed


_VERDICT = re.compile(r"\b([01])\b")


def read_verdict(text: str) -> bool | None:
    """Whether the first 1 or 0 that stands alone is a 1; None where there is neither."""
    found = _VERDICT.search(text)
    return None if found is None else found[1] == "1"


def judge_plan(
    candidates: Sequence[Candidate], prompt: Prompt, generator: Generator, decoding: Decoding, store: Store
) -> Plan:
    """The plan of a verdict, greedy and short, on each query.

    Raises:
        InputError: the prompt does not show query and document.
    """
    if not {"topic", "document"} <= set(prompt.placeholders) or set(prompt.needs) != {"document"}:
        raise InputError(
            f"prompt {prompt.id!r} asks for no verdict on a query and a document",
            expected="{topic} and {document}, and no more",
            remedy="--quality-prompt synthetic-quality",
        )
    greedy = replace(decoding, temperature=0.0, max_new_tokens=8)
    topics = [Topic(one.topic_id, one.text) for one in candidates]
    context = {one.topic_id: {"document": one.document} for one in candidates}
    return plan(topics, prompt, generator, greedy, 1, store, context=context)


def judge(
    candidates: Sequence[Candidate],
    judging: Plan,
    generator: Generator,
    store: Store,
    spent: Spent,
    on_progress: ProgressHook | None = None,
) -> Iterator[tuple[Candidate, Reason | None]]:
    """Each query with what the LLM holds against it, in the queries' order.

    Raises:
        ExpandrError: the store fails, or the generator can give nothing more.
    """
    expanded = expand(judging, generator, store, on_progress)
    spent.add(expanded)
    replies = {one.topic.topic_id: one.expansions for one in expanded.topics}
    for one in candidates:
        verdict = next((read_verdict(reply.text) for reply in replies[one.topic_id]), None)
        yield one, "no_verdict" if verdict is None else None if verdict else "bad"
