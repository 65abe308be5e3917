"""Continuous batching: a prompt is read once for all its samples, and a row that ends gives its place to the next."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from expandr_ir.generators.chat import Row, read_back
from expandr_ir.generators.sampling import Sampler
from expandr_ir.records import Decoding

COLUMNS_AHEAD = 64
"""Room for so many more tokens of each row; then the keys and values move."""
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
            logits.append(self._cache.extend(self._forward, self.drafts))
        size = self._room(waiting)
        if (
            not self.drafts or size - len(self.drafts) >= size // 8
        ):  # several at a time: each forward pass has its price
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
        places = []
        while self._ready and len(self.drafts) < size:
            row, place = self._ready.popleft()
            places.append(place)
            self.drafts.append(Draft(row, seconds=-self._clock))
            self._sampler.add(row.ids, row.sample.seed)
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


class LastLogits:
    """A model's forward pass over rows of token ids, padded on the left; returns the logits of the last column."""

    def __init__(self, model: Any) -> None:
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._accepts = inspect.signature(self._model.forward).parameters.keys()
        self.device: torch.device = self._model.device

    def __call__(self, rows: Sequence[Sequence[int]], lengths: Sequence[int], cache: Cache) -> torch.Tensor:
        """Returns logits of shape (rows, vocabulary); `lengths` are those of the rows with what the cache holds."""
        width, device = max(map(len, rows)), self.device
        ids = torch.tensor([[row[0]] * (width - len(row)) + [*row] for row in rows], device=device)
        ends = torch.tensor(lengths, device=device)[:, None]
        columns = cache.get_seq_length() + width
        mask = torch.arange(columns, device=device) >= columns - ends
        positions = (ends - width + torch.arange(width, device=device)).clamp_(min=0)
        arguments = {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "position_ids": positions,
            CACHE if CACHE in self._accepts else "past_key_values": cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        output = self._model(**{name: value for name, value in arguments.items() if name in self._accepts})
        logits: torch.Tensor = output.logits[:, -1]
        return logits


CACHE = "cache"
"""The forward pass's argument, "past_key_values" before transformers 5.24."""


def can_drive(model: Any) -> bool:
    """Reports a model whose attention cache is keys and values by row and column, and nothing else."""
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if (
        getattr(base, "_is_stateful", False)
        or not {CACHE, "past_key_values"} & inspect.signature(base.forward).parameters.keys()
    ):
        return False
    return all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=base.config).layers
    )


class BatchCache:
    """Keys and values of a changing batch; all rows end in the same column, so that padding stands on their left."""

    def __init__(self) -> None:
        self.rows = self.width = self.end = 0
        self._cache = Cache(layers=[])

    def extend(self, forward: LastLogits, drafts: Sequence[Draft]) -> torch.Tensor:
        """Adds the last token of each draft and returns the logits after it."""
        if self.end == self._cache.layers[0].keys.shape[2]:
            self._move(len(self._cache.layers[0].keys))
        logits = forward([draft.ids[-1:] for draft in drafts], [draft.length for draft in drafts], self._cache)
        self.end, self.width = self.end + 1, self.width + 1
        return logits

    def join(self, prompts: Cache, places: Sequence[int], size: int) -> None:
        """Adds rows with the keys and values of these prompts; `size` rows are expected soon."""
        columns = prompts.get_seq_length()
        if not self.rows:
            self.width = self.end = columns
            self._cache = Cache(layers=[BatchLayer(self, layer) for layer in prompts.layers])
        if self.rows + len(places) > len(self._cache.layers[0].keys):
            self._move(size)
        rows = slice(self.rows, self.rows + len(places))
        for mine, theirs in zip(self._cache.layers, prompts.layers, strict=True):
            mine.keys[rows, :, self.end - columns : self.end] = theirs.keys[places]
            mine.values[rows, :, self.end - columns : self.end] = theirs.values[places]
        self.rows += len(places)

    def _move(self, rows: int) -> None:
        """Moves the columns in use to the left end of tensors with room for so many rows, and for more columns."""
        for layer in self._cache.layers:
            layer.move(rows)
        self.end = self.width

    def keep(self, places: Sequence[int], width: int) -> None:
        """Keeps these rows, in this order, with as many columns as the longest of them has."""
        first = self.end - width
        for to, place in enumerate(places):
            if to != place:
                for layer in self._cache.layers:
                    layer.keys[to, :, first : self.end] = layer.keys[place, :, first : self.end]
                    layer.values[to, :, first : self.end] = layer.values[place, :, first : self.end]
        self.rows, self.width = len(places), width


class BatchLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of a BatchCache; its tensors have room for more rows and columns."""

    def __init__(self, batch: BatchCache, like: DynamicLayer) -> None:
        super().__init__()
        self._batch, self.is_initialized = batch, True
        self.keys, self.values = like.keys[:0], like.values[:0]

    def get_seq_length(self) -> int:
        """Returns the columns in use."""
        return self._batch.width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, ...]:
        """Writes the new columns, in place, and returns all that are in use."""
        batch, end = self._batch, self._batch.end + key_states.shape[2]
        for tensor, states in ((self.keys, key_states), (self.values, value_states)):
            tensor[: batch.rows, :, batch.end : end] = states
        used = slice(batch.end - batch.width, end)
        return self.keys[: batch.rows, :, used], self.values[: batch.rows, :, used]

    def move(self, rows: int) -> None:
        """Does what the batch's `_move` says."""
        batch = self._batch
        for name in ("keys", "values"):
            before = getattr(self, name)
            used = before[: batch.rows, :, batch.end - batch.width : batch.end]
            # Zeros: what is masked must still be a number.
            after = before.new_zeros(rows, before.shape[1], batch.width + COLUMNS_AHEAD, before.shape[3])
            after[: len(used), :, : used.shape[2]] = used
            setattr(self, name, after)
