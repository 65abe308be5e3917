"""The small expander's own tokenizer: byte-level BPE over a collection's words, lower-cased, with a chat template."""

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
