"""A small LLM, trained from nothing on one collection: a vehicle to test alignment on, not a product.

    python tests/small_expander.py --collection beir/scifact --output small [--recipe '{"layers": 2}']

It learns the words of the collection's documents (title -> title and passage), then to answer half of its train topics
with the beginnings of their positives; rows/kept.jsonl has the other half. What it writes carries the words of a
topic's field, some samples more than others, which is what rewards and DPO need to be tried on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from scipy import sparse

from expandr_ir.collections import Collection, load_collection
from expandr_ir.generators.chat import load_tokenizer
from expandr_ir.io.files import sha256_json, write_jsonl, write_text
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Topic
from expandr_ir.train.align.fit import fit
from expandr_ir.train.align.sft import SftOptions
from expandr_ir.train.align.tokenization import Example, tokenize
from expandr_ir.train.align.trajectory_inputs import new_network, train_tokenizer
from expandr_ir.train.data.rows import TrainingRow, distinct_queries, query_hash, read_rows, row_json

PROMPT = "topic"
EMBEDDING_LENGTH = 0.5
"""Of the embeddings that it starts with; random ones of .02 a dimension have about .3."""


def _documents() -> dict:
    return {
        "num_train_epochs": 2, "per_device_train_batch_size": 32, "learning_rate": 3e-3, "lr_scheduler_type": "linear",
        "warmup_steps": 30, "adam_beta2": 0.95, "weight_decay": 0.05, "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length", "logging_steps": 20, "save_steps": 100,
    }  # fmt: skip


def _topics() -> dict:
    return {
        "num_train_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 5e-4, "lr_scheduler_type": "linear",
        "warmup_steps": 5, "gradient_checkpointing": False, "logging_steps": 10, "save_steps": 50,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Made for some thousand titled documents with train topics, such as SciFact, and one CPU core.

    Args:
        split: of the topics.
        learnt_share: share of these, by a hash of their texts, that it learns.
        vocabulary, hidden_size, layers, context: of the network.
        passage_words: words of an answer, the title's counted.
        passages: of a document that it learns.
        documents, topics: TRL's SFTConfig of both stages.
        seed: of weights and order.
    """

    split: str = "train"
    learnt_share: float = 0.5
    vocabulary: int = 4096
    hidden_size: int = 192
    layers: int = 3
    context: int = 256
    passage_words: int = 40
    passages: int = 2
    documents: dict = field(default_factory=_documents)
    topics: dict = field(default_factory=_topics)
    seed: int = 0


def train_small(source: str, recipe: Recipe, output: Path) -> Path:
    """Trains it, or goes on where it was broken off; returns its generator.yaml, which comes last."""
    generator = output / "generator.yaml"
    if generator.is_file():
        return generator
    collection = load_collection(source)
    learnt, kept = part_rows(read_rows(source, recipe.split), recipe)
    model = _start(collection, recipe, output / "work" / "start")
    for stage, examples in (("documents", document_pairs(collection, recipe)), ("topics", topic_pairs(learnt, recipe))):
        model = _stage(stage, recipe, model, examples, output / "work" / stage)
    for name, rows in (("learnt", learnt), ("kept", kept)):
        write_jsonl(output / "rows" / f"{name}.jsonl", map(row_json, rows))
    files = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    for name in (*files, "model.safetensors"):
        shutil.copyfile(model / name, output / name)
    block = {
        "engine": "local",
        "model": str(output.resolve()),
        "prompt": PROMPT,
        "decoding": {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 2 * recipe.passage_words},
        "local": {"dtype": "float32"},
        "notes": f"A test vehicle, trained from nothing on {collection.name}: no figure of it says anything of an LLM.",
    }
    write_text(generator, yaml.safe_dump(block, sort_keys=False))
    return generator


def part_rows(rows: Iterator[TrainingRow], recipe: Recipe) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """The train topics that are learnt, and the others."""
    parts: tuple[list[TrainingRow], list[TrainingRow]] = ([], [])
    for row in distinct_queries(rows)[0]:
        parts[int(query_hash(row.query)[8:16], 16) / 16**8 >= recipe.learnt_share].append(row)
    return parts


