"""Batches by transformers' own `generate`, for models that the decoding loop cannot drive."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList

from expandr_ir.generators.chat import Row
from expandr_ir.generators.decoding_loop import Draft, Endings
from expandr_ir.generators.sampling import Sampler


class WholeBatches:
    """Writes rows of equal decoding, each batch to its end; the arguments are those of the decoding loop."""

    def __init__(self, model: Any, sampler: Sampler, endings: Endings, size: int) -> None:
        self._model, self._sampler, self._endings, self._size = model, sampler, endings, size
        self.started: list[Row] = []

    def step(self, waiting: deque[Row]) -> list[Draft]:
        """Writes and returns a batch."""
        began = time.perf_counter()
        self.started = [waiting.popleft() for _ in range(min(self._size, len(waiting)))]
        drafts = [Draft(row) for row in self.started]
        self._sampler.keep([])
        for row in self.started:
            self._sampler.add(row.ids, row.sample.seed)

        def pick(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            tokens = torch.tensor(self._sampler.pick(scores), device=scores.device)
            return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)

        def note(ids: torch.Tensor, _: Any, **__: Any) -> torch.Tensor:
            ended = self._endings(drafts) if drafts[0].ids else set()
            for place, token in enumerate(ids[:, -1].tolist()):
                if place not in ended:
                    drafts[place].ids.append(token)
            ended = self._endings(drafts)
            return torch.tensor([place in ended for place in range(len(drafts))], device=ids.device)

        width = max(len(row.ids) for row in self.started)
        ids = [row.ids[:1] * (width - len(row.ids)) + row.ids for row in self.started]
        mask = [[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in self.started]
        with torch.inference_mode():
            self._model.generate(
                input_ids=torch.tensor(ids, device=self._model.device),
                attention_mask=torch.tensor(mask, device=self._model.device),
                do_sample=False,
                max_new_tokens=self._endings.max_new_tokens,
                logits_processor=LogitsProcessorList([pick]),
                stopping_criteria=StoppingCriteriaList([note]),
            )
        self.started = []
        for draft in drafts:
            draft.seconds = (time.perf_counter() - began) / len(drafts)
        return drafts
