"""Continuous batching: a prompt is read once for all its samples, and a row that ends gives its place to the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache

from expandr_ir.generators.batch_cache import BatchCache, LastLogits
from expandr_ir.generators.chat import Row, read_back
from expandr_ir.generators.sampling import Sampler
from expandr_ir.records import Decoding

PROMPT_TOKENS = 4096
"""Prompts are read together up to so many tokens, padding included."""
CPU_TOKENS = 65_536
"""Keys and values of so many tokens are held on a CPU: memory that runs out there ends the process."""


@dataclass(slots=True, eq=False)
class Draft:
    """A row with the new tokens that it has, and its share in the wall time."""

    row: Row
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def length(self) -> int:
        """Tokens, those of the prompt included."""
        return len(self.row.ids) + len(self.ids)


class Endings:
    """Finds the drafts that end with their last token: by an end token, a stop text or `max_new_tokens`."""

    def __init__(self, decoding: Decoding, tokenizer: Any, ends: Collection[int]) -> None:
        self.max_new_tokens, self._stop = decoding.max_new_tokens, decoding.stop
        self._tokenizer, self._ends = tokenizer, ends
        self._tail = 1 + max((len(text.encode()) for text in decoding.stop), default=0)  # a token is a byte at least

    def __call__(self, drafts: Sequence[Draft]) -> set[int]:
        """Returns their places."""
        stop, most = self._stop, self.max_new_tokens
        tails = read_back(self._tokenizer, [draft.ids[-self._tail :] for draft in drafts]) if stop else []
        stopped = {place for place, tail in enumerate(tails) if any(text in tail for text in stop)}
        return stopped | {p for p, draft in enumerate(drafts) if draft.ids[-1] in self._ends or len(draft.ids) >= most}


class DecodingLoop:
    """Writes rows of equal decoding with a model's own forward pass and an attention cache of a changing batch.

    Args:
        model: in evaluation mode; `can_drive` it.
        sampler: picks the rows' tokens.
        endings: find the drafts that end.
        size: the most rows at once.
    """

    def __init__(self, model: Any, sampler: Sampler, endings: Endings, size: int) -> None:
        self._forward, self._sampler, self._endings, self._size = LastLogits(model), sampler, endings, size
        self.drafts: list[Draft] = []
        self._ready: deque[tuple[Row, int]] = deque()  # rows whose prompt is read, and its place in `_prompts`
        self._prompts: tuple[Cache, torch.Tensor] | None = None
        self._cache = BatchCache()
        self._clock = 0.0  # the wall time that a row which was there from the beginning has a share of

    @property
    def started(self) -> list[Row]:
        """The rows that were taken from those that wait and have not ended."""
        return [draft.row for draft in self.drafts] + [row for row, _ in self._ready]

    @torch.inference_mode()
    def step(self, waiting: deque[Row]) -> list[Draft]:
        """Writes one token of each row and returns the rows that end with it; rows that wait are taken as places allow.

        They come longest prompt first: the batch is then always at least as wide as the next prompt.
        """
        began, logits = time.perf_counter(), []
        if self.drafts:
            logits.append(self._extend())
        size = self._room(waiting)
        # Several rows join at a time, because a forward pass has its price whatever it reads.
        if not self.drafts or size - len(self.drafts) >= size // 8:
            while len(self.drafts) < size:
                if not self._ready:
                    self._read_prompts(waiting, size - len(self.drafts))
                logits.append(self._join(size))
        for draft, token in zip(self.drafts, self._sampler.pick(torch.cat(logits)), strict=True):
            draft.ids.append(token)
        return self._part(began)

    def _room(self, waiting: deque[Row]) -> int:
        """Returns the size that the batch can have now."""
        size = min(self._size, len(self.started) + len(waiting))
        if self._forward.device.type == "cpu":
            prompts = [draft.row for draft in self.drafts] or [row for row, _ in self._ready] or [waiting[0]]
            longest = max(len(row.ids) for row in prompts) + self._endings.max_new_tokens
            size = min(size, max(1, CPU_TOKENS // longest))
        return size

    def _extend(self) -> torch.Tensor:
        """Reads the last token of each draft and returns the logits after it."""
        tokens, lengths = [draft.ids[-1:] for draft in self.drafts], [draft.length for draft in self.drafts]
        return self._cache.extend(self._forward, tokens, lengths)

    def _read_prompts(self, waiting: deque[Row], free: int) -> None:
        """Reads the prompts of as many rows as there is place for, and of all further samples of the last one."""
        prompts: list[list[int]] = []
        while waiting:
            ids = waiting[0].ids
            if not prompts or ids != prompts[-1]:
                if prompts and (len(self._ready) >= free or (len(prompts) + 1) * len(prompts[0]) > PROMPT_TOKENS):
                    break
                prompts.append(ids)
            self._ready.append((waiting.popleft(), len(prompts) - 1))
        cache = DynamicCache()  # without the model's configuration: it keeps all columns of sliding windows too
        self._prompts = cache, self._forward(prompts, [len(ids) for ids in prompts], cache)

    def _join(self, size: int) -> torch.Tensor:
        """Adds rows whose prompts are read to a batch of at most `size` and returns their prompts' logits."""
        assert self._prompts is not None
        cache, logits = self._prompts
        chosen = []
        while self._ready and len(self.drafts) < size:
            row, place = self._ready.popleft()
            chosen.append(place)
            self.drafts.append(Draft(row, seconds=-self._clock))
            self._sampler.add(row.ids, row.sample.seed)
        places = torch.tensor(chosen, device=logits.device)
        self._cache.join(cache, places, size)
        if not self._ready:
            self._prompts = None
        return logits[places]

    def _part(self, began: float) -> list[Draft]:
        """Takes the rows that ended out of the batch: the last ones move to their places."""
        ended = self._endings(self.drafts)
        live = [place for place in range(len(self.drafts)) if place not in ended]
        rows = len(live)
        last = [place for place in live if place >= rows]
        places = [place if place not in ended else last.pop() for place in range(rows)]
        gone = [self.drafts[place] for place in sorted(ended)]
        share = (time.perf_counter() - began) / len(self.drafts)
        self.drafts = [self.drafts[place] for place in places]
        self._sampler.keep(places)
        self._cache.keep(places, max((draft.length - 1 for draft in self.drafts), default=0))
        self._clock += share
        for draft in gone:
            draft.seconds += self._clock
        return gone
