"""The inputs of trajectories: tiny models made from a seed, and training data of the demo's recorded expansions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from expandr_ir.io.files import write_jsonl, write_text

INPUTS = ("model", "preferences", "encoder", "rows", "expansions")
"""Names in braces of a trajectory's command: tiny models and the demo's recorded texts as training data."""

HIDDEN_SIZE, LAYERS, VOCABULARY, CONTEXT = 64, 2, 600, 256
"""Of the tiny models; the longest sequence in tokens."""

BOS, EOS, ANSWER = "<|begin|>", "<|end|>", "<|answer|>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}{{ eos_token }}{% else %}{{ message['content'] }}<|answer|>{% endif %}{% endfor %}"
)
"""The question, a sign, the answer, the end; the assistant's turn begins after the sign."""


def make_input(name: str, folder: Path) -> Path:
    """The path of one of INPUTS, made from a seed and from the demo's recorded expansions."""
    from expandr_ir.demo import expansions_path, topics
    from expandr_ir.io.expansions import read_expansions

    demo = read_expansions(expansions_path(), topics(), skip_missing=True)
    topics_texts = [
        (topic_id, expanded.topic.text, [expansion.text for expansion in expanded.expansions])
        for topic_id, expanded in demo.items()
    ]
    rows: list[dict[str, Any]]
    if name in {"model", "encoder"}:
        return _tiny_model(name, folder, [texts[0] for _, _, texts in topics_texts])
    if name == "preferences":  # the first expansion, over the same words in the alphabet's order
        pairs = ((query, texts[0], " ".join(sorted(texts[0].split()))) for _, query, texts in topics_texts)
        roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        rows = [
            {key: [{"role": roles[key], "content": text}] for key, text in zip(roles, pair, strict=True)}
            for pair in pairs
        ]
    elif name == "rows":  # the second expansion answers a topic; that of the topic before is a hard negative
        rows = [
            {"row_id": topic_id, "query": query, "positive": texts[1], "negative": topics_texts[at - 1][2][1]}
            for at, (topic_id, query, texts) in enumerate(topics_texts)
        ]
    else:
        rows = [{"topic_id": topic_id, "query": query, "texts": texts[:1]} for topic_id, query, texts in topics_texts]
    path = folder / f"{name}.jsonl"
    write_jsonl(path, rows)
    return path


def _tiny_model(name: str, folder: Path, texts: Sequence[str]) -> Path:
    """The folder of a Llama, or the YAML file of a BERT that is mean-pooled and normalised."""
    import torch
    from transformers import BertConfig, BertModel

    place, size = folder / ("model" if name == "model" else "bert"), HIDDEN_SIZE
    if not (place / "model.safetensors").is_file():
        tokenizer = train_tokenizer(texts, VOCABULARY, CONTEXT)
        tokenizer.save_pretrained(place)
        if name == "model":
            network = new_network(tokenizer, size, LAYERS, CONTEXT, seed=0)
        else:
            torch.manual_seed(0)
            config = BertConfig(
                vocab_size=len(tokenizer),
                hidden_size=size,
                num_hidden_layers=LAYERS,
                num_attention_heads=size // 32,
                intermediate_size=2 * size,
                max_position_embeddings=CONTEXT,
                hidden_dropout_prob=0.0,  # so that the ways can agree
                attention_probs_dropout_prob=0.0,
                pad_token_id=tokenizer.pad_token_id,
            )
            network = BertModel(config)
        network.save_pretrained(place)
    if name == "model":
        return place
    config = {"model": str(place.resolve()), "pooling": "mean", "normalize": True}
    write_text(folder / "encoder.yaml", yaml.safe_dump(config))
    return folder / "encoder.yaml"


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> Any:
    """A byte-level BPE tokenizer; equal texts in equal order give equal tokenizers."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        additional_special_tokens=[ANSWER],
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def new_network(tokenizer: Any, hidden_size: int, layers: int, context: int, seed: int) -> Any:
    """An untrained Llama with heads of 64 dimensions and one matrix for embeddings and output, in float32."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model
