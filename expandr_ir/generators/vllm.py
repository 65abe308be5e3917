"""vLLM in this process: one request for every sample, each with its own seed; vLLM batches them itself."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import MissingResourceError
from expandr_ir.generators import chat
from expandr_ir.generators.base import failure, require
from expandr_ir.generators.identity import identify
from expandr_ir.records import Decoding, FinishReason, Generation, GenerationRequest, Message, SampleKey

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks vLLM reserves memory for (vllm/config/lora.py)."""

FINISHED: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class VllmGenerator:
    """vLLM's offline engine, with prefix caching, tensor parallelism and LoRA.

    The chat template is applied here, as for the local engine, so both read the same token ids.

    Raises:
        NotInstalledError: vLLM is missing.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self._vllm = require("vllm", "vllm")
        template = chat.chat_template(config)
        self.id = identify(config, {"chat_template": template} if template else None)
        self._config = config
        self._version = f"vllm {self._vllm.__version__}"

    @cached_property
    def _adapter(self) -> Path | None:
        return chat.adapter_folder(self._config)

    @cached_property
    def _tokenizer(self) -> Any:
        return chat.load_tokenizer(self._config)

    @cached_property
    def _engine(self) -> Any:
        options = self._config.vllm
        adapter = self._adapter
        lora = {"enable_lora": True, "max_lora_rank": max_lora_rank(adapter)} if adapter else {}
        try:
            return self._vllm.LLM(
                model=self._config.model,
                revision=self._config.revision,
                tokenizer_revision=self._config.revision,
                load_format="safetensors",
                dtype=options.dtype,
                tensor_parallel_size=options.tensor_parallel_size,
                gpu_memory_utilization=options.gpu_memory_utilization,
                max_model_len=options.max_model_len,
                enable_prefix_caching=options.enable_prefix_caching,
                enforce_eager=options.enforce_eager,
                trust_remote_code=options.trust_remote_code,
                **lora,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise MissingResourceError(
                f"vLLM cannot serve {self._config.model}: {error}",
                expected="a model that vLLM knows and a GPU with room for it",
                remedy="--generator.vllm.max_model_len or gpu_memory_utilization; no GPU: --generator.engine local",
            ) from error

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Generation]:
        """Yields a Generation for every sample when all are done; vLLM schedules them together.

        A prompt that does not fit the model's context is an error of its own.

        Raises:
            InputError: the tokenizer has no chat template.
            MissingResourceError: vLLM cannot load the model.
        """
        context = self._engine.llm_engine.model_config.max_model_len
        prompts, samplings, samples = [], [], []
        for request in requests:
            ids = chat.prompt_ids(self._tokenizer, request.messages)
            misfit = chat.too_long(len(ids), request.decoding.max_new_tokens, context)
            for sample in request.samples:
                if misfit:
                    yield failure(sample.key, misfit, self._version, tokens_in=len(ids))
                else:
                    prompts.append({"prompt_token_ids": ids})
                    samplings.append(self._sampling(request.decoding, sample))
                    samples.append(sample)
        if not samples:
            return
        started = time.perf_counter()
        outputs = self._engine.generate(prompts, samplings, use_tqdm=False, lora_request=self._lora_request)
        seconds = (time.perf_counter() - started) / len(samples)
        for sample, output in zip(samples, outputs, strict=True):
            yield self._generation(sample, output, seconds)

    @cached_property
    def _lora_request(self) -> Any:
        if self._adapter is None:
            return None
        lora = require("vllm.lora.request", "vllm")
        return lora.LoRARequest("adapter", 1, str(self._adapter))

    def _sampling(self, decoding: Decoding, sample: SampleKey) -> Any:
        return self._vllm.SamplingParams(
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            stop=list(decoding.stop),
            repetition_penalty=decoding.repetition_penalty,
            seed=sample.seed,
        )

    def _generation(self, sample: SampleKey, output: Any, seconds: float) -> Generation:
        written, tokens_in = output.outputs[0], len(output.prompt_token_ids)
        reason = FINISHED.get(written.finish_reason)
        if reason is None:
            said = f"vLLM ended it with {written.finish_reason!r}"
            return failure(sample.key, said, self._version, tokens_in=tokens_in, seconds=seconds)
        return Generation(sample.key, written.text, reason, tokens_in, len(written.token_ids), seconds, self._version)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The prompt's tokens, exactly; the engine is not started for it."""
        return len(chat.prompt_ids(self._tokenizer, messages))

    def close(self) -> None:
        """Ends the engine's processes and frees its GPUs."""
        if self.__dict__.pop("_engine", None) is not None:
            gc.collect()


def max_lora_rank(adapter: Path) -> int:
    """The smallest rank vLLM can reserve that holds the adapter's.

    Args:
        adapter: the adapter's folder.
    """
    rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
    return next((size for size in LORA_RANKS if size >= rank), rank)
