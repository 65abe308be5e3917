"""What `local` must write, by transformers alone: `generate` over a padded batch, its processors, and seeded noise."""

from __future__ import annotations

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from expandr_ir.generators.chat import read_back


class Noise:
    """Adds to each row Gumbel noise from a seed of its own."""

    def __init__(self, seeds):
        self.draws = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _, scores):
        uniform = torch.empty(scores.shape, dtype=torch.float64)
        for row, draws in zip(uniform, self.draws, strict=True):
            row.uniform_(generator=draws)
        return scores - uniform.log_().neg_().log_().to(scores)


def processors(decoding, seeds):
    """Penalty, temperature and top-p of transformers, then the noise."""
    chain = LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature != 0.0:
        chain.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_p != 1.0:
            chain.append(TopPLogitsWarper(decoding.top_p))
        chain.append(Noise(seeds))
    return chain


def plain_generate(model, tokenizer, prompts, seeds, decoding):
    """The new token ids of each row, without what follows an end token or a stop text."""
    ends = model.generation_config.eos_token_id
    width = max(map(len, prompts))

    def is_done(row):
        return any(stop in read_back(tokenizer, [row])[0] for stop in decoding.stop)

    def done(ids, _, **__):
        return torch.tensor([is_done(row) for row in ids[:, width:].tolist()])

    with torch.inference_mode():
        output = model.generate(
            input_ids=torch.tensor([ids[:1] * (width - len(ids)) + ids for ids in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]),
            do_sample=False,
            max_new_tokens=decoding.max_new_tokens,
            logits_processor=processors(decoding, seeds),
            stopping_criteria=StoppingCriteriaList([done] if decoding.stop else []),
        )
    rows = output[:, width:].tolist()
    return [
        row[: next((n for n in range(1, len(row)) if row[n - 1] in ends or is_done(row[:n])), len(row))] for row in rows
    ]
