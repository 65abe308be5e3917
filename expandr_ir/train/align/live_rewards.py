"""The rewards of texts that a model in training writes: read as for a search, compared, searched, group by group."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from expandr_ir.cleaning import clean
from expandr_ir.errors import ExpandrError
from expandr_ir.generators.chat import PROMPT_END_TOKENS, prompt_ids, read_back
from expandr_ir.io.files import sha256_json
from expandr_ir.prompts import Prompt
from expandr_ir.reasoning import drop_reasoning, opens_reasoning
from expandr_ir.records import Topic
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.evidence import EvidenceOptions, add_evidence
from expandr_ir.train.align.rewards import add_rewards
from expandr_ir.train.align.scoring import encoder_provenance
from expandr_ir.train.data.rows import TrainingRow, row_json


class LiveRewards:
    """A reward function as TRL's GRPOTrainer calls it: the weighted sum of the options' rewards.

    The texts of one row are each other's siblings, for rewards that rank. A text that is empty once cleaned searches
    the query alone, and has the similarity 0.

    Args:
        options: the rewards, and what they read.
        tokenizer: of the model.
        prompt: that the rows are asked with.
        rows: every row that is trained on or held out.
        answers: the LLM's own answers by row_id, where a reward reads them.

    Raises:
        InputError: a row without judgements, where a reward searches.
    """

    __name__ = "sum"  # TRL's metrics have it

    def __init__(
        self,
        options: EvidenceOptions,
        tokenizer: Any,
        prompt: Prompt,
        rows: Sequence[TrainingRow],
        answers: Mapping[str, str],
    ) -> None:
        self.options, self.seconds = options, 0.0
        self._tokenizer, self._prompt, self._answers = tokenizer, prompt, answers
        self._rows = {row.row_id: row for row in rows}
        self._search = options.open_search()
        self._has_text = False
        if self._search:
            for row_id in self._rows:
                self._search.positives(row_id)

    @cached_property
    def _encoder(self) -> Any:
        return self.options.open_encoder()

    @cached_property
    def _in_reasoning(self) -> bool:
        row = next(iter(self._rows.values()))  # the template ends every prompt alike
        ids = prompt_ids(self._tokenizer, self._prompt.render(Topic(row.row_id, row.query)))
        return opens_reasoning(self._tokenizer.decode(ids[-PROMPT_END_TOKENS:]))

    def settings(self) -> dict[str, Any]:
        """Everything that the rewards depend on besides the texts, as plain data."""
        options, rows = self.options, [[row_json(row), self._answers.get(id_)] for id_, row in self._rows.items()]
        return {
            "weights": options.rewards,
            "numbers": asdict(options.reward),
            "encoder": self._encoder and encoder_provenance(self._encoder) | asdict(options.compare),
            "search": self._search and self._search.identity(),
            "rows_sha256": sha256_json(rows),
        }

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        row_id: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        """The reward of each text, of token ids; the texts of a row stand together."""
        began = time.perf_counter()
        texts = self._clean(completion_ids, row_id)
        groups = [list(group) for _, group in itertools.groupby(zip(row_id, texts, strict=True), lambda pair: pair[0])]
        table = [
            Candidates(self._rows[group[0][0]], [text for _, text in group], answer=self._answers.get(group[0][0]))
            for group in groups
        ]
        add_evidence(table, self.options, self._encoder, self._search)
        for entry in table:
            is_blank = [not text for text in entry.texts]
            for similarity in (entry.evidence.positive, entry.evidence.answer):
                if similarity is not None:
                    similarity[is_blank] = 0.0
            add_rewards(entry, self.options)
        for name in self.options.rewards:
            log_metric(f"rewards/{name}", float(np.mean([value for entry in table for value in entry.rewards[name]])))
        log_metric("completions/empty", texts.count("") / len(texts))
        seconds = time.perf_counter() - began
        log_metric("reward_seconds", seconds)
        self.seconds += seconds
        return [float(total) for entry in table for total in entry.total]

    def _clean(self, completion_ids: Sequence[Sequence[int]], row_id: Sequence[str]) -> list[str]:
        """The texts as a search would read them; nothing but empty ones from the first call on is an error."""
        texts = []
        for raw, id_ in zip(read_back(self._tokenizer, completion_ids), row_id, strict=True):
            asked = self._prompt.render(Topic(id_, self._rows[id_].query))[-1].content
            texts.append(clean(drop_reasoning(raw, self._in_reasoning)[0], asked).text)
        self._has_text = self._has_text or any(texts)
        if not self._has_text:
            raise ExpandrError(
                f"all {len(texts)} texts that the model wrote are empty once cleaned",
                expected="a text, of which a reward can be computed",
                remedy="--grpo.log_completions true, to look at them; a larger --grpo.max_completion_length where the"
                " model reasons, another --prompt, or expandr train sft first",
            )
        return texts
