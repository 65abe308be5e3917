"""A GGUF file with a random Llama of 20,000 parameters and the tokenizer of tests/tiny_models.py, made on the spot."""

import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from tiny_models import CHAT_TEMPLATE, tiny_tokenizer

WIDTH, FEED_FORWARD = 32, 48


def tiny_gguf(path: Path, *, seed: int = 0, architecture: str = "llama", without: str = "") -> dict[str, np.ndarray]:
    """Writes the file, `without` one tensor, and returns its tensors by GGUF's names."""
    tokenizer = tiny_tokenizer()
    bpe = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_types([3] * 4 + [1] * (len(tokenizer) - 4))  # 3: control, of which the tokenizer has four
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(CHAT_TEMPLATE)
    tensors = _tensors(len(tokenizer), np.random.default_rng(seed))
    for name, values in tensors.items():
        if name != without:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def _tensors(vocabulary: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    inner, outer = "blk.0.{}.weight", "{}.weight"
    shapes = {
        outer.format("token_embd"): (vocabulary, WIDTH),
        **{outer.format(name): (WIDTH,) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")},
        **{inner.format(name): (WIDTH, WIDTH) for name in ("attn_q", "attn_output")},
        **{inner.format(name): (WIDTH // 2, WIDTH) for name in ("attn_k", "attn_v")},
        **{inner.format(name): (FEED_FORWARD, WIDTH) for name in ("ffn_gate", "ffn_up")},
        inner.format("ffn_down"): (WIDTH, FEED_FORWARD),
    }
    return {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