def document_pairs(collection: Collection, recipe: Recipe) -> Iterator[Example]:
    """Title -> title and passage, for the first passages of every document that has both.

    The answers begin with the topic, as the positives' texts do: that is how so small a model learns, in minutes, to
    keep to the words of a topic.
    """
    prompt = load_prompt(PROMPT)
    for document in collection.documents():
        title, words = document.title.split(), document.text.split()
        size = max(recipe.passage_words - len(title), recipe.passage_words // 4, 1)
        for start in range(0, len(words), size)[: recipe.passages] if title else ():
            messages = prompt.render(Topic(document.doc_id, document.title))
            answer = " ".join([*title, *words[start : start + size]])
            yield Example(f"document {document.doc_id}", messages, (answer,))


def topic_pairs(rows: Sequence[TrainingRow], recipe: Recipe) -> Iterator[Example]:
    """Train topic -> the beginning of each of its positives."""
    prompt = load_prompt(PROMPT)
    for row in rows:
        for text in row.positives:
            beginning = " ".join(text.split()[: recipe.passage_words])
            yield Example(f"topic {row.row_id}", prompt.render(Topic(row.row_id, row.query)), (beginning,))


def _start(collection: Collection, recipe: Recipe, folder: Path) -> Path:
    """The folder with tokenizer and untrained weights, whose embeddings know what stands together."""
    import torch

    mark = folder / sha256_json([recipe.vocabulary, recipe.hidden_size, recipe.layers, recipe.context, recipe.seed])
    if mark.is_file():
        return folder
    texts = [f"{document.title} {document.text}" for document in collection.documents()]
    tokenizer = train_tokenizer(texts, recipe.vocabulary, recipe.context)
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    model = new_network(tokenizer, recipe.hidden_size, recipe.layers, recipe.context, recipe.seed)
    known = torch.from_numpy(cooccurrence_embeddings(ids, len(tokenizer), recipe.hidden_size, seed=recipe.seed))
    with torch.no_grad():
        own = model.get_input_embeddings().weight
        own.copy_(torch.where(known.norm(dim=1, keepdim=True) > 0, known * EMBEDDING_LENGTH, own))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    mark.touch()
    return folder


def _stage(stage: str, recipe: Recipe, model: Path, examples: Iterator[Example], folder: Path) -> Path:
    sft = {"seed": recipe.seed, "max_length": recipe.context} | getattr(recipe, stage)
    options = SftOptions(model=str(model), rows="", sft=sft, lora=None, output=str(folder))
    tokenizer = load_tokenizer(options.generator)
    fit("sft", options, tokenizer, tokenize(examples, tokenizer, recipe.context, None), inputs={}, provenance=None)
    return folder


def cooccurrence_embeddings(
    texts: Sequence[Sequence[int]], vocabulary: int, dim: int, *, window: int = 64, most: float = 5.0, seed: int = 0
) -> np.ndarray:
    """Unit vectors of tokens, float32 array of shape (vocabulary, dim): near where they stand in the same passages.

    The leading eigenvectors of the positive pointwise mutual information of tokens within windows (Levy and Goldberg,
    NIPS 2014), cut at `most`, each scaled by the root of its eigenvalue, found by random projection (Halko, Martinsson
    and Tropp, SIAM Review 53(2), 2011). A token that never occurs has a vector of length 0.
    """
    passages = [sorted(set(ids[start : start + window])) for ids in texts for start in range(0, len(ids), window)]
    columns = np.fromiter((token for passage in passages for token in passage), dtype=np.int32)
    rows = np.repeat(np.arange(len(passages), dtype=np.int32), [len(passage) for passage in passages])
    shape = (len(passages), vocabulary)
    present = sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), (rows, columns)), shape=shape)
    together = (present.T @ present).tocoo()
    counts = np.asarray(present.sum(axis=0)).ravel()
    information = np.log(together.data * len(passages) / (counts[together.row] * counts[together.col]))
    kept = information > 0
    values = np.minimum(information[kept], most).astype(np.float32)
    association = sparse.csr_matrix((values, (together.row[kept], together.col[kept])), shape=(vocabulary, vocabulary))
    random = np.random.default_rng(seed).standard_normal((vocabulary, min(dim + 16, vocabulary))).astype(np.float32)
    basis = np.linalg.qr(association @ random)[0]
    for _ in range(2):
        basis = np.linalg.qr(association @ basis)[0]
    projected = basis.T @ (association @ basis)
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    leading = np.argsort(-np.abs(values))[:dim]
    found = (basis @ vectors[:, leading]) * np.sqrt(np.abs(values[leading]))
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 1e-6).astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--recipe", type=json.loads, default={}, help="fields of Recipe, as JSON")
    arguments = parser.parse_args()
    print(train_small(arguments.collection, Recipe(**arguments.recipe), arguments.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
