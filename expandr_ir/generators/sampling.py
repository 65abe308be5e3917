"""The next token of every row: repetition penalty, temperature, nucleus, and the noise of the row's own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from expandr_ir.errors import InputError
from expandr_ir.records import Decoding


class Sampler:
    """Picks tokens as a decoding says, for rows that come and go; temperature 0 is greedy.

    Penalty, temperature and top-p are those of transformers, in this order. Then comes the Gumbel-max trick (Gumbel
    1954; Maddison, Tarlow and Minka, "A* Sampling", NIPS 2014, section 2): with g_t = -log(-log u_t), u_t uniform in
    (0, 1), arg-max over t of (logit_t + g_t) is a draw from softmax(logits). A row's u come from its seed alone, one
    for each token of the vocabulary, whatever the nucleus is. They are float64, so that u is never so close to 1 that
    an unlikely token wins by rounding; u = 0 gives -inf, which loses.
    """

    def __init__(self, decoding: Decoding, device: torch.device) -> None:
        self._decoding, self._device = decoding, device
        self._noise_device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self._draws: list[torch.Generator] = []
        self._prompts: list[Sequence[int]] = []  # of rows that are not in `_is_written` yet
        self._is_written = torch.zeros(0, 0, dtype=torch.bool, device=device)  # by row and token, for the penalty

    def add(self, prompt: Sequence[int], seed: int) -> None:
        """Adds a row at the end."""
        self._draws.append(torch.Generator(self._noise_device).manual_seed(seed))
        self._prompts.append(prompt)

    def keep(self, places: Sequence[int]) -> None:
        """Keeps these rows, in this order; tokens of all were picked."""
        self._draws = [self._draws[place] for place in places]
        if len(self._is_written):
            self._is_written = self._is_written[list(places)]

    def pick(self, logits: torch.Tensor) -> list[int]:
        """Returns the next token of each row; `logits` are of shape (rows, vocabulary)."""
        decoding, scores, kept = self._decoding, logits.float(), None
        if decoding.repetition_penalty != 1.0:
            scores = self._penalize(scores)
        if decoding.temperature != 0.0:
            scores = scores / decoding.temperature
            uniform = self._draw(scores.shape)
            if decoding.top_p != 1.0:
                kept, is_kept = nucleus(scores, decoding.top_p)
                scores = scores.gather(1, kept).masked_fill_(~is_kept, -torch.inf)
                uniform = uniform.gather(1, kept.to(uniform.device))
            scores = add_noise(scores, uniform)
        best, tokens = scores.max(-1, keepdim=True)
        if not best.isfinite().all():
            raise InputError("the model's logits are no numbers", remedy="local.dtype: bfloat16 or float32")
        if kept is not None:
            tokens = kept.gather(1, tokens)
        if decoding.repetition_penalty != 1.0:
            self._is_written.scatter_(1, tokens, value=True)
        picked: list[int] = tokens.squeeze(1).tolist()
        return picked

    def _penalize(self, scores: torch.Tensor) -> torch.Tensor:
        if self._prompts:
            new = torch.zeros(len(self._prompts), scores.shape[1], dtype=torch.bool, device=scores.device)
            for row, prompt in zip(new, self._prompts, strict=True):
                row[list(prompt)] = True
            self._is_written = torch.cat([self._is_written, new]) if len(self._is_written) else new
            self._prompts = []
        penalty = self._decoding.repetition_penalty
        return torch.where(self._is_written, torch.where(scores < 0, scores * penalty, scores / penalty), scores)

    def _draw(self, shape: torch.Size) -> torch.Tensor:
        uniform = torch.empty(shape, dtype=torch.float64, device=self._noise_device)
        for row, draws in zip(uniform, self._draws, strict=True):
            row.uniform_(generator=draws)
        return uniform


def add_noise(scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Returns scores + Gumbel noise, computed in float64 and added in the scores' precision."""
    return scores - uniform.log().neg_().log_().to(scores)


def nucleus(scores: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns each row's most probable tokens, and which of them are its smallest set of probability `top_p` or more.

    The vocabulary is not sorted: tokens as improbable as (1 - top_p) / its size reach 1 - top_p only all together, so
    none of them is in a nucleus, and few others are left.
    """
    probabilities = scores.softmax(-1)
    is_likely = probabilities > (1 - top_p) / scores.shape[1]
    counts = is_likely.sum(-1)
    rows, tokens = is_likely.nonzero(as_tuple=True)
    places = torch.arange(len(rows), device=scores.device) - (counts.cumsum(0) - counts)[rows]
    likely = tokens.new_zeros(len(scores), max(1, int(counts.max())))  # 1 where the scores are no numbers
    likely[rows, places] = tokens
    mass = scores.new_zeros(likely.shape)
    mass[rows, places] = probabilities[rows, tokens]
    mass, order = mass.sort(descending=True, stable=True)
    return likely.gather(1, order), (mass.cumsum(-1) - mass < top_p) & (mass > 0)
