"""Several calls of a method become one result: their texts, and the counts, failures and costs of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from expandr_ir.io.expansions import Expansions
from expandr_ir.records import ExpandedTopic, Expansion, Topic

Expanded: TypeAlias = Mapping[str, ExpandedTopic]
"""Topics with their expansions, by topic_id."""


def pool(topics: Iterable[Topic], calls: Sequence[Expanded]) -> dict[str, ExpandedTopic]:
    """The texts of all calls as each topic's expansions, numbered in the calls' order; topics without any are left out.

    Args:
        topics: in the order of the result.
        calls: texts of some or all of the topics.
    """
    texts = {topic: [e for call in calls if (t := call.get(topic.topic_id)) for e in t.expansions] for topic in topics}
    return {
        topic.topic_id: ExpandedTopic(topic, tuple(replace(e, sample=number) for number, e in enumerate(own)))
        for topic, own in texts.items()
        if own
    }


def gather(topics: Mapping[str, Topic], expanded: Expanded, calls: Sequence[Expansions]) -> Expansions:
    """The method's result with the counts, failures and costs of all its calls.

    Texts that only served later calls cost tokens and seconds, too: these are added to the topic's first expansion, so
    that files, runs and manifests say what a topic cost.

    Args:
        topics: all topics.
        expanded: the topics that have expansions, from the calls' texts.
        calls: what `Expander.generate` gave, in the order of the calls.
    """
    counts, reasons, tokens = Counter[str](), Counter[str](), Counter[str]()
    for call in calls:
        counts.update(call.counts)
        reasons.update(call.reasons)
        tokens.update(call.tokens)
    missing = [topic_id for topic_id in topics if topic_id not in expanded]
    own = {
        "topics": len(topics),
        "topics_missing": len(missing),
        "topics_empty": sum(not any(e.text for e in topic.expansions) for topic in expanded.values()),
    }
    prompts = {call.details["prompt"]: call.details["prompt_sha256"] for call in calls}
    return Expansions(
        {topic_id: _with_all_costs(topic, calls) for topic_id, topic in expanded.items()},
        missing=missing,
        failures=[failure for call in calls for failure in call.failures],
        counts=dict(counts) | own,
        reasons=dict(reasons.most_common()),
        tokens=tokens,
        seconds=sum(call.seconds or 0.0 for call in calls),
        details=calls[-1].details | ({"prompts": prompts} if len(prompts) > 1 else {}),
    )


def join_texts(topic: ExpandedTopic) -> str:
    """The topic's expansions as one text."""
    return " ".join(expansion.text for expansion in topic.expansions)


def _with_all_costs(topic: ExpandedTopic, calls: Sequence[Expansions]) -> ExpandedTopic:
    """The topic with the costs of texts that are not among its expansions added to its first one."""
    keys = {expansion.key for expansion in topic.expansions}
    written = [e for call in calls if (t := call.get(topic.topic.topic_id)) for e in t.expansions]
    others = {e.key: e for e in written if e.key not in keys}
    if not others:
        return topic
    first, *rest = topic.expansions
    costs: dict[str, Any] = {
        name: _total([first, *others.values()], name) for name in ("tokens_in", "tokens_out", "seconds")
    }
    return replace(topic, expansions=(replace(first, **costs), *rest))


def _total(expansions: Iterable[Expansion], name: str) -> float | None:
    known = [value for expansion in expansions if (value := getattr(expansion, name)) is not None]
    return sum(known) if known else None
