"""QA-Expand: questions behind the topic, answers to them, and the answers that stand a check."""

from __future__ import annotations

from collections.abc import Mapping

from expandr_ir.expanders.base import Expander
from expandr_ir.records import ExpandedTopic, Topic


class QAExpand(Expander):
    """Three calls: `prompts.questions`, `prompts.answers` with the questions, and the prompt with the answers.

    QA-Expand (arXiv 2502.08557v2): questions Q = G_Q(q), three of them; answers A = G_A(Q); those that a check leaves,
    rewritten, S = G_S(A, q). The query is q q q S. The expansions are the texts of the last call.
    """

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """See `Expander.expand_topics`."""
        questions = self.generate(self.prompt_of("questions"), topics, samples=1)
        answers = self.generate(self.prompt_of("answers"), topics, earlier={"questions": questions}, samples=1)
        return self.generate(self.prompt, topics, earlier={"answers": answers})
