"""A random Llama of 0.3 M parameters with a chat tokenizer, and a LoRA adapter over it, written into a folder.

Everything an engine loads is there (safetensors, tokenizer.json, a chat template that writes BOS), nothing is
downloaded, and equal seeds give equal files. `python tests/tiny_models.py FOLDER` writes both.
"""

from __future__ import annotations

import sys
from pathlib import Path

TEXTS = [
    "Please write a passage to answer the question. Question: how long is the life cycle of a flea? Passage:",
    "You are a helpful assistant. The adult lives for some weeks, the egg hatches after a few days.",
    "Aspirin lowers the risk of heart attacks in patients with a history of cardiovascular disease.",
    "keep only the last lines of a log file while reading it: a deque with a maximum length, 0123456789",
]
BOS, EOS, END_OF_TURN, HEADER = "<|begin|>", "<|end|>", "<|turn|>", "<|role|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|role|>{{ message['role'] }}\n{{ message['content'] }}<|turn|>"
    "{% endfor %}{% if add_generation_prompt %}<|role|>assistant\n{% endif %}"
)


def tiny_tokenizer(vocabulary: int = 400):
    """A byte-level BPE tokenizer that adds BOS when it encodes plain text, as Llama-3's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, END_OF_TURN, HEADER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, chat_template=CHAT_TEMPLATE, model_max_length=512
    )


def tiny_llama(folder: Path, *, seed: int = 0, context: int = 512, width: int = 128) -> Path:
    """The folder, with the model and its tokenizer in it; both END and TURN end its texts."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,  # vLLM's CPU attention wants heads of 32, 64, 80, ...
        num_key_value_heads=1,
        max_position_embeddings=context,
        initializer_range=0.2,  # peaked enough that temperature and top-p matter
        bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
        eos_token_id=tokenizer.convert_tokens_to_ids(EOS),
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    ends = tokenizer.convert_tokens_to_ids([EOS, END_OF_TURN])
    model.generation_config = GenerationConfig(  # a checkpoint's own defaults, as Qwen2.5 ships them
        eos_token_id=ends, do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.05
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_adapter(base: Path, folder: Path, *, seed: int = 1, rank: int = 4, **options) -> Path:
    """The folder, with a LoRA adapter over `base` in it that changes what it writes; options are LoraConfig's."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    options = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | options
    lora = LoraConfig(r=rank, init_lora_weights=False, **options)
    adapted = get_peft_model(model, lora)
    adapted.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1])
    tiny_adapter(tiny_llama(target / "model"), target / "adapter")
