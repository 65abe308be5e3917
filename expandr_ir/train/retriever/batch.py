"""Rows to one batch: each distinct text is tokenised and encoded once, and indices say what is what."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from expandr_ir.aggregate.dense import concat, separator_of
from expandr_ir.config import EncoderConfig, TextKind
from expandr_ir.encoders.batching import padded, token_ids
from expandr_ir.errors import InputError
from expandr_ir.train.retriever.data import RetrieverRow, draw
from expandr_ir.train.retriever.losses import NOWHERE
from expandr_ir.train.retriever.options import ObjectiveOptions, RowOptions

PrefixedText: TypeAlias = tuple[str, int]
"""A text with its prefix, and its longest length in tokens."""


class Collator:
    """Numbers of rows to a batch, as sentence-transformers' trainer takes it: columns of texts, and their labels.

    Its own collator has one text in each column of each row, one longest length, and encodes a text as often as it
    occurs. Here the columns "text0", "text1", ... hold the batch's distinct texts with their prefixes, the longest
    first; each is encoded in one go, so that a short query is not padded to the length of a document. The labels are
    tensors, in which places count through all columns:

    - "rows": the numbers of the rows, shape (rows,)
    - "queries": where each row's query stands among the texts, shape (rows,); where the aggregation does not read the
      query, that of its first expansion
    - "expansions": where each expansion stands, shape (n,), and "owners": the place of its row in the batch
    - "documents": where each row's positive and its negatives stand, row by row, shape (documents,)
    - "groups": the places of each row's documents in "documents", the positive first, padded with NOWHERE, shape
      (rows, most documents of a row)
    - "keys": a number for each document, equal for equal texts, shape (documents,)
    - "positives": the keys of all positives of each row, padded with NOWHERE, shape (rows, most positives)
    - "truncated": how many of the texts were cut, shape (1,)
    """

    def __init__(
        self, rows: Sequence[RetrieverRow], tokenizer: Any, encoder: EncoderConfig, objective: ObjectiveOptions,
        options: RowOptions, seed: int, batch_tokens: int
    ) -> None:  # fmt: skip
        if tokenizer.padding_side != "right":
            raise InputError(f"a tokenizer that pads on the {tokenizer.padding_side}", expected="padding on the right")
        self.rows, self.tokenizer, self.encoder = rows, tokenizer, encoder
        self.objective, self.options, self.seed, self.batch_tokens = objective, options, seed, batch_tokens
        self.valid_label_columns: list[str] = []  # sentence-transformers reads it
        self.epoch = 0  # the trainer counts it
        self._separator = ""
        if objective.aggregation == "concat":
            option = "--objective.dense.separator"
            self._separator = separator_of(tokenizer, encoder.model, objective.dense, option)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of the rows whose numbers are the features' "row"."""
        texts: dict[PrefixedText, int] = {}
        labels: dict[str, list[Any]] = {name: [] for name in ("queries", "expansions", "owners", "documents", "keys")}
        groups: list[list[int]] = []
        positives: list[list[int]] = []
        numbers = [int(feature["row"]) for feature in features]
        for owner, number in enumerate(numbers):
            row = self.rows[number]
            positive, negatives, expansions = draw(row, self.options, self.epoch, self.seed)
            query, places = self._query(texts, row.row.query, expansions)
            group = [positive, *negatives]
            start = len(labels["documents"])
            labels["queries"].append(query)
            labels["expansions"] += places
            labels["owners"] += [owner] * len(places)
            labels["documents"] += [self._place(texts, "documents", text) for text in group]
            labels["keys"] += [key_of(text) for text in group]
            groups.append(list(range(start, start + len(group))))
            positives.append([key_of(text) for text in row.row.positives])
        ids, order, truncated = _tokenised(list(texts), self.tokenizer)
        tensors = {name: torch.tensor(values, dtype=torch.long) for name, values in labels.items()}
        tensors |= {name: order[tensors[name]] for name in ("queries", "expansions", "documents")}
        tensors |= {"rows": torch.tensor(numbers), "truncated": torch.tensor([truncated])}
        tensors |= {"groups": _pad(groups), "positives": _pad(positives)}
        starts = columns_of([len(row) for row in ids], self.batch_tokens)
        columns = {
            f"text{number}_{name}": values
            for number, (start, end) in enumerate(itertools.pairwise([*starts, len(ids)]))
            for name, values in padded(ids[start:end], self.tokenizer.pad_token_id or 0).items()
        }
        return {**columns, "label": tensors}

    def _query(self, texts: dict[PrefixedText, int], query: str, expansions: Sequence[str]) -> tuple[int, list[int]]:
        """The places of a row's query and of its expansions; none of these where the query is used alone."""
        aggregation, filled = self.objective.aggregation, [text for text in expansions if text.strip()]
        if aggregation == "concat":
            return self._place(texts, "queries", concat(query, filled, self._separator)), []
        if not filled or (aggregation == "none" and not self.objective.reads_answers):
            return self._place(texts, "queries", query), []
        places = [
            self._place(texts, "expansions", text) if text.strip() else self._place(texts, "queries", query)
            for text in expansions
        ]
        return (places[0] if aggregation == "expansion" else self._place(texts, "queries", query)), places

    def _place(self, texts: dict[PrefixedText, int], kind: TextKind, text: str) -> int:
        """The place of a text among the batch's distinct ones, in the order in which they came."""
        prefix, longest = self.encoder.prefix_and_length(kind)
        return texts.setdefault((prefix + text, longest), len(texts))


def _tokenised(texts: Sequence[PrefixedText], tokenizer: Any) -> tuple[list[Any], Tensor, int]:
    """The token ids, longest first; where each text stands in that order; and how many texts were cut."""
    ids: list[Any] = [None] * len(texts)
    truncated = 0
    for longest in {longest for _, longest in texts}:
        group = [at for at, text in enumerate(texts) if text[1] == longest]
        rows, cut = token_ids(tokenizer, [texts[at][0] for at in group], longest)
        truncated += cut
        for at, row in zip(group, rows, strict=True):
            ids[at] = row
    by_length = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
    order = torch.empty(len(ids), dtype=torch.long)
    order[by_length] = torch.arange(len(ids))
    return [ids[at] for at in by_length], order, truncated


def key_of(text: str) -> int:
    """A number that equal texts share, from 0 to 2^63 - 1."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def columns_of(lengths: Sequence[int], budget: int) -> list[int]:
    """The first place of each column, of lengths in tokens, the longest first, and a budget that counts padding."""
    starts = [0]
    # Much shorter texts begin a column, unless it is below a sixteenth of the budget: its call costs more than padding.
    for at, length in enumerate(lengths):
        width, rows = max(1, lengths[starts[-1]]), at - starts[-1]
        if rows and ((rows + 1) * width > budget or (length < 0.8 * width and rows * width >= budget / 16)):
            starts.append(at)
    return starts


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[NOWHERE] * (width - len(row))] for row in rows])
