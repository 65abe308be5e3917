"""Sampling in which every row of a batch draws from its own seed, whoever its neighbours are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from expandr_ir.records import Decoding

if TYPE_CHECKING:
    import torch


class GumbelNoise:
    """A logits processor after which arg-max is a sample: row i gets noise from seed i alone.

    With g_t = -log(-log u_t), u_t uniform in (0, 1), arg-max over t of (logit_t + g_t) is a draw from softmax(logits):
    the Gumbel-max trick (Gumbel 1954; Maddison, Tarlow and Minka, "A* Sampling", NIPS 2014, section 2). The noise is
    float64, so that u is never so close to 1 that an unlikely token wins by rounding; u = 0 gives -inf, which loses.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        import torch

        self._device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self._draws = [torch.Generator(self._device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Returns the logits with noise, float32 tensor of shape (rows, vocabulary)."""
        import torch

        uniform = torch.empty(scores.shape, dtype=torch.float64, device=self._device)
        for row, draw in zip(uniform, self._draws, strict=True):
            row.uniform_(generator=draw)
        return scores - uniform.log_().neg_().log_().to(scores)


class StopTexts:
    """A stopping criterion: a row is done when its text after the prompt holds one of the stop texts."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], prompt_width: int) -> None:
        self._tokenizer, self._stop, self._prompt_width = tokenizer, stop, prompt_width
        self._tail = 1 + max(len(text.encode()) for text in stop)  # a token is a byte at least

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        """Returns the rows that are done, bool tensor of shape (rows,)."""
        import torch

        tails = read_back(self._tokenizer, input_ids[:, self._prompt_width :][:, -self._tail :].tolist())
        done = [any(text in tail for text in self._stop) for tail in tails]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


def logits_processors(decoding: Decoding, seeds: Sequence[int], device: torch.device) -> Any:
    """Returns a LogitsProcessorList after which arg-max decodes as `decoding` says; temperature 0 is greedy.

    Repetition penalty, temperature and top-p are applied in this order, then the noise of each row's seed.
    """
    import transformers

    processors = transformers.LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        processors.append(transformers.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature != 0.0:
        processors.append(transformers.TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_p != 1.0:
            processors.append(transformers.TopPLogitsWarper(decoding.top_p))
        processors.append(GumbelNoise(seeds, device))
    return processors


def read_back(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Returns the texts of rows of token ids, without special tokens and otherwise as they were generated."""
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts
