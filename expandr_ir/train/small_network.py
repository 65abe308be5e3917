"""What a small model is made of: a byte-level BPE tokenizer with a chat template, and an untrained Llama."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BOS, EOS, ANSWER = "<|begin|>", "<|end|>", "<|answer|>"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}{{ eos_token }}{% else %}{{ message['content'] }}<|answer|>{% endif %}{% endfor %}"
)
"""What is asked, a sign, the answer, the end; the assistant's turn begins after the sign."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> Any:
    """A transformers tokenizer; equal texts in equal order give equal tokenizers.

    Args:
        texts: what its merges are learnt from.
        vocabulary: tokens, special ones and the 256 bytes counted.
        context: longest sequence of the model it is for, in tokens.
    """
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
    """An untrained Llama with heads of 64 dimensions and one matrix for embeddings and output, in float32.

    Args:
        tokenizer: whose tokens it has.
        hidden_size: a multiple of 64.
        layers: of it.
        context: its longest sequence, in tokens.
        seed: of its weights.
    """
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
