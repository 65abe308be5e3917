"""Attention keys and values of a batch whose rows come and go, and the forward pass that reads and writes them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence, Set
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

COLUMNS_AHEAD = 64
"""Room for so many more tokens of each row; then the keys and values move."""
CACHE = "cache"
"""The forward pass's argument, "past_key_values" before transformers 5.24."""


class LastLogits:
    """A model's forward pass over rows of token ids, padded on the left; returns the logits of the last column."""

    def __init__(self, model: Any) -> None:
        self._model, self._accepts = model, arguments_of(base_of(model))
        self.device: torch.device = model.device

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


def can_drive(model: Any) -> bool:
    """Reports a model that remembers keys and values by row and column, and nothing else."""
    adapter, base = getattr(model, "active_peft_config", None), base_of(model)
    if getattr(adapter, "is_prompt_learning", False) or getattr(adapter, "alora_invocation_tokens", None):
        return False  # what PEFT adds depends on the prompt
    if getattr(base, "_is_stateful", False) or not {CACHE, "past_key_values"} & arguments_of(base):
        return False
    layers = DynamicCache(config=base.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def base_of(model: Any) -> Any:
    """Returns the transformers model in a PEFT model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def arguments_of(model: Any) -> Set[str]:
    """Returns the names of the forward pass's arguments."""
    return inspect.signature(model.forward).parameters.keys()


class BatchCache:
    """Keys and values of a changing batch; all rows end in the same column, so that padding stands on their left."""

    def __init__(self) -> None:
        self.rows = self.width = self.end = 0
        self._cache = Cache(layers=[])

    def extend(self, forward: LastLogits, tokens: Sequence[Sequence[int]], lengths: Sequence[int]) -> torch.Tensor:
        """Adds a token to each row and returns the logits after it; `lengths` are the rows' with that token."""
        if self.end == self._cache.layers[0].keys.shape[2]:
            self._move(len(self._cache.layers[0].keys))
        logits = forward(tokens, lengths, self._cache)
        self.end, self.width = self.end + 1, self.width + 1
        return logits

    def join(self, prompts: Cache, places: torch.Tensor, size: int) -> None:
        """Adds rows with the keys and values of these prompts; `size` rows are expected soon."""
        columns = prompts.get_seq_length()
        if not self.rows:
            self.width = self.end = columns
            self._cache = Cache(layers=[BatchLayer(self, layer) for layer in prompts.layers])
        if self.rows + len(places) > len(self._cache.layers[0].keys):
            self._move(size)
        rows, ends = slice(self.rows, self.rows + len(places)), slice(self.end - columns, self.end)
        for mine, theirs in zip(self._cache.layers, prompts.layers, strict=True):
            mine.keys[rows, :, ends] = theirs.keys[places]
            mine.values[rows, :, ends] = theirs.values[places]
        self.rows += len(places)

    def _move(self, rows: int) -> None:
        """Moves the columns in use to the left end of tensors with room for so many rows, and for more columns."""
        for layer in self._cache.layers:
            layer.move(rows)
        self.end = self.width

    def keep(self, places: Sequence[int], width: int) -> None:
        """Keeps these rows, in this order, with as many columns as the longest of them has."""
        used = slice(self.end - width, self.end)
        for to, place in enumerate(places):
            if to != place:
                for layer in self._cache.layers:
                    layer.keys[to, :, used] = layer.keys[place, :, used]
                    layer.values[to, :, used] = layer.values[place, :, used]
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
