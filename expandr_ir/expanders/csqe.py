"""CSQE: passages from the LLM's knowledge, and key sentences of the documents of a first search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from expandr_ir.expanders.base import Expander
from expandr_ir.expanders.calls import pool
from expandr_ir.records import ExpandedTopic, Topic


class CSQE(Expander):
    """Two calls of `samples` texts each: the prompt, and `prompts.sentences`, which shows what BM25 finds.

    CSQE (arXiv 2402.18031): the query is q x N, then N passages that the LLM writes from its own knowledge (KEQE), then
    the key sentences that it takes, N times, from the 10 best documents; N is 2. A topic's N is its `query_repeats`,
    for the aggregation `repeat` with repeats: row.
    """

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """See `Expander.expand_topics`."""
        prompts = self.prompt_of("sentences"), self.prompt
        sentences, passages = (self.generate(p, topics, context=self.context(p, topics)) for p in prompts)
        expanded = pool(topics, [passages, sentences])
        repeats = {topic_id: len(passages[topic_id].expansions) for topic_id in expanded if topic_id in passages}
        return {i: replace(topic, query_repeats=repeats.get(i, 1)) for i, topic in expanded.items()}
