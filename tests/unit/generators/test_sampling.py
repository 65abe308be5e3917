"""Seeded sampling draws from the right distribution, and each row from its own seed."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_generate import processors
from tiny_models import tiny_tokenizer

from expandr_ir.errors import InputError
from expandr_ir.generators.chat import Row, read_back
from expandr_ir.generators.decoding_loop import Draft, Endings
from expandr_ir.generators.sampling import Sampler, add_noise, nucleus
from expandr_ir.records import Decoding, SampleKey

CPU = torch.device("cpu")
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0, -20.0])


def sampler_of(decoding, seeds, prompt=(0,)):
    sampler = Sampler(decoding, CPU)
    for seed in seeds:
        sampler.add(prompt, seed)
    return sampler


def draws(decoding, rows=50, steps=400):
    """How often each token was drawn in rows x steps draws."""
    sampler = sampler_of(decoding, range(rows))
    return Counter(token for _ in range(steps) for token in sampler.pick(LOGITS.expand(rows, -1)))


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
    assert draws(Decoding(temperature=0.0), rows=2, steps=3) == {0: 6}


def test_the_smallest_set_of_enough_probability():
    scores = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15], [0.96, 0.01, 0.01, 0.01, 0.01]]).log()
    for top_p, first, second in (
        (0.39, [1], [0]),
        (0.41, [1, 3], [0]),
        (0.8, [1, 3, 4], [0]),
        (0.96001, [1, 3, 4, 0, 2], [0, 1]),
    ):
        tokens, is_kept = nucleus(scores, top_p)
        assert [row[kept].tolist() for row, kept in zip(tokens, is_kept, strict=True)] == [first, second]


@given(
    seed=st.integers(0, 2**32),
    vocabulary=st.integers(2, 300),
    spread=st.floats(0.1, 10),
    decoding=st.builds(
        Decoding,
        st.sampled_from([0.0, 0.3, 0.7, 1.0, 2.0]),
        st.sampled_from([1e-6, 0.1, 0.5, 0.9, 0.999, 1.0]),
        repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    ),
)
def test_tokens_are_those_of_transformers_with_the_same_noise(seed, vocabulary, spread, decoding):
    seeds, prompt = [seed, seed + 1, seed + 2], [0, 1, 1]
    sampler, chain = sampler_of(decoding, seeds, prompt), processors(decoding, seeds)
    ids, random = torch.tensor([prompt] * 3), torch.Generator().manual_seed(seed)
    for _ in range(4):
        logits = torch.randn(3, vocabulary, generator=random) * spread
        picked = sampler.pick(logits)
        assert picked == chain(ids, logits).argmax(-1).tolist()
        ids = torch.cat([ids, torch.tensor(picked)[:, None]], dim=1)


def test_a_row_draws_from_its_own_seed_whoever_its_neighbours_are():
    decoding, scores = Decoding(top_p=1.0), torch.zeros(3, 1000)
    alone, among = sampler_of(decoding, [5]), sampler_of(decoding, [1, 5, 9])
    for step in range(4):
        picked = among.pick(scores[: 3 - step // 2])
        assert alone.pick(scores[:1]) == picked[1:2]
        assert len(set(picked)) == len(picked)
        if step == 1:
            among.keep([2, 1])


def test_noise_is_gumbels_and_excludes_what_is_excluded():
    uniform = torch.rand(200, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert add_noise(torch.zeros(200, 1000), uniform).mean().item() == pytest.approx(
        0.5772, abs=0.01
    )  # Euler's constant
    noisy = add_noise(torch.tensor([0.0, float("-inf")]), torch.tensor([0.0, 0.5], dtype=torch.float64))
    assert noisy.tolist() == [float("-inf")] * 2
    scores = torch.tensor([[0.0, float("-inf")]]).expand(200, 2)
    for top_p in (0.9, 1.0):
        assert sampler_of(Decoding(top_p=top_p), range(200)).pick(scores) == [0] * 200


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(top_p=1.0), Decoding(temperature=0.0)])
def test_logits_that_are_no_numbers_are_an_error(decoding):
    with pytest.raises(InputError, match="no numbers"):
        sampler_of(decoding, [0, 1]).pick(torch.tensor([[0.0, 1.0], [float("nan")] * 2]))


def test_the_penalty_comes_before_the_temperature():
    # 2.0 / 2 = 1.0 and 1.0 / 2 = .5 of the prompt are no more than .5 and 1.0 of the rest
    logits = torch.tensor([[2.0, 0.9, 1.1, -1.0]])
    assert sampler_of(Decoding(temperature=0.0), [0]).pick(logits) == [0]
    sampler = sampler_of(Decoding(temperature=0.0, repetition_penalty=2.0), [0])
    assert [sampler.pick(logits)[0] for _ in range(3)] == [2, 0, 0]  # then 1.0, .9, .55, -1.0


def test_stop_texts_are_looked_for_in_what_was_written():
    tokenizer = tiny_tokenizer()
    texts = ["flea EN", "flea END", "it is END"]
    written = tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompt = tokenizer("END", add_special_tokens=False)["input_ids"]
    decoding = Decoding(stop=("END",), max_new_tokens=100)
    drafts = [Draft(Row(prompt, SampleKey(0, "key", 0), decoding), ids) for ids in written]
    assert Endings(decoding, tokenizer, [1])(drafts) == {1, 2}
    assert Endings(decoding, tokenizer, [1, written[0][-1]])(drafts) == {0, 1, 2}


def test_reading_back_changes_nothing():
    tokenizer = tiny_tokenizer()
    text = "it 's a  flea , isn't it ?\n"
    assert read_back(tokenizer, tokenizer([text], add_special_tokens=False)["input_ids"]) == [text]
