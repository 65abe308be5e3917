"""The small expander's parts, and the whole on a collection of sixty documents."""

from __future__ import annotations

import random

import numpy as np
import pytest
from small_expander import Recipe, cooccurrence_embeddings, document_pairs, part_rows, topic_pairs, train_small

from expandr_ir.cli import main
from expandr_ir.collections import load_collection
from expandr_ir.generators.chat import prompt_ids
from expandr_ir.io.files import write_jsonl
from expandr_ir.records import Message
from expandr_ir.train.align.trajectory_inputs import new_network, train_tokenizer
from expandr_ir.train.data.rows import TrainingRow, read_rows


@pytest.fixture
def collection(tmp_path):
    draw = random.Random(0)
    words = [f"w{chr(97 + number // 10)}{chr(97 + number % 10)}" for number in range(100)]
    folder = tmp_path / "mini"
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(60):
        own = draw.sample(words, 6)
        text = " ".join(draw.choice(own) for _ in range(25))
        corpus.append({"_id": f"d{number}", "title": " ".join(own[:3]) if number else "", "text": text})
        if number < 20:
            queries.append({"_id": f"q{number}", "text": " ".join(own[2:5])})
            qrels.append(f"q{number}\td{number}\t1")
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    (folder / "qrels" / "train.tsv").write_text("\n".join(qrels) + "\n")
    return folder


def test_tokenizer_and_network_follow_from_texts_and_seed():
    texts = ["the flea jumps", "the flea lives"] * 5
    tokenizer, text = train_tokenizer(texts, 300, 64), " the flea: jumps!"
    assert tokenizer.decode(prompt_ids(tokenizer, [Message("user", "Flea")])) == "<|begin|> flea<|answer|>"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert train_tokenizer(texts, 300, 64).get_vocab() == tokenizer.get_vocab()
    models = [new_network(tokenizer, 64, 1, 64, seed) for seed in (0, 0, 1)]
    weights = [model.state_dict()["model.layers.0.mlp.up_proj.weight"] for model in models]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()
    assert models[0].get_input_embeddings().weight is models[0].get_output_embeddings().weight


def test_tokens_of_the_same_passages_are_near_each_other():
    texts = [[0, 1, 2]] * 8 + [[3, 4, 5]] * 8
    vectors = cooccurrence_embeddings(texts, 7, 2, window=3)
    assert vectors.shape == (7, 2)
    assert np.allclose(np.linalg.norm(vectors[:6], axis=1), 1, atol=1e-5)
    assert not vectors[6].any()  # it never occurs
    assert (vectors[:3] @ vectors[:3].T > 0.999).all()
    assert (abs(vectors[:3] @ vectors[3:6].T) < 1e-3).all()


def test_documents_become_pairs_of_title_and_passage(collection):
    loaded = load_collection(str(collection))
    pairs = list(document_pairs(loaded, Recipe(passage_words=10, passages=2)))
    assert len(pairs) == 59 * 2  # the first document has no title; 25 words are four passages, of which two are learnt
    document = next(document for document in loaded.documents() if document.doc_id == "d1")
    assert pairs[0].prompt == (Message("user", document.title),)
    title, words = document.title.split(), document.text.split()
    assert len(title) == 3
    assert pairs[0].answers[0].split() == [*title, *words[:7]]
    assert pairs[1].answers[0].split() == [*title, *words[7:14]]


def test_topics_are_learnt_by_the_beginning_of_each_positive_or_kept_back(collection):
    row = TrainingRow("1", "q", ("a b c d", "e f"), ())
    assert [pair.answers for pair in topic_pairs([row], Recipe(passage_words=3))] == [("a b c",), ("e f",)]
    learnt, kept = part_rows(read_rows(str(collection), "train"), Recipe())
    assert sorted(row.row_id for row in [*learnt, *kept]) == sorted(f"q{number}" for number in range(20))
    assert learnt
    assert kept


@pytest.mark.slow
def test_the_whole_is_deterministic_resumable_and_usable(collection, tmp_path):
    recipe = Recipe(
        vocabulary=400, hidden_size=64, layers=1, topics={"max_steps": 2, "bf16": False},
        documents={"max_steps": 4, "save_steps": 2, "logging_steps": 1, "bf16": False},
    )  # fmt: skip
    one, other = tmp_path / "one", tmp_path / "other"
    train_small(str(collection), recipe, one)
    train_small(str(collection), recipe, other)
    weights = (one / "model.safetensors").read_bytes()
    assert (other / "model.safetensors").read_bytes() == weights
    for lost in ("generator.yaml", "model.safetensors", "work/topics/model.safetensors"):
        (other / lost).unlink()
    train_small(str(collection), recipe, other)
    assert (other / "model.safetensors").read_bytes() == weights
    assert len(list(read_rows(one / "rows"))) == 20
    expand = ["expand", "--collection", str(collection), "--split", "train", "--limit", "2", "--output"]
    assert main([*expand, str(tmp_path / "e.jsonl"), "--generator", str(one / "generator.yaml")]) == 0
