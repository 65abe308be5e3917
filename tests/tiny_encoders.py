"""Random encoders of a few thousand parameters with tokenizers that know every ASCII letter, written into folders."""

from __future__ import annotations

import json
import string
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = string.ascii_lowercase + string.digits + string.punctuation
SENTENCES = [
    "Aspirin lowers the risk of heart attacks (see below).",
    "the adult flea lives for some weeks, its eggs hatch after days",
    "A deque with a maximum length keeps the last lines of a log.",
    "Don't say it isn't so: 'twas the nightingale's song!",
    "zinc and vitamin C shorten colds; evidence is weak",
]


def tiny_bert(folder: Path, *, seed: int = 0, positions: int = 64) -> Path:
    """The folder, with a BERT of 32 dimensions and a tokenizer that cuts words into letters."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *LETTERS, *(f"##{char}" for char in LETTERS)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.5,  # vectors that differ
    )
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    return folder


def tiny_t5(folder: Path, *, seed: int = 0) -> Path:
    """The folder, with transformers' own T5 and a tokenizer of letters that ends every text."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    vocabulary = {token: index for index, token in enumerate(["<pad>", "</s>", "<unk>", *string.printable])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    ).save_pretrained(folder)
    return folder


def tiny_anchordr(folder: Path, *, seed: int = 0) -> Path:
    """The folder, with AnchorDR's network and tokenizer, its files named as the checkpoint's are."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import T5Config

    from expandr_ir.encoders.anchordr import SPECIAL as FAIRSEQ_SPECIAL
    from expandr_ir.encoders.anchordr import FairseqT5

    symbols = tiny_sentencepiece(folder)
    (folder / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"lower": True, "n_sentinel_tokens": 8}), encoding="utf-8")
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(FAIRSEQ_SPECIAL) + len(symbols) + 8,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        layer_norm_epsilon=1e-5,
        decoder_start_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    FairseqT5(config).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        weights[name] = weights["shared.weight"].clone()  # as a checkpoint has them
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def tiny_sentencepiece(folder: Path) -> list[str]:
    """The pieces of a SentencePiece model trained on a few sentences and written as sp.model."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence.lower() for sentence in SENTENCES] * 4),
        model_prefix=str(folder / "sp"),
        vocab_size=90,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "sp.vocab").unlink()
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    return [piece for piece in pieces if piece not in {"<unk>", "<s>", "</s>"}]


def sentence_transformers_folder(folder: Path, network: Path, *, pooling: str, normalize: bool, **options) -> Path:
    """The folder, as sentence-transformers itself saves such a model."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    modules = [Transformer(str(network), max_seq_length=48), Pooling(32, pooling)]
    model = SentenceTransformer(modules=[*modules, Normalize()] if normalize else modules, device="cpu", **options)
    model.save_pretrained(str(folder))
    return folder
