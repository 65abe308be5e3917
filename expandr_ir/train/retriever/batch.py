"""Rows to one batch: each distinct text is tokenised and encoded once, and indices say what is what."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expandr_ir.aggregate.dense import DenseOptions, concat
from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.batching import token_ids
from expandr_ir.errors import InputError
from expandr_ir.train.retriever.data import RetrieverRow, draw
from expandr_ir.train.retriever.losses import NOWHERE
from expandr_ir.train.retriever.options import ObjectiveOptions, RowOptions


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
        self._separator = separator_of(tokenizer, objective.aggregation, objective.dense)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of the rows whose numbers are the features' "row"."""
        texts = _Texts(self.encoder)
        labels: dict[str, list[Any]] = {name: [] for name in ("queries", "expansions", "owners", "documents", "keys")}
        groups: list[list[int]] = []
        positives: list[list[int]] = []
        numbers = [int(feature["row"]) for feature in features]
        for place, number in enumerate(numbers):
            row = self.rows[number]
            positive, negatives, expansions = draw(row, self.options, self.epoch, self.seed)
            query, places = self._query(texts, row.row.query, expansions)
            group = [positive, *negatives]
            start = len(labels["documents"])
            labels["queries"].append(query)
            labels["expansions"] += places
            labels["owners"] += [place] * len(places)
            labels["documents"] += [texts.document(text) for text in group]
            labels["keys"] += [key_of(text) for text in group]
            groups.append(list(range(start, start + len(group))))
            positives.append([key_of(text) for text in row.row.positives])
        ids, order, truncated = texts.tokenised(self.tokenizer)
        tensors = {name: torch.tensor(values, dtype=torch.long) for name, values in labels.items()}
        tensors |= {name: order[tensors[name]] for name in ("queries", "expansions", "documents")}
        tensors |= {"rows": torch.tensor(numbers), "truncated": torch.tensor([truncated])}
        tensors |= {"groups": _pad(groups), "positives": _pad(positives)}
        return {**_columns(ids, self.tokenizer.pad_token_id or 0, self.batch_tokens), "label": tensors}

    def _query(self, texts: _Texts, query: str, expansions: Sequence[str]) -> tuple[int, list[int]]:
        """The places of a row's query and of its expansions; none of these where the query is used alone."""
        objective, filled = self.objective, [text for text in expansions if text.strip()]
        if objective.aggregation == "concat":
            return texts.query(concat(query, filled, self._separator)), []
        if not filled or (objective.aggregation == "none" and not objective.reads_answers):
            return texts.query(query), []
        places = [texts.expansion(text) if text.strip() else texts.query(query) for text in expansions]
        return (places[0] if objective.aggregation == "expansion" else texts.query(query)), places


class _Texts:
    """The distinct texts of a batch with the longest length of each, in the order in which they came."""

    def __init__(self, encoder: EncoderConfig) -> None:
        self._encoder = encoder
        self._places: dict[tuple[str, int], int] = {}

    def query(self, text: str) -> int:
        return self._place(self._encoder.query_prefix, text, self._encoder.query_max_length)

    def document(self, text: str) -> int:
        return self._place(self._encoder.document_prefix, text, self._encoder.max_length)

    def expansion(self, text: str) -> int:
        encoder = self._encoder
        prefix, longest = encoder.document_prefix, encoder.max_length
        if encoder.expansion_role == "query":
            prefix, longest = encoder.query_prefix, encoder.query_max_length
        return self._place(prefix if encoder.expansion_prefix is None else encoder.expansion_prefix, text, longest)

    def _place(self, prefix: str | None, text: str, longest: int | None) -> int:
        assert prefix is not None
        assert longest is not None
        return self._places.setdefault((prefix + text, longest), len(self._places))

    def tokenised(self, tokenizer: Any) -> tuple[list[np.ndarray[Any, Any]], Tensor, int]:
        """The token ids, longest first; where each text stands in that order; and how many texts were cut."""
        keys = list(self._places)
        ids: list[Any] = [None] * len(keys)
        truncated = 0
        for longest in {longest for _, longest in keys}:
            group = [at for at, key in enumerate(keys) if key[1] == longest]
            rows, cut = token_ids(tokenizer, [keys[at][0] for at in group], longest)
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


def separator_of(tokenizer: Any, aggregation: str, dense: DenseOptions) -> str:
    """The text between the texts of `concat`, which is an error where nobody names one; "" for other aggregations."""
    if aggregation != "concat":
        return ""
    if dense.separator is not None:
        return dense.separator
    if tokenizer.sep_token is None:
        raise InputError(
            "the tokenizer has no separator token",
            expected="a separator for the aggregation 'concat'",
            remedy="--objective.dense.separator ' '",
        )
    return f" {tokenizer.sep_token} "


def columns_of(lengths: Sequence[int], budget: int) -> list[int]:
    """The first place of each column; a new one begins where the budget is full, or texts get much shorter.

    Padding to the longest of a column costs less than a column of few tokens, so one of less than a sixteenth of the
    budget takes shorter texts too. Lengths are in tokens, the longest first; a budget counts padding.
    """
    starts = [0]
    for at, length in enumerate(lengths):
        width, rows = max(1, lengths[starts[-1]]), at - starts[-1]
        if rows and ((rows + 1) * width > budget or (length < 0.8 * width and rows * width >= budget / 16)):
            starts.append(at)
    return starts


def _columns(ids: Sequence[Any], pad: int, budget: int) -> dict[str, Tensor]:
    starts = columns_of([len(row) for row in ids], budget)
    columns = {}
    for number, (start, end) in enumerate(itertools.pairwise([*starts, len(ids)])):
        padded = np.full((end - start, max(1, len(ids[start]))), pad, dtype=np.int64)
        mask = np.zeros_like(padded)
        for at, row in enumerate(ids[start:end]):
            padded[at, : len(row)] = row
            mask[at, : len(row)] = 1
        columns[f"text{number}_input_ids"] = torch.from_numpy(padded)
        columns[f"text{number}_attention_mask"] = torch.from_numpy(mask)
    return columns


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[NOWHERE] * (width - len(row))] for row in rows])
