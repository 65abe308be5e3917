"""vLLM in this process: one request for every sample, each with its own seed; vLLM batches them itself."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators import adapters, chat
from expandr_ir.generators.replies import Reply
from expandr_ir.io.files import read_json
from expandr_ir.records import Generation
from expandr_ir.runtime import require

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks vLLM reserves memory for (vllm/config/lora.py)."""


class VllmGenerator(chat.ChatGenerator):
    """vLLM's offline engine, with prefix caching, tensor parallelism and LoRA.

    The chat template is applied here, as for the local engine, so both read the same token ids.

    Raises:
        NotInstalledError: vLLM is missing.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        self._vllm = require("vllm", "vllm")
        self._version = f"vllm {self._vllm.__version__}"
        super().__init__(config)

    @cached_property
    def _adapter(self) -> Path | None:
        adapter, config = adapters.adapter_folder(self._config), self._config
        if adapter is not None:
            remote = config.vllm.trust_remote_code
            adapters.check_adapter(adapter, config.model, revision=config.revision, trust_remote_code=remote)
        return adapter

    @cached_property
    def _engine(self) -> Any:
        config, options = self._config, asdict(self._config.vllm)
        del options["chat_template"]  # it is the tokenizer's
        lora = {"enable_lora": True, "max_lora_rank": max_lora_rank(self._adapter)} if self._adapter else {}
        try:
            return self._vllm.LLM(
                model=config.model,
                revision=config.revision,
                tokenizer_revision=config.revision,
                load_format="safetensors",
                **options,
                **lora,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise MissingResourceError(
                f"vLLM cannot serve {config.model}: {error}",
                expected="a model that vLLM knows and a GPU with room for it",
                remedy="--generator.vllm.max_model_len or gpu_memory_utilization; no GPU: --generator.engine local",
            ) from error

    @cached_property
    def _reasoning_tokens(self) -> set[int]:
        return {*chat.reasoning_tokens(self._tokenizer)}

    def _limits(self) -> tuple[int | None, str]:
        return self._engine.llm_engine.model_config.max_model_len, self._version

    def _answer(self, rows: list[chat.Row]) -> Iterator[Generation]:
        """Yields the generations when all are done."""
        adapter = None
        if self._adapter is not None:
            adapter = require("vllm.lora.request", "vllm").LoRARequest("adapter", 1, str(self._adapter))
        prompts, samplings = [{"prompt_token_ids": row.ids} for row in rows], list(map(self._sampling, rows))
        started = time.perf_counter()
        outputs = self._engine.generate(prompts, samplings, use_tqdm=False, lora_request=adapter)
        seconds = (time.perf_counter() - started) / len(rows)
        for row, output in zip(rows, outputs, strict=True):
            yield self._generation(row, output.outputs[0], seconds)

    def _sampling(self, row: chat.Row) -> Any:
        return self._vllm.SamplingParams(
            temperature=row.decoding.temperature,
            top_p=row.decoding.top_p,
            max_tokens=row.decoding.max_new_tokens,
            stop=list(row.decoding.stop),
            repetition_penalty=row.decoding.repetition_penalty,
            seed=row.sample.seed,
        )

    def _generation(self, row: chat.Row, output: Any, seconds: float) -> Generation:
        text = output.text  # without special tokens, of which some mark reasoning
        if self._reasoning_tokens & {*output.token_ids}:
            text = chat.read_back(self._tokenizer, [output.token_ids])[0]
        return row.generation(Reply(text, output.finish_reason), len(output.token_ids), seconds, self._version)

    def close(self) -> None:
        """Ends the engine's processes and frees its GPUs."""
        if self.__dict__.pop("_engine", None) is not None:
            gc.collect()


def max_lora_rank(adapter: Path) -> int:
    """Returns the smallest rank vLLM can reserve that holds each rank of the adapter in this folder."""
    settings = read_json(adapter / adapters.CONFIG)
    kind = settings.get("peft_type") if isinstance(settings, dict) else None
    if kind != "LORA":
        raise InputError(
            f"{adapter} is an adapter of type {kind}",
            expected="LORA: vLLM has no other",
            remedy="--generator.engine local",
        )
    pattern = settings.get("rank_pattern") or {}
    ranks = [settings.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    if not all(type(rank) is int for rank in ranks):
        raise InputError(f"{adapter / adapters.CONFIG}: its ranks are {ranks}", expected="whole numbers")
    rank = max(ranks)
    return next((size for size in LORA_RANKS if size >= rank), rank)
