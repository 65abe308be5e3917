"""AnchorDR and ExpandR_Retriever: a T5 as fairseq builds it, and its tokenizer.

Their config.json says "t5", yet neither weights nor tokenizer fit transformers' T5. Read from the transformers fork in
https://github.com/yiqingxyq/AnchorDR and from METRO-T0 (https://github.com/gonglinyuan/metro_t0), whose pre-training
it is. docs/encoders.md lists the differences. Parameters have the checkpoints' names.
"""

from __future__ import annotations

import math
import re
import shutil
import string
import unicodedata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention
from transformers import PreTrainedTokenizer, T5Config
from transformers.modeling_outputs import BaseModelOutput

from expandr_ir.encoders.weights import parameter_names, read_settings
from expandr_ir.errors import InputError
from expandr_ir.runtime import require

MAX_POSITIONS = 1024
MAX_DISTANCE = 128
TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
ROLES = {
    "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>",
    "sep_token": "</s>",
}  # fmt: skip
LOOKALIKES = str.maketrans("‘’´“”—–", "'''\"\"--")
CLITIC = re.compile(r"' ([smdtSMDT]|ll|re|ve)\b")
CAPITAL_CLITIC = re.compile(r"' (LL|RE|VE)\b")


class FairseqT5(nn.Module):
    """Encoder and decoder, called as transformers' T5Model is.

    Learned positions are added to the tokens, and the sum is normalised; every sublayer is normalised after its
    residual, by a LayerNorm with bias; all linear maps have biases; attention is scaled by the square root of the
    head's width; every encoder layer has its own relative position biases, in signed buckets; the decoder has none.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        if config.feed_forward_proj != "relu":
            raise InputError(f"feed_forward_proj is {config.feed_forward_proj!r}", expected="'relu', as in AnchorDR")
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config, config.num_layers, decoder=False)
        self.decoder = _Stack(config, config.num_decoder_layers, decoder=True)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor, **_: Any
    ) -> BaseModelOutput:
        """The decoder's last hidden states, (batch, decoder tokens, d_model), of ids and mask of (batch, tokens)."""
        mask = attention_mask[:, None, None, :].bool()
        encoded = self.encoder(self.shared, input_ids, mask)
        return BaseModelOutput(self.decoder(self.shared, decoder_input_ids, None, encoded, mask))

    @staticmethod
    def fits(folder: Path) -> bool:
        """Reports weights of this network, by the names of their parameters."""
        path = folder / "model.safetensors"
        return path.is_file() and "encoder.pos_embed.weight" in parameter_names(path)

    @classmethod
    def of_folder(cls, folder: Path) -> FairseqT5:
        """The network with the weights of a folder, in float32."""
        model = cls(T5Config.from_pretrained(folder))
        state = {name: value for name, value in load_file(folder / "model.safetensors").items() if name not in TIED}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{folder}: {error}", expected="the weights of its config.json") from error
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors."""
        self.config.save_pretrained(folder)
        state = {name: value.contiguous().cpu() for name, value in self.state_dict().items()}
        save_file(state, Path(folder) / "model.safetensors", {"format": "pt"})


class _Stack(nn.Module):
    def __init__(self, config: T5Config, layers: int, *, decoder: bool) -> None:
        super().__init__()
        self.pad = config.pad_token_id
        self.pos_embed = nn.Embedding(MAX_POSITIONS + self.pad + 1, config.d_model, self.pad)
        self.first_layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.block = nn.ModuleList(_Block(config, decoder=decoder) for _ in range(layers))

    def forward(self, tokens: nn.Embedding, ids: Tensor, *mask_and_memory: Tensor | None) -> Tensor:
        is_token = ids.ne(self.pad)
        positions = is_token.cumsum(1) * is_token + self.pad  # they count from pad + 1
        states: Tensor = self.dropout(self.first_layer_norm(tokens(ids) + self.pos_embed(positions)))
        for block in self.block:
            states = block(states, *mask_and_memory)
        return states


class _Block(nn.Module):
    """Sublayers, each LayerNorm(x + inner(x)); `inner` is registered under the checkpoints' name for it."""

    def __init__(self, config: T5Config, *, decoder: bool) -> None:
        super().__init__()
        inner: dict[str, nn.Module] = {"SelfAttention": _Attention(config, relative=not decoder)}
        if decoder:
            inner["EncDecAttention"] = _Attention(config, relative=False)
        wi, wo = nn.Linear(config.d_model, config.d_ff), nn.Linear(config.d_ff, config.d_model)
        inner["DenseReluDense"] = nn.ModuleDict({"wi": wi, "wo": wo})
        self.layer = nn.ModuleList(
            nn.ModuleDict({name: module, "layer_norm": nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)})
            for name, module in inner.items()
        )
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self, states: Tensor, mask: Tensor | None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        for sublayer in self.layer:
            modules: Any = sublayer
            if "SelfAttention" in modules:
                change = modules["SelfAttention"](states, states, mask)
            elif "EncDecAttention" in modules:
                change = modules["EncDecAttention"](states, memory, memory_mask)
            else:
                feed = modules["DenseReluDense"]
                change = feed["wo"](self.dropout(relu(feed["wi"](states))))
            states = modules["layer_norm"](states + self.dropout(change))
        return states


