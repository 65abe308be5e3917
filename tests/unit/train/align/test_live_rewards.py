"""The rewards of texts in training: by hand for a search and for similarities, group by group."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import ExpandrError
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Message
from expandr_ir.train.align import evidence, live_rewards
from expandr_ir.train.align.corpus import CorpusOptions
from expandr_ir.train.align.evidence import EvidenceOptions
from expandr_ir.train.align.grpo_trainer import RewardedTrainer
from expandr_ir.train.align.live_rewards import LiveRewards
from expandr_ir.train.data.rows import TrainingRow

ROWS = [TrainingRow("t1", "flea life", ("good",), ()), TrainingRow("t2", "heart attacks", ("bad",), ())]
VECTORS = {
    "good": (1.0, 0.0),
    "bad": (0.0, 1.0),
    "flea": (0.6, 0.8),
    "eggs": (0.8, 0.6),
    "": (1.0, 1.0),
    "zero": (0.0, 0.0),
}


class Encoder:
    """The vectors of a table."""

    config, dim = EncoderConfig(model="m", query_prefix="", document_prefix=""), 2

    def encode_documents(self, texts):
        return np.array([VECTORS[text] for text in texts], dtype=np.float32)

    def identity(self):
        return {"model": "m"}


class Search:
    """Finds the one positive at the rank that a text names; the query alone at 4."""

    options = CorpusOptions()

    def __init__(self):
        self.searches = 0

    def positives(self, row_id):
        return {"p": 1}

    def positions(self, entries):
        self.searches += 1
        texts = [text for _, texts in entries for text in texts]
        return np.array([float(text.removeprefix("rank ") or 4) for text in texts])

    def identity(self):
        return {}


@pytest.fixture
def search(monkeypatch):
    made = Search()
    monkeypatch.setattr(evidence, "CorpusSearch", lambda options: made)
    return made


@pytest.fixture
def tokenizer():
    return tiny_models.tiny_tokenizer()


def rewards_of(tokenizer, **given):
    given.setdefault("corpus", CorpusOptions(collection="c"))
    return LiveRewards(EvidenceOptions(**given), tokenizer, load_prompt("topic"), ROWS, {})


def call(rewards, tokenizer, *texts, row_id="t1"):
    """The rewards of texts of one row, or of each its own, and what was logged."""
    logged = {}
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in texts]
    row_ids = [row_id] * len(texts) if isinstance(row_id, str) else row_id
    given = {"prompts": [], "completions": [], "trainer_state": None}
    return rewards(completion_ids=ids, row_id=row_ids, log_metric=logged.__setitem__, **given), logged


def test_the_gain_of_a_search_by_hand(search, tokenizer):
    rewards = rewards_of(tokenizer, rewards={"search": 2.0, "corpus": 1.0})
    assert rewards.settings()["weights"] == {"search": 2.0, "corpus": 1.0}
    totals, logged = call(rewards, tokenizer, "rank 1", "Passage: rank 2", "", row_id=["t1", "t1", "t2"])
    np.testing.assert_allclose(totals, [2 * (1 - 1 / 4) + 1, 2 * (1 / 2 - 1 / 4) + 1 / 2, 1 / 4])
    assert search.searches == 1  # of both groups, with the queries alone
    assert logged.pop("reward_seconds") == rewards.seconds > 0
    expected = {"rewards/search": (0.75 + 0.25) / 3, "rewards/corpus": (1 + 0.5 + 0.25) / 3, "completions/empty": 1 / 3}
    assert logged == pytest.approx(expected)


def test_siblings_are_ranked_and_an_empty_text_has_no_similarity(monkeypatch, tokenizer):
    monkeypatch.setattr(EvidenceOptions, "open_encoder", lambda self: Encoder())
    rewards = rewards_of(tokenizer, rewards={"retriever": 1.0}, encoder="e")
    totals, _ = call(rewards, tokenizer, "flea", "eggs", "", "eggs", "flea", row_id=["t1"] * 3 + ["t2"] * 2)
    np.testing.assert_allclose(totals, [1 / 2, 1, 1 / 3, 1 / 2, 1])  # the empty one would be second
    rewards = rewards_of(tokenizer, rewards={"self": 1.0}, encoder="e")
    rewards._answers = {"t1": "bad"}
    assert call(rewards, tokenizer, "flea", "eggs")[0] == [1, 1 / 2]


def test_reasoning_is_no_part_of_a_text(search, tokenizer, monkeypatch):
    rewards = rewards_of(tokenizer, rewards={"corpus": 1.0})
    assert call(rewards, tokenizer, "<think>rank 3</think>rank 2")[0] == [1 / 2]
    monkeypatch.setattr(live_rewards, "opens_reasoning", lambda text: True)
    rewards = rewards_of(tokenizer, rewards={"corpus": 1.0})
    assert call(rewards, tokenizer, "rank 3</think>rank 2", "rank 1")[0] == [1 / 2, 1 / 4]  # it never ends


def test_nothing_but_empty_texts_is_an_error_until_there_was_one(search, tokenizer):
    rewards = rewards_of(tokenizer, rewards={"search": 1.0})
    with pytest.raises(ExpandrError, match=r"(?s)all 2 texts that the model wrote are empty.*--grpo.log_completions"):
        call(rewards, tokenizer, "", "...")
    call(rewards, tokenizer, "rank 1", "")
    assert call(rewards, tokenizer, "", "")[0] == [0, 0]


def test_a_similarity_that_is_no_number_names_the_row(monkeypatch, tokenizer):
    monkeypatch.setattr(EvidenceOptions, "open_encoder", lambda self: Encoder())
    rewards = rewards_of(tokenizer, rewards={"retriever": 1.0}, encoder="e")
    with pytest.raises(
        ExpandrError, match=r"query 't1' \('flea life'\): the similarity 'positive' of candidate 1 is nan"
    ):
        call(rewards, tokenizer, "flea", "zero")


def test_the_prompt_is_tokenized_as_for_inference_and_cut(tokenizer):
    messages = [{"role": "user", "content": "flea life"}]
    whole = prompt_ids(tokenizer, [Message(**messages[0])])
    for most, expected in ((None, whole), (3, whole[-3:]), (999, whole)):
        trainer = SimpleNamespace(_max_prompt_length=most, processing_class=tokenizer)
        assert RewardedTrainer._tokenize_prompts(trainer, [messages]) == ([expected], None, {})
