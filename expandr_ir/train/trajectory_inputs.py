"""What trajectories train on: tiny models made from a seed, and rows of the demo's recorded expansions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from expandr_ir.files import atomic_write

CONTEXT = 256
"""Longest sequence of the tiny models, in tokens."""


def make_inputs(wanted: Iterable[str], folder: Path, shape: Mapping[str, int]) -> dict[str, str]:
    """The paths of what a command's words name in braces, made where they are not there yet.

    Args:
        wanted: names of INPUTS.
        folder: where they stand.
        shape: of the tiny models: "hidden_size", "layers", "vocabulary".
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {name: str(INPUTS[name](folder, shape)) for name in wanted}


def _model(folder: Path, shape: Mapping[str, int]) -> Path:
    """A Llama and its tokenizer."""
    from expandr_ir.train.small_network import new_network

    def network(tokenizer: Any) -> Any:
        return new_network(tokenizer, shape["hidden_size"], shape["layers"], CONTEXT, seed=0)

    return _made(folder / "model", shape, network)


def _encoder(folder: Path, shape: Mapping[str, int]) -> Path:
    """The YAML file of a BERT that is mean-pooled and normalised. It has no dropout, so that the ways can agree."""
    import torch
    import yaml
    from transformers import BertConfig, BertModel

    def network(tokenizer: Any) -> Any:
        torch.manual_seed(0)
        return BertModel(
            BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=shape["hidden_size"],
                num_hidden_layers=shape["layers"],
                num_attention_heads=shape["hidden_size"] // 32,
                intermediate_size=2 * shape["hidden_size"],
                max_position_embeddings=CONTEXT,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                pad_token_id=tokenizer.pad_token_id,
            )
        )

    made = _made(folder / "bert", shape, network)
    with atomic_write(folder / "encoder.yaml") as stream:
        yaml.safe_dump({"model": str(made.resolve()), "pooling": "mean", "normalize": True}, stream)
    return folder / "encoder.yaml"


def _made(folder: Path, shape: Mapping[str, int], network: Callable[[Any], Any]) -> Path:
    from expandr_ir.train.small_network import train_tokenizer

    if not (folder / "model.safetensors").is_file():
        tokenizer = train_tokenizer(_first(), shape["vocabulary"], CONTEXT)
        tokenizer.save_pretrained(folder)
        network(tokenizer).save_pretrained(folder)
    return folder


def _preferences(folder: Path, _: Mapping[str, int]) -> Path:
    """The first expansion of each topic, over the same words in the alphabet's order."""
    return _jsonl(
        folder / "preferences.jsonl",
        (
            {
                "prompt": [{"role": "user", "content": query}],
                "chosen": [{"role": "assistant", "content": text}],
                "rejected": [{"role": "assistant", "content": " ".join(sorted(text.split()))}],
            }
            for _, query, (text, *_) in _written()
        ),
    )


def _rows(folder: Path, _: Mapping[str, int]) -> Path:
    """A topic's second expansion answers it; that of the topic before is a hard negative."""
    written = _written()
    before = [written[-1], *written[:-1]]
    return _jsonl(
        folder / "rows.jsonl",
        (
            {"row_id": topic_id, "query": query, "positive": texts[1], "negative": others[1]}
            for (topic_id, query, texts), (_, _, others) in zip(written, before, strict=True)
        ),
    )


def _expansions(folder: Path, _: Mapping[str, int]) -> Path:
    """The first expansion of each topic."""
    return _jsonl(
        folder / "expansions.jsonl",
        ({"topic_id": topic_id, "query": query, "texts": [texts[0]]} for topic_id, query, texts in _written()),
    )


INPUTS: dict[str, Callable[[Path, Mapping[str, int]], Path]] = {
    "model": _model,
    "preferences": _preferences,
    "encoder": _encoder,
    "rows": _rows,
    "expansions": _expansions,
}
"""What a trajectory's command may name, such as {model}."""


def _written() -> list[tuple[str, str, list[str]]]:
    """Id, text and recorded expansions of the demo's topics."""
    from expandr_ir.demo import expansions_path, topics
    from expandr_ir.expansions_file import read_expansions

    found = read_expansions(expansions_path(), topics(), skip_missing=True).topics
    return [(one.topic.topic_id, one.topic.text, [text.text for text in one.expansions]) for one in found.values()]


def _first() -> list[str]:
    return [texts[0] for _, _, texts in _written()]


def _jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    with atomic_write(path) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path
