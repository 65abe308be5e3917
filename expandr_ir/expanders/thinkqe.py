"""ThinkQE: expands, searches with the expansions, shows what is new, and expands again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from expandr_ir.expanders.base import Expander
from expandr_ir.expanders.calls import join_texts, pool
from expandr_ir.io.expansions import Expansions
from expandr_ir.records import ExpandedTopic, Topic
from expandr_ir.retrievers.base import plain

WORDS_PER_REPEAT = 3
"""Words of expansions per word of the topic for one repeat of the topic more (lambda)."""


class ThinkQE(Expander):
    """`rounds` calls of `samples` texts each; each shows what BM25 finds with the texts of all calls before it.

    ThinkQE (arXiv 2506.09260): round t shows the K best documents of q_(t-1), q_0 = q, that were not shown before; the
    LLM thinks and writes passages, and q_t = q x n + all passages so far, n = max(1, |passages| // (3 |q|)), lengths in
    words. 3 rounds of 2 passages, K = 5. A topic's n is its `query_repeats`, for the aggregation `repeat` with repeats:
    row. A topic that gets no text in a round, or for which nothing new is found, has the texts of the rounds before.
    """

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """See `Expander.expand_topics`."""
        rounds = self.config.rounds or 1
        bm25 = self.bm25(self.prompt, hits=self.passages * rounds, repeats="row")
        expanded: dict[str, ExpandedTopic] = plain(topics.values())
        shown: defaultdict[str, set[str]] = defaultdict(set)
        calls: list[Expansions] = []
        for _ in range(rounds):
            run = bm25.search({i: expanded[i] for i in (calls[-1] if calls else topics)})
            new = {i: [d for d in hits.doc_ids if d not in shown[i]][: self.passages] for i, hits in run.items()}
            passages = self.documents(self.prompt, {i: doc_ids for i, doc_ids in new.items() if doc_ids or not calls})
            context = {i: {"passages": documents} for i, documents in passages.items()}
            calls.append(self.generate(self.prompt, {i: topics[i] for i in context}, context=context))
            for topic_id in context:
                shown[topic_id].update(new[topic_id])
            expanded |= {i: _with_repeats(topic) for i, topic in pool(topics, calls).items()}
        return {i: topic for i, topic in expanded.items() if topic.expansions}


def _with_repeats(topic: ExpandedTopic) -> ExpandedTopic:
    n_words = len(join_texts(topic).split())
    return replace(topic, query_repeats=max(1, n_words // (WORDS_PER_REPEAT * len(topic.topic.text.split()))))
