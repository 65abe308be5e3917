"""Seeded sampling draws from the right distribution, and each row from its own seed."""

import math
from collections import Counter

import pytest
import torch
from tiny_models import tiny_tokenizer

from expandr_ir.generators.chat import read_back
from expandr_ir.generators.local import GumbelNoise, StopTexts, logits_processors
from expandr_ir.records import Decoding

CPU = torch.device("cpu")
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0, -20.0])


def draws(decoding, rows=50, steps=400):
    """How often each token was drawn in rows x steps draws."""
    processors = logits_processors(decoding, range(rows), CPU)
    scores = LOGITS.expand(rows, -1)
    ids = torch.zeros(rows, 1, dtype=torch.long)
    return Counter(token for _ in range(steps) for token in processors(ids, scores).argmax(-1).tolist())


def chi_square(seen, probabilities):
    total = sum(seen.values())
    return sum((seen[token] - total * p) ** 2 / (total * p) for token, p in enumerate(probabilities) if p)


def softmax(values):
    weights = [math.exp(value) for value in values]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(
    ("temperature", "top_p", "tokens", "limit"),
    [
        # chi-square with 6 and 2 degrees of freedom: 1 in 1000 is larger; the last token's probability is 1e-9
        (0.5, 1.0, 7, 22.5),
        (1.0, 1.0, 7, 22.5),
        (2.0, 1.0, 7, 22.5),
        (1.0, 0.8, 3, 13.8),  # softmax is .536 .197 .120 .073 ... ; the smallest set of at least .8 is the first three
    ],
)
def test_draws_follow_the_softmax(temperature, top_p, tokens, limit):
    seen = draws(Decoding(temperature=temperature, top_p=top_p))
    assert max(seen) < tokens
    assert chi_square(seen, softmax([value / temperature for value in LOGITS.tolist()[:tokens]])) < limit


def test_temperature_0_takes_the_largest():
    assert len(logits_processors(Decoding(temperature=0.0), [0], CPU)) == 0
    assert draws(Decoding(temperature=0.0), rows=2, steps=3) == {0: 6}


def test_a_row_draws_from_its_own_seed_whoever_its_neighbours_are():
    alone, among = GumbelNoise([5], CPU), GumbelNoise([1, 5, 9], CPU)
    scores = torch.zeros(3, 1000)
    for _ in range(3):
        noisy = among(None, scores)
        assert torch.equal(alone(None, scores[:1])[0], noisy[1])
        assert not torch.equal(noisy[0], noisy[1])
        assert noisy.mean().item() == pytest.approx(0.5772, abs=0.1)  # the mean of Gumbel(0, 1) is Euler's constant


def test_what_the_nucleus_excludes_stays_excluded():
    noisy = GumbelNoise(range(200), CPU)(None, torch.tensor([[0.0, float("-inf")]]).expand(200, 2))
    assert noisy.argmax(-1).sum() == 0
    assert not noisy.isnan().any()


def test_the_penalty_comes_before_the_temperature():
    processors = logits_processors(Decoding(temperature=0.0, repetition_penalty=2.0), [0], CPU)
    assert processors(torch.tensor([[0, 5]]), LOGITS[None])[0].tolist()[:6] == [1.0, 1.0, 0.5, 0.0, -0.5, -2.0]


def test_stop_texts_are_looked_for_in_what_was_written():
    tokenizer = tiny_tokenizer()
    prompt = tokenizer("flea END", add_special_tokens=False)["input_ids"]
    written = tokenizer(["flea EN", "flea END", "it is END"], add_special_tokens=False)["input_ids"]
    width = max(map(len, written))
    rows = torch.tensor([prompt + row + [1] * (width - len(row)) for row in written])  # 1 is a special token
    assert StopTexts(tokenizer, ("END",), len(prompt))(rows, None).tolist() == [False, True, True]


def test_reading_back_changes_nothing():
    tokenizer = tiny_tokenizer()
    text = "it 's a  flea , isn't it ?\n"
    assert read_back(tokenizer, tokenizer([text], add_special_tokens=False)["input_ids"]) == [text]
