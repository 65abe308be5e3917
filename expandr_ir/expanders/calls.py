"""Several calls of a method become one result: their texts, and the counts, failures and costs of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from expandr_ir.io.expansions import Expansions
from expandr_ir.records import ExpandedTopic, Expansion, Topic


def pool(topics: Mapping[str, Topic], calls: Sequence[Expansions]) -> dict[str, ExpandedTopic]:
    """All calls' texts as each topic's expansions, numbered in the calls' order; topics without any are left out."""
    texts = {topic_id: enumerate(_texts(topic_id, calls)) for topic_id in topics if any(topic_id in c for c in calls)}
    return {
        topic_id: ExpandedTopic(topics[topic_id], tuple(replace(e, sample=number) for number, e in numbered))
        for topic_id, numbered in texts.items()
    }


def gather(
    topics: Mapping[str, Topic], expanded: Mapping[str, ExpandedTopic], calls: Sequence[Expansions]
) -> Expansions:
    """The method's result with the counts, failures and costs of all its calls, in their order.

    Texts that only served later calls cost tokens and seconds, too: these are added to the topic's first expansion, so
    that files, runs and manifests say what a topic cost.
    """
    counts, reasons = Counter[str](), Counter[str]()
    for call in calls:
        counts.update(call.counts)
        reasons.update(call.reasons)
    missing = [topic_id for topic_id in topics if topic_id not in expanded]
    prompts = {call.details["prompt"]: call.details["prompt_sha256"] for call in calls}
    return Expansions(
        {topic_id: _with_all_costs(topic, calls) for topic_id, topic in expanded.items()},
        missing=missing,
        failures=[failure for call in calls for failure in call.failures],
        counts={
            "topics": len(topics),
            **counts,
            "topics_missing": len(missing),
            "topics_empty": sum(not any(e.text for e in topic.expansions) for topic in expanded.values()),
        },
        reasons=dict(reasons.most_common()),
        tokens={"in": counts["tokens_in"], "out": counts["tokens_out"]},
        seconds=sum(call.seconds or 0.0 for call in calls),
        details=calls[-1].details | ({"prompts": prompts} if len(prompts) > 1 else {}),
    )


def join_texts(topic: ExpandedTopic) -> str:
    """The topic's expansions as one text."""
    return " ".join(expansion.text for expansion in topic.expansions)


def _texts(topic_id: str, calls: Sequence[Expansions]) -> list[Expansion]:
    return [expansion for call in calls if topic_id in call for expansion in call[topic_id].expansions]


def _with_all_costs(topic: ExpandedTopic, calls: Sequence[Expansions]) -> ExpandedTopic:
    """The topic with the costs of texts that are not among its expansions added to its first one."""
    keys = {expansion.key for expansion in topic.expansions}
    others = {e.key: e for e in _texts(topic.topic.topic_id, calls) if e.key not in keys}
    if not others:
        return topic
    first, *rest = topic.expansions
    costs: dict[str, Any] = {}
    for name in ("tokens_in", "tokens_out", "seconds"):
        known = [value for e in (first, *others.values()) if (value := getattr(e, name)) is not None]
        costs[name] = sum(known) if known else None
    return replace(topic, expansions=(replace(first, **costs), *rest))
