"""GenQREnsemble: keywords from several instructions."""

from __future__ import annotations

from collections.abc import Mapping

from expandr_ir.errors import InputError
from expandr_ir.expanders.base import Expander
from expandr_ir.expanders.calls import pool
from expandr_ir.records import ExpandedTopic, Topic


class Ensemble(Expander):
    """One call for each of the prompt's manners; the topic's expansions are all their texts, in the manners' order.

    GenQREnsemble (arXiv 2404.03746): N instructions I1 ... IN that say the same in other words, keywords
    Ki = LLM(Ii, q), and the query q K1 ... KN; N is 10. Any prompt with `manners` makes an ensemble.
    """

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """See `Expander.expand_topics`."""
        if not self.prompt.manners:
            raise InputError(f"the prompt {self.prompt.id!r} has no manners", expected="a prompt with `manners`")
        shown = self.context(self.prompt, topics)
        calls = [
            self.generate(self.prompt, topics, context={i: {**shown[i], "manner": manner} for i in topics})
            for manner in self.prompt.manners
        ]
        return pool(topics, calls)
