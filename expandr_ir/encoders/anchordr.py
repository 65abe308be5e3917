"""The network of AnchorDR and ExpandR_Retriever: a T5 as fairseq builds it.

Their config.json says "t5", yet the weights do not fit transformers' T5. What the transformers fork in
https://github.com/yiqingxyq/AnchorDR changes: learned positions are added to the tokens, and the sum is normalised;
every sublayer is normalised after its residual, by a LayerNorm with bias; all linear maps have biases; attention is
scaled by the square root of the head's width; every encoder layer has relative position biases of its own, in signed
buckets, and the decoder has none. Parameters have the checkpoints' names.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention
from transformers import T5Config

from expandr_ir.encoders.weights import parameter_names
from expandr_ir.errors import InputError

MAX_POSITIONS = 1024
MAX_DISTANCE = 128
TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")


class FairseqT5(nn.Module):
    """Encoder and decoder.

    Args:
        config: the checkpoint's config.json.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        if config.feed_forward_proj != "relu":
            raise InputError(f"feed_forward_proj is {config.feed_forward_proj!r}", expected="'relu', as in AnchorDR")
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = _Stack(config, config.num_layers, decoder=False)
        self.decoder = _Stack(config, config.num_decoder_layers, decoder=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The last hidden state of the first decoder token, float tensor of shape (batch, d_model).

        Args:
            input_ids: shape (batch, tokens).
            attention_mask: 1 where there is a token, 0 where there is padding; the same shape.
        """
        seen = attention_mask[:, None, None, :].bool()
        encoded = self.encoder(self.shared, input_ids, seen)
        start = torch.full_like(input_ids[:, :1], self.config.decoder_start_token_id)
        state: Tensor = self.decoder(self.shared, start, None, encoded, seen)[:, 0]
        return state

    @staticmethod
    def fits(folder: Path) -> bool:
        """Whether the weights in a folder are of this network, by the names of their parameters."""
        path = folder / "model.safetensors"
        return path.is_file() and "encoder.pos_embed.weight" in parameter_names(path)

    @classmethod
    def of_folder(cls, folder: Path) -> FairseqT5:
        """The network with the weights of a folder, in float32.

        Raises:
            InputError: the weights do not fit the configuration.
        """
        from safetensors.torch import load_file

        model = cls(T5Config.from_pretrained(folder))
        state = {name: value for name, value in load_file(folder / "model.safetensors").items() if name not in TIED}
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{folder}: {error}", expected="the weights of its config.json") from error
        return model

    def save(self, folder: Path) -> None:
        """Writes config.json and model.safetensors."""
        from safetensors.torch import save_file

        self.config.save_pretrained(folder)
        state = {name: value.contiguous().cpu() for name, value in self.state_dict().items()}
        save_file(state, folder / "model.safetensors", {"format": "pt"})


class _Stack(nn.Module):
    def __init__(self, config: T5Config, layers: int, *, decoder: bool) -> None:
        super().__init__()
        self.pad = config.pad_token_id
        self.pos_embed = nn.Embedding(MAX_POSITIONS + self.pad + 1, config.d_model, self.pad)
        self.first_layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.block = nn.ModuleList(_Block(config, decoder=decoder) for _ in range(layers))

    def forward(
        self, tokens: nn.Embedding, ids: Tensor, seen: Tensor | None, memory: Tensor | None = None,
        memory_seen: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        is_token = ids.ne(self.pad)
        positions = is_token.cumsum(1) * is_token + self.pad  # they count from pad + 1
        states: Tensor = self.dropout(self.first_layer_norm(tokens(ids) + self.pos_embed(positions)))
        for block in self.block:
            states = block(states, seen, memory, memory_seen)
        return states


class _Block(nn.Module):
    def __init__(self, config: T5Config, *, decoder: bool) -> None:
        super().__init__()
        sublayers = [_Sublayer("SelfAttention", _Attention(config, relative=not decoder), config)]
        if decoder:
            sublayers.append(_Sublayer("EncDecAttention", _Attention(config, relative=False), config))
        sublayers.append(_Sublayer("DenseReluDense", _FeedForward(config), config))
        self.layer = nn.ModuleList(sublayers)

    def forward(self, states: Tensor, seen: Tensor | None, memory: Tensor | None, memory_seen: Tensor | None) -> Tensor:
        states = self.layer[0](states, states, seen)
        if memory is not None:
            states = self.layer[1](states, memory, memory_seen)
        result: Tensor = self.layer[-1](states)
        return result


class _Sublayer(nn.Module):
    """LayerNorm(x + inner(x)); `inner` is registered under the checkpoints' name for it."""

    def __init__(self, name: str, inner: nn.Module, config: T5Config) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, inner)
        self.layer_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, states: Tensor, *rest: Tensor | None) -> Tensor:
        normed: Tensor = self.layer_norm(states + self.dropout(getattr(self, self.name)(states, *rest)))
        return normed


class _FeedForward(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff)
        self.wo = nn.Linear(config.d_ff, config.d_model)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, states: Tensor) -> Tensor:
        result: Tensor = self.wo(self.dropout(relu(self.wi(states))))
        return result


class _Attention(nn.Module):
    def __init__(self, config: T5Config, *, relative: bool) -> None:
        super().__init__()
        self.heads, self.buckets, self.rate = (
            config.num_heads,
            config.relative_attention_num_buckets,
            config.dropout_rate,
        )
        self.scale = (config.d_model // config.num_heads) ** -0.5
        inner = config.num_heads * config.d_kv
        self.q, self.k, self.v = (nn.Linear(config.d_model, inner) for _ in range(3))
        self.o = nn.Linear(inner, config.d_model)
        self.relative_attention_bias = nn.Embedding(self.buckets, self.heads) if relative else None

    def forward(self, states: Tensor, memory: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = (
            linear(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, source in ((self.q, states), (self.k, memory), (self.v, memory))
        )
        rate = self.rate if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, self._mask(query, seen), rate, scale=self.scale)
        result: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return result

    def _mask(self, query: Tensor, seen: Tensor | None) -> Tensor | None:
        if self.relative_attention_bias is None or seen is None:
            return seen
        places = torch.arange(query.shape[2], device=query.device)
        bias = self.relative_attention_bias(bucket(places[None, :] - places[:, None], self.buckets))
        masked: Tensor = bias.permute(2, 0, 1)[None].masked_fill(~seen, float("-inf"))
        return masked.to(query.dtype)


def bucket(distance: Tensor, buckets: int) -> Tensor:
    """The bucket of each distance (key's place minus query's), in 0 .. buckets - 2; distance 0 is the middle one.

    Half the buckets of each direction hold one distance each, the rest grow logarithmically up to MAX_DISTANCE - 1.

    Args:
        distance: integer tensor of any shape.
        buckets: of both directions together.
    """
    side = buckets // 2
    exact = side // 2
    far = distance.abs()
    grown = torch.log(far.clamp(min=1).float() / exact) / math.log((MAX_DISTANCE - 1) / exact) * (side - 1 - exact)
    logarithmic = (exact + grown.ceil().long()).clamp(max=side - 1)
    return torch.where(far < exact, far, logarithmic) * distance.sign() + side - 1
