"""transformers in this process: CPU, CUDA or MPS, LoRA adapters, every sample from its own seed."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig, LocalOptions
from expandr_ir.generators import chat, sampling
from expandr_ir.generators.base import cut_at_stop, failure, require
from expandr_ir.generators.identity import identify
from expandr_ir.records import Decoding, FinishReason, Generation, GenerationRequest, Message, SampleKey

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    ids: list[int]
    sample: SampleKey


class LocalGenerator:
    """Samples in batches of equal decoding, longest prompts first.

    A sample depends on its prompt, its decoding and its own seed. In float32 its neighbours in the batch change logits
    by about 1e-6, which practically never changes a token; in bfloat16 they can.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        template = chat.chat_template(config)
        self.id = identify(config, {"chat_template": template} if template else None)
        self._config = config
        self._batch_size = config.local.batch_size

    @cached_property
    def _tokenizer(self) -> Any:
        return chat.load_tokenizer(self._config)

    @cached_property
    def _device(self) -> torch.device:
        import torch

        if self._config.local.device != "auto":
            return torch.device(self._config.local.device)
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None and found.type in {"cuda", "mps"} else torch.device("cpu")

    @cached_property
    def _model(self) -> Any:
        return load_model(self._config, self._device, self._tokenizer)

    @cached_property
    def _version(self) -> str:
        version = f"transformers {require('transformers').__version__}, {self._model.dtype}".replace("torch.", "")
        commit = getattr(self._model.config, "_commit_hash", None)
        return f"{version}, {commit[:12]}" if commit else version

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields a Generation for every sample; a prompt that does not fit the model's context is an error of its own.

        Raises:
            InputError: the model or its tokenizer cannot be used as they are.
            MissingResourceError: the model or its adapter is not there.
        """
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        batches: dict[Decoding, list[_Row]] = {}
        for request in requests:
            ids = chat.prompt_ids(self._tokenizer, request.messages)
            misfit = chat.too_long(len(ids), request.decoding.max_new_tokens, context)
            if misfit:
                yield from (
                    failure(sample.key, misfit, self._version, tokens_in=len(ids)) for sample in request.samples
                )
            else:
                batches.setdefault(request.decoding, []).extend(_Row(ids, sample) for sample in request.samples)
        for decoding, rows in batches.items():
            yield from self._in_batches(sorted(rows, key=lambda row: -len(row.ids)), decoding)

    def _in_batches(self, rows: list[_Row], decoding: Decoding) -> Iterator[Generation]:
        while rows:
            batch, rest = rows[: self._batch_size], rows[self._batch_size :]
            done = self._decode(batch, decoding)
            if done is not None:
                rows = rest
                yield from done
            elif len(batch) > 1:
                self._batch_size = len(batch) // 2
                logger.warning("CUDA is out of memory: batches of %d samples from here on", self._batch_size)
            else:
                rows = rest
                tokens_in = len(batch[0].ids)
                yield failure(batch[0].sample.key, "CUDA is out of memory", self._version, tokens_in=tokens_in)

    def _decode(self, batch: Sequence[_Row], decoding: Decoding) -> list[Generation] | None:
        """The batch's generations; None where CUDA ran out of memory."""
        import torch

        started = time.perf_counter()
        try:
            written = self._write(batch, decoding)
        except torch.OutOfMemoryError:
            written = None
        if written is None:  # outside the handler: its traceback would keep the tensors alive
            torch.cuda.empty_cache()
            return None
        seconds = (time.perf_counter() - started) / len(batch)
        return [self._generation(row, ids, decoding, seconds) for row, ids in zip(batch, written, strict=True)]

    def _write(self, batch: Sequence[_Row], decoding: Decoding) -> list[list[int]]:
        """The new token ids of every row, followed by padding.

        Rows are padded on the left with their own first token, masked: a pad token there would count as written and
        the repetition penalty of a row would depend on its neighbours.
        """
        import torch

        width = max(len(row.ids) for row in batch)
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

    def _generation(self, row: _Row, ids: list[int], decoding: Decoding, seconds: float) -> Generation:
        ends = self._model.generation_config.eos_token_id
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        whole = sampling.read_back(self._tokenizer, [ids[:end]])[0]
        text = cut_at_stop(whole, decoding.stop)
        tokens_out = len(ids) if end is None else end + (text == whole)  # after a stop text stands padding, not an end
        reason: FinishReason = "length" if end is None and text == whole else "stop"
        return Generation(row.sample.key, text, reason, len(row.ids), tokens_out, seconds, self._version)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The prompt's tokens, exactly; the model itself is not loaded for it."""
        return len(chat.prompt_ids(self._tokenizer, messages))

    def close(self) -> None:
        """Frees the model and the device's cached memory."""
        import torch

        if self.__dict__.pop("_model", None) is not None:
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def pick_dtype(option: str, device: torch.device) -> torch.dtype:
    """The weights' type.

    "auto" is bfloat16 wherever the device multiplies in it: CUDA from Ampere on, MPS, and CPUs with AVX512-BF16, where
    it halves the memory and measured 13-45 % more tokens/s than float32. Elsewhere it is emulated and slow: float32.

    Args:
        option: of `LocalOptions.dtype`.
        device: where the model runs.
    """
    import torch

    if option != "auto":
        dtype: torch.dtype = getattr(torch, option)
        return dtype
    if device.type == "cuda":
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "mps":
        computes = torch.backends.mps.is_macos_or_newer(14, 0)
    else:
        computes = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if computes else torch.float32


def load_model(config: GeneratorConfig, device: torch.device, tokenizer: Any) -> Any:
    """The model in evaluation mode on its device, with its adapter; it generates greedily unless it is told more.

    The checkpoint's own sampling defaults (a temperature, a repetition penalty) are dropped, its end tokens kept: what
    decodes is the configuration alone.

    Args:
        config: model, revision, adapter and the local options.
        device: where it goes.
        tokenizer: its end token ends a text too.

    Raises:
        InputError: the model cannot be used as it is asked for.
        MissingResourceError: the model or its adapter is not there, or its weights are not safetensors.
        NotInstalledError: peft is missing and there is an adapter.
    """
    transformers = require("transformers")
    options: LocalOptions = config.local
    adapter = chat.adapter_folder(config)
    peft = require("peft", "lora") if adapter else None
    with chat.model_errors(config.model):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            config.model,
            revision=config.revision,
            dtype=pick_dtype(options.dtype, device),
            use_safetensors=True,
            trust_remote_code=options.trust_remote_code,
        )
    own = model.generation_config.eos_token_id
    ends = sorted({*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None})
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
    if peft is not None:
        with chat.model_errors(str(config.adapter)):
            model = peft.PeftModel.from_pretrained(model, str(adapter))
    return model.to(device).eval()