class _Attention(nn.Module):
    def __init__(self, config: T5Config, *, relative: bool) -> None:
        super().__init__()
        self.heads, self.rate = config.num_heads, config.dropout_rate
        self.buckets: int = config.relative_attention_num_buckets
        self.scale = (config.d_model // config.num_heads) ** -0.5
        inner = config.num_heads * config.d_kv
        self.q, self.k, self.v = (nn.Linear(config.d_model, inner) for _ in range(3))
        self.o = nn.Linear(inner, config.d_model)
        self.relative_attention_bias = nn.Embedding(self.buckets, self.heads) if relative else None

    def forward(self, states: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            linear(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, source in ((self.q, states), (self.k, memory), (self.v, memory))
        )
        if self.relative_attention_bias is not None and mask is not None:
            places = torch.arange(query.shape[2], device=query.device)
            bias = self.relative_attention_bias(bucket(places[None, :] - places[:, None], self.buckets))
            mask = bias.permute(2, 0, 1)[None].masked_fill(~mask, float("-inf")).to(query.dtype)
        rate = self.rate if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, mask, rate, scale=self.scale)
        result: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return result


def bucket(distance: Tensor, buckets: int) -> Tensor:
    """The bucket of each distance (key's place minus query's), in 0 .. buckets - 2; distance 0 is the middle one.

    Half the buckets of each direction hold one distance each, the rest grow logarithmically up to MAX_DISTANCE - 1.
    """
    side = buckets // 2
    exact = side // 2
    far = distance.abs()
    grown = torch.log(far.clamp(min=1).float() / exact) / math.log((MAX_DISTANCE - 1) / exact) * (side - 1 - exact)
    logarithmic = (exact + grown.ceil().long()).clamp(max=side - 1)
    return torch.where(far < exact, far, logarithmic) * distance.sign() + side - 1


class FairseqTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """Texts to ids: punctuation is set apart, the text lower-cased and cut by SentencePiece (sp.model), and fairseq's
    dictionary (dict.txt, one "PIECE COUNT" a line) gives the pieces their ids, from 4 on. Sentinels (<sen000>, ...)
    follow the dictionary.
    """

    vocab_files_names = {"sp_path": "sp.model", "dict_path": "dict.txt"}  # noqa: RUF012  (a transformers hook)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self, sp_path: str, dict_path: str, *, lower: bool = True, n_sentinel_tokens: int = 0, **kwargs: Any
    ) -> None:
        self.sp_path, self.dict_path, self.lower = sp_path, dict_path, lower
        self._pieces = require("sentencepiece").SentencePieceProcessor(model_file=sp_path)
        sentinels = [f"<sen{number:03d}>" for number in range(n_sentinel_tokens)]
        self._symbols = [*SPECIAL, *_dictionary(Path(dict_path)), *sentinels]
        self._ids = {symbol: index for index, symbol in enumerate(self._symbols)}
        super().__init__(
            special_tokens_pattern="cls_sep", lower=lower, n_sentinel_tokens=n_sentinel_tokens, **ROLES, **kwargs
        )

    @classmethod
    def of_folder(cls, folder: Path) -> FairseqTokenizer:
        """The tokenizer of a folder; values that tokenizer_config.json lacks are AnchorDR's."""
        options = {"lower": True, "n_sentinel_tokens": 512}
        options |= {k: v for k, v in read_settings(folder / "tokenizer_config.json").items() if k in options}
        return cls(str(folder / "sp.model"), str(folder / "dict.txt"), **options)  # type: ignore[arg-type]

    @property
    def vocab_size(self) -> int:
        """Special tokens, dictionary and sentinels."""
        return len(self._symbols)

    def get_vocab(self) -> dict[str, int]:
        """Every symbol with its id."""
        return dict(self._ids)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        pieces: list[str] = self._pieces.encode(set_apart(text, lower=self.lower), out_type=str)
        return pieces or [""]  # blanks alone are one unknown piece, as they were in training

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, SPECIAL.index("<unk>"))

    def _convert_id_to_token(self, index: int) -> str:
        return self._symbols[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The pieces as text; punctuation stays apart, and letters stay small."""
        return "".join(tokens).replace("\u2581", " ").strip()

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copies sp.model and dict.txt into a folder and returns their paths."""
        start = f"{filename_prefix}-" if filename_prefix else ""
        targets = [Path(save_directory) / f"{start}{name}" for name in ("sp.model", "dict.txt")]
        for source, target in zip((self.sp_path, self.dict_path), targets, strict=True):
            if Path(source).resolve() != target.resolve():
                shutil.copyfile(source, target)
        return tuple(map(str, targets))


def set_apart(text: str, *, lower: bool) -> str:
    """The text with the punctuation around each word set apart by blanks, as the model's pre-training did it.

    Curly quotes and long dashes become plain ones, a word's leading and trailing punctuation words of their own
    ("(see it)." becomes "( see it )."), and a clitic is joined to its apostrophe again ("dogs' s" becomes "dogs 's").
    """
    plain = text.strip().replace("``", '"').replace("''", '"').translate(LOOKALIKES)
    words = " ".join(part for word in plain.split() for part in _parts(word))
    joined = CAPITAL_CLITIC.sub(r"'\1 ", CLITIC.sub(r"'\1", words))
    spaced = " ".join(joined.split())
    return spaced.lower() if lower else spaced


def _parts(word: str) -> list[str]:
    inside = [place for place, char in enumerate(word) if not _is_punctuation(char)]
    if not inside:
        return [word]
    start, end = inside[0], inside[-1] + 1
    return [part for part in (word[:start], word[start:end], word[end:]) if part]


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _dictionary(path: Path) -> list[str]:
    symbols: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        symbol, _, count = line.rstrip().rpartition(" ")
        if not symbol or not count.isdigit():
            raise InputError(f"{path}, line {number}: {line!r}", expected="a piece and its count")
        symbols.append(symbol)
    return symbols
