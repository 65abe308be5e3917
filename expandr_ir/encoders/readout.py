"""A T5 whose vector is the hidden state of its first decoder token, as a sentence-transformers module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import InputModule
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5Model

from expandr_ir.encoders.anchordr import FairseqT5, FairseqTokenizer
from expandr_ir.encoders.weights import read_settings
from expandr_ir.errors import InputError


class FirstDecoderToken(InputModule):  # type: ignore[misc]
    """Texts to `sentence_embedding`: encode, then decode one step from the start token and take its last hidden state.

    sentence-transformers alone would load such a folder as T5's encoder with mean pooling. Folders saved with this
    module are loaded by `load_encoder`; their modules.json names it, so that the class stays in this file. The network
    is transformers' T5Model, or AnchorDR's FairseqT5.
    """

    config_file_name = "first_decoder_token.json"
    config_keys = ["max_seq_length"]  # noqa: RUF012  (a sentence-transformers hook)

    def __init__(self, network: nn.Module, tokenizer: PreTrainedTokenizerBase, max_seq_length: int = 512) -> None:
        super().__init__()
        self.network: Any = network
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length

    @classmethod
    def of_folder(cls, folder: Path, max_seq_length: int | None = None) -> FirstDecoderToken:
        """The module of a checkpoint's folder; AnchorDR's network is told by its parameters' names."""
        length = max_seq_length or cls.load_config(str(folder), local_files_only=True).get("max_seq_length", 512)
        kind = read_settings(folder / "config.json").get("model_type")
        if kind != "t5":
            raise InputError(f"{folder} holds a {kind}", expected="a T5, where pooling is first-decoder-token")
        if FairseqT5.fits(folder):
            return cls(FairseqT5.of_folder(folder), FairseqTokenizer.of_folder(folder), length)
        network = T5Model.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        return cls(network, AutoTokenizer.from_pretrained(folder, local_files_only=True), length)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """The padded token ids and attention mask of texts."""
        texts = self._prepend_prompt(list(inputs), prompt) if prompt else list(inputs)
        features: dict[str, Tensor] = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_seq_length, return_tensors="pt"
        ).data
        return features

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The features with `sentence_embedding`, shape (batch, d_model)."""
        ids, mask = features["input_ids"], features["attention_mask"]
        start = torch.full_like(ids[:, :1], self.network.config.decoder_start_token_id)
        output = self.network(input_ids=ids, attention_mask=mask, decoder_input_ids=start, use_cache=False)
        return features | {"sentence_embedding": output.last_hidden_state[:, 0]}

    def get_embedding_dimension(self) -> int:
        """The vectors' dimension."""
        return int(self.network.config.d_model)

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Writes weights, configuration and tokenizer into a folder."""
        self.network.save_pretrained(output_path)
        self.tokenizer.save_pretrained(output_path)
        self.save_config(output_path)
