"""Held-out scores against hand-computed ones, and the gate."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models

from expandr_ir.errors import InputError
from expandr_ir.io.files import write_jsonl
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Decoding
from expandr_ir.train.align.heldout import Heldout, LiveGenerator, Scores, gate
from expandr_ir.train.align.options import HeldoutOptions

VECTORS = {"q one": (1, 0), "q two": (0, 1), "east": (1, 0), "north": (0, 1), "up": (0.8, 0.6), "west": (-1, 0)}


class FixedEncoder:
    """Vectors of the texts above."""

    def encode_queries(self, texts):
        return np.array([VECTORS[text] for text in texts], dtype=np.float32)

    encode_documents = encode_queries

    def encode_expansions(self, texts):
        return np.array([VECTORS.get(text, (0, 0)) for text in texts], dtype=np.float32)


@pytest.fixture
def heldout(tmp_path, monkeypatch):
    monkeypatch.setattr("expandr_ir.encoders.load_encoder", lambda *_, **__: FixedEncoder())
    rows = [
        {"row_id": "1", "query": "q one", "positives": ["east"], "negatives": ["west"]},
        {"row_id": "2", "query": "q two", "positives": ["north", "up"], "negatives": []},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    options = HeldoutOptions(rows=str(tmp_path / "rows.jsonl"), samples=2, decoding=Decoding(max_new_tokens=4))
    return Heldout(options, load_prompt("topic"))


def in_order(heldout, texts):
    return [texts[row.row_id] for row in heldout.rows]


def test_scores_by_hand(heldout):
    scores = heldout.scores(in_order(heldout, {"1": ["east", "north"], "2": ["up", ""]}))
    # rewards: q one: east.east = 1, east.north = 0; q two: the better of north.up = .6 and up.up = 1, and 0 for ""
    assert scores.reward == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert scores.spread == pytest.approx((0.5 + 0.5) / 2)
    assert scores.empty == 1
    # q one + east: first; (q one + north) / 2 = (.5, .5): up .7 goes before east .5, and north ties with it -> rank 3;
    # q two's positives north and up are the first two in every case
    assert scores.mrr == pytest.approx((1 + 1 / 3 + 1 + 1) / 4)
    assert scores.mrr_topic == pytest.approx(1.0)


def test_a_tie_counts_against_the_positive(heldout):
    tied = heldout.scores(in_order(heldout, {"1": ["west", "west"], "2": ["north", "north"]}))
    # (q one + west) / 2 = (0, 0): all four documents score 0, three others beside east
    assert tied.mrr == pytest.approx((1 / 4 + 1 / 4 + 1 + 1) / 4)


def test_the_topics_are_chosen_by_hash_and_not_by_order(tmp_path, monkeypatch):
    monkeypatch.setattr("expandr_ir.encoders.load_encoder", lambda *_, **__: FixedEncoder())
    rows = [{"query": name, "positive": "east"} for name in ("q one", "q two")]
    chosen = []
    for order in (rows, rows[::-1]):
        write_jsonl(tmp_path / "r.jsonl", order)
        options = HeldoutOptions(rows=str(tmp_path / "r.jsonl"), topics=1)
        chosen.append([row.query for row in Heldout(options, load_prompt("topic")).rows])
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 1


def test_a_model_in_memory_writes_what_the_local_engine_writes(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from expandr_ir.config import GeneratorConfig, LocalOptions
    from expandr_ir.generators import load_generator
    from expandr_ir.records import GenerationRequest, Message, SampleKey, Topic

    folder = tiny_models.tiny_llama(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    before = model.generation_config
    samples = tuple(SampleKey(number, f"k{number}", 7 + number) for number in range(3))
    request = GenerationRequest(Topic("t", "fleas"), (Message("user", "fleas"),), samples, Decoding(max_new_tokens=8))
    live = LiveGenerator(model, AutoTokenizer.from_pretrained(folder), 4).texts([request])
    local = load_generator(GeneratorConfig("local", str(folder), local=LocalOptions(dtype="float32")))
    assert live == {one.key: one.text for one in local.generate([request])}
    assert model.training
    assert model.generation_config is before


SCORES = Scores(reward=0.4, mrr=0.7, mrr_topic=0.6, spread=0.1, empty=0)


@pytest.mark.parametrize(
    ("metrics", "scores", "score", "expected"),
    [
        ({"eval_rewards/margins": 0.2}, SCORES, "reward", 0.4),
        ({"eval_rewards/margins": 0.2}, SCORES, "mrr", 0.7),
        ({"eval_rewards/margins": 0.0}, SCORES, "reward", 0.4),
        ({"eval_rewards/margins": -0.1}, SCORES, "reward", -1.0),
        ({"eval_rewards/margins": 0.2}, None, "reward", 0.2),
        ({"eval_loss": 2.0}, None, "reward", -2.0),
        ({"eval_loss": 2.0, "eval_reward": -0.01}, None, "reward", -0.01),  # GRPO
        ({"eval_loss": 2.0}, SCORES, "reward", 0.4),
    ],
)
def test_the_gate(metrics, scores, score, expected):
    assert gate(metrics, scores, score) == expected


def test_numbers_below_one_are_refused():
    with pytest.raises(InputError, match=r"heldout\.samples is 0"):
        HeldoutOptions(samples=0)
