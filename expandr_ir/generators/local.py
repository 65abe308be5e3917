"""transformers in this process: CPU, CUDA or MPS, LoRA adapters, every sample from its own seed."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.generators import chat, sampling
from expandr_ir.generators.base import cut_at_stop, failure
from expandr_ir.records import FinishReason, Generation
from expandr_ir.runtime import pick_device, pick_dtype, require

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class LocalGenerator(chat.ChatGenerator):
    """Samples in batches of equal decoding, longest prompts first.

    A sample depends on its prompt, its decoding and its own seed. In float32 its neighbours in the batch change logits
    by about 1e-6, which practically never changes a token; in bfloat16 they can.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self._batch_size = config.local.batch_size

    @cached_property
    def _device(self) -> torch.device:
        return pick_device(self._config.local.device)

    @cached_property
    def _model(self) -> Any:
        return load_model(self._config, self._device, self._tokenizer)

    @cached_property
    def _version(self) -> str:
        version = f"transformers {require('transformers').__version__}, {self._model.dtype}".replace("torch.", "")
        commit = getattr(self._model.config, "_commit_hash", None)
        return f"{version}, {commit[:12]}" if commit else version

    def _limits(self) -> tuple[int | None, str]:
        return getattr(self._model.config.get_text_config(), "max_position_embeddings", None), self._version

    def _answer(self, rows: list[chat.Row]) -> Iterator[Generation]:
        for decoding in dict.fromkeys(row.decoding for row in rows):
            alike = [row for row in rows if row.decoding == decoding]
            yield from self._in_batches(sorted(alike, key=lambda row: -len(row.ids)))

    def _in_batches(self, rows: list[chat.Row]) -> Iterator[Generation]:
        import torch

        while rows:
            batch, started = rows[: self._batch_size], time.perf_counter()
            try:
                outputs = self._write(batch)
            except torch.OutOfMemoryError:
                outputs = None
            if outputs is not None:
                seconds = (time.perf_counter() - started) / len(batch)
                yield from (self._generation(row, ids, seconds) for row, ids in zip(batch, outputs, strict=True))
            else:  # outside the handler: its traceback would keep the tensors alive
                torch.cuda.empty_cache()
                if len(batch) > 1:
                    self._batch_size = len(batch) // 2
                    logger.warning("CUDA is out of memory: batches of %d samples from here on", self._batch_size)
                    continue
                tokens_in = len(batch[0].ids)
                yield failure(batch[0].sample.key, "CUDA is out of memory", self._version, tokens_in=tokens_in)
            rows = rows[len(batch) :]

    def _write(self, batch: Sequence[chat.Row]) -> list[list[int]]:
        """Returns the new token ids of every row, followed by padding."""
        import torch

        decoding, width = batch[0].decoding, max(len(row.ids) for row in batch)
        # Rows are padded on the left with their own first token, masked: a pad token there would count as written, and
        # the repetition penalty of a row would depend on its neighbours.
        ids = torch.tensor([row.ids[:1] * (width - len(row.ids)) + row.ids for row in batch], device=self._device)
        mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in batch], device=self._device)
        stop = [sampling.StopTexts(self._tokenizer, decoding.stop, width)] if decoding.stop else []
        seeds = [row.sample.seed for row in batch]
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=decoding.max_new_tokens,
                logits_processor=sampling.logits_processors(decoding, seeds, self._device),
                stopping_criteria=require("transformers").StoppingCriteriaList(stop),
            )
        new: list[list[int]] = output[:, width:].tolist()
        return new

    def _generation(self, row: chat.Row, ids: list[int], seconds: float) -> Generation:
        ends = self._model.generation_config.eos_token_id
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        whole = sampling.read_back(self._tokenizer, [ids[:end]])[0]
        text = cut_at_stop(whole, row.decoding.stop)
        tokens_out = len(ids) if end is None else end + (text == whole)  # after a stop text stands padding, not an end
        reason: FinishReason = "length" if end is None and text == whole else "stop"
        return Generation(row.sample.key, text, reason, len(row.ids), tokens_out, seconds, self._version)

    def close(self) -> None:
        """Frees the model and the device's cached memory."""
        import torch

        if self.__dict__.pop("_model", None) is not None:
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def load_model(config: GeneratorConfig, device: torch.device, tokenizer: Any) -> Any:
    """Returns the model in evaluation mode on its device, with its adapter; it generates greedily by default."""
    transformers = require("transformers")
    adapter = chat.adapter_folder(config)
    peft = require("peft", "lora") if adapter else None
    with chat.model_errors(config.model):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            config.model,
            revision=config.revision,
            dtype=pick_dtype(config.local.dtype, device),
            use_safetensors=True,
            trust_remote_code=config.local.trust_remote_code,
        )
    model.generation_config = greedy(model.generation_config, tokenizer)
    if peft is not None:
        with chat.model_errors(str(config.adapter)):
            model = peft.PeftModel.from_pretrained(model, str(adapter))
    return model.to(device).eval()


def greedy(defaults: Any, tokenizer: Any) -> Any:
    """Returns a GenerationConfig with the end tokens of checkpoint and tokenizer, without the checkpoint's sampling."""
    ends = defaults.eos_token_id if isinstance(defaults.eos_token_id, list) else [defaults.eos_token_id]
    ends = sorted({*ends, tokenizer.eos_token_id} - {None})
    return require("transformers").GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
