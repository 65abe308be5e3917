"""ReFormeR: a way to reformulate the topic is chosen by the documents of a first search, and then followed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from expandr_ir.errors import InputError
from expandr_ir.expanders.base import Expander
from expandr_ir.records import ExpandedTopic, Topic

logger = logging.getLogger(__name__)


class ReFormeR(Expander):
    """Two calls: `prompts.choice`, which shows documents and numbered patterns, and the prompt with the chosen one.

    ReFormeR (arXiv 2604.01417): a pattern p* = LLM(q, D, P) from a library P by the best documents D of a first
    search, then the query q' = LLM(q, p*), which is searched in place of q (aggregation `expansion`). The library is
    the prompt's `manners`; a reply without a pattern's number stands for the first one, and is counted in a warning.
    """

    def expand_topics(self, topics: dict[str, Topic]) -> Mapping[str, ExpandedTopic]:
        """See `Expander.expand_topics`."""
        patterns, choice = self.prompt.manners, self.prompt_of("choice")
        if not patterns:
            raise InputError(f"the prompt {self.prompt.id!r} has no manners", expected="a prompt with `manners`")
        library = "\n".join(f"[{number}] {pattern}" for number, pattern in enumerate(patterns, start=1))
        shown = self.context(choice, topics)
        choices = self.generate(
            choice, topics, context={i: {**shown[i], "patterns": library} for i in topics}, samples=1
        )
        numbers = {i: _first_number(topic.expansions[0].text, len(patterns)) for i, topic in choices.items()}
        if unread := [i for i, number in numbers.items() if number is None]:
            logger.warning(
                "%d topics have the first pattern: their choice names none (%s)", len(unread), ", ".join(unread[:3])
            )
        chosen = {i: {"manner": patterns[(number or 1) - 1]} for i, number in numbers.items()}
        return self.generate(self.prompt, {i: topics[i] for i in chosen}, context=chosen)


def _first_number(reply: str, largest: int) -> int | None:
    """The first number from 1 to `largest` in a reply."""
    return next((int(n) for n in re.findall(r"\d+", reply) if 1 <= int(n) <= largest), None)
