"""transformers in this process: CPU, CUDA or MPS, LoRA adapters, every sample from its own seed."""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.generators import adapters, chat
from expandr_ir.generators.base import failure
from expandr_ir.generators.replies import Reply
from expandr_ir.records import Decoding, Generation
from expandr_ir.runtime import cpu_threads, pick_device, pick_dtype, require

if TYPE_CHECKING:
    import torch

    from expandr_ir.generators.decoding_loop import DecodingLoop, Draft
    from expandr_ir.generators.whole_batches import WholeBatches

logger = logging.getLogger(__name__)


class LocalGenerator(chat.ChatGenerator):
    """Samples of equal decoding in a changing batch, longest prompts first.

    A sample depends on its prompt, its decoding and its own seed. In float32 its neighbours in the batch change logits
    by about 1e-6, which practically never changes a token; in bfloat16 they can.

    Attributes:
        listener: called with a sample's key and its text so far, after each token.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.listener: Callable[[str, str], None] | None = None
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
        with cpu_threads(self._config.local.threads) if self._device.type == "cpu" else nullcontext():
            for decoding in dict.fromkeys(row.decoding for row in rows):
                alike = [row for row in rows if row.decoding == decoding]
                yield from self._write(deque(longest_first(alike)), decoding)

    def _write(self, waiting: deque[chat.Row], decoding: Decoding) -> Iterator[Generation]:
        """Yields rows as they end; when CUDA's memory runs out, those under way begin anew in smaller batches."""
        import torch

        writer = self._writer(decoding)
        while waiting or writer.started:
            try:
                ended = writer.step(waiting)
            except torch.OutOfMemoryError:
                ended = None
            if ended is not None:
                self._tell([*getattr(writer, "drafts", ()), *ended])
                yield from map(self._generation, ended)
                continue
            rows = longest_first(writer.started)  # outside the handler: its traceback would keep the tensors alive
            del writer
            torch.cuda.empty_cache()
            if (size := min(self._batch_size, len(rows)) // 2) > 0:
                self._batch_size = size
                logger.warning("CUDA is out of memory: batches of %d samples from here on", size)
            else:
                row = rows.pop(0)
                yield failure(row.sample.key, "CUDA is out of memory", self._version, tokens_in=len(row.ids))
            waiting.extendleft(reversed(rows))
            writer = self._writer(decoding)

    def _writer(self, decoding: Decoding) -> DecodingLoop | WholeBatches:
        from expandr_ir.generators.batch_cache import can_drive
        from expandr_ir.generators.decoding_loop import DecodingLoop, Endings
        from expandr_ir.generators.sampling import Sampler
        from expandr_ir.generators.whole_batches import WholeBatches

        writer = DecodingLoop if can_drive(self._model) else WholeBatches
        endings = Endings(decoding, self._tokenizer, self._model.generation_config.eos_token_id)
        return writer(self._model, Sampler(decoding, self._device), endings, self._batch_size)

    def _tell(self, drafts: Sequence[Draft]) -> None:
        if self.listener:
            for draft in drafts:
                self.listener(draft.row.sample.key, self._text(draft))

    def _has_end(self, draft: Draft) -> bool:
        return draft.ids[-1] in self._model.generation_config.eos_token_id

    def _text(self, draft: Draft) -> str:
        return chat.read_back(self._tokenizer, [draft.ids[:-1] if self._has_end(draft) else draft.ids])[0]

    def _generation(self, draft: Draft) -> Generation:
        reply = Reply(self._text(draft), "stop" if self._has_end(draft) else "length")
        return draft.row.generation(reply, len(draft.ids), draft.seconds, self._version)

    def close(self) -> None:
        """Frees the model and the device's cached memory."""
        import torch

        if self.__dict__.pop("_model", None) is not None:
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()


def longest_first(rows: Sequence[chat.Row]) -> list[chat.Row]:
    """Returns rows by falling length of their prompts; those of one prompt stay together."""
    return sorted(rows, key=lambda row: -len(row.ids))


def load_model(config: GeneratorConfig, device: torch.device, tokenizer: Any) -> Any:
    """Returns the model in evaluation mode on its device, with its adapter; it generates greedily by default."""
    transformers = require("transformers")
    adapter = adapters.adapter_folder(config)
    if adapter:
        require("peft", "lora")  # before the model is loaded
    adapters.check_model(config.model, trust_remote_code=config.local.trust_remote_code)
    with chat.model_errors(config.model):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            config.model,
            revision=config.revision,
            dtype=pick_dtype(config.local.dtype, device),
            use_safetensors=True,
            trust_remote_code=config.local.trust_remote_code,
        )
    model.generation_config = greedy(model.generation_config, tokenizer)
    if adapter:
        model = adapters.load_adapter(model, adapter, config.model)
    return model.to(device).eval()


def greedy(defaults: Any, tokenizer: Any) -> Any:
    """Returns a GenerationConfig with the end tokens of checkpoint and tokenizer, without the checkpoint's sampling."""
    ends = defaults.eos_token_id if isinstance(defaults.eos_token_id, list) else [defaults.eos_token_id]
    ends = sorted({*ends, tokenizer.eos_token_id} - {None})
    return require("transformers").GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
