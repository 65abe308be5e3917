"""transformers in this process: CPU, CUDA or MPS, LoRA adapters, every sample from its own seed."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.generators import adapters, chat
from expandr_ir.generators.base import failure
from expandr_ir.generators.replies import Reply, cut_at_stop
from expandr_ir.records import Decoding, Generation
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
            if self._gives_rows_early():
                yield from self._as_they_end(rows[: self._batch_size])
                rows = rows[self._batch_size :]
                continue
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

    def _gives_rows_early(self) -> bool:
        """Reports a slow device, in a precision in which a row does not depend on those that are stored already."""
        import torch

        is_exact = self._model.dtype == torch.float32 and not torch.is_autocast_enabled(self._device.type)
        return self._device.type == "cpu" and is_exact

    def _as_they_end(self, batch: Sequence[chat.Row]) -> Iterator[Generation]:
        """Yields a batch's rows when they end, while the others are written; their seconds add up to the batch's."""
        ended, began = EndedRows(self._model.generation_config.eos_token_id), time.perf_counter()
        with ThreadPoolExecutor(max_workers=1) as pool:
            writing = pool.submit(self._write, batch, ended)
            writing.add_done_callback(lambda _: ended.rows.put(None))
            try:
                while (row := ended.rows.get()) is not None:
                    began, seconds = (now := time.perf_counter()), now - began
                    yield self._generation(batch[row[0]], row[1], seconds)
            finally:
                ended.is_over = True
            outputs = writing.result()
        rest = [place for place in range(len(batch)) if place not in ended.places]
        seconds = (time.perf_counter() - began) / max(1, len(rest))
        yield from (self._generation(batch[place], outputs[place], seconds) for place in rest)

    def _write(self, batch: Sequence[chat.Row], ended: EndedRows | None = None) -> list[list[int]]:
        """Returns the new token ids of every row, followed by padding; rows go to `ended` when they end."""
        import torch

        decoding, width = batch[0].decoding, max(len(row.ids) for row in batch)
        # Rows are padded on the left with their own first token, masked: a pad token there would count as written, and
        # the repetition penalty of a row would depend on its neighbours.
        ids = torch.tensor([row.ids[:1] * (width - len(row.ids)) + row.ids for row in batch], device=self._device)
        mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in batch], device=self._device)
        stop: list[Any] = [StopTexts(self._tokenizer, decoding.stop, width)] if decoding.stop else []
        if ended is not None:
            stop = [ended.watching(stop, width)]
        seeds = [row.sample.seed for row in batch]
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=decoding.max_new_tokens,
                logits_processor=logits_processors(decoding, seeds, self._device),
                stopping_criteria=require("transformers").StoppingCriteriaList(stop),
            )
        new: list[list[int]] = output[:, width:].tolist()
        return new

    def _generation(self, row: chat.Row, ids: list[int], seconds: float) -> Generation:
        ends = self._model.generation_config.eos_token_id
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        whole = chat.read_back(self._tokenizer, [ids[:end]])[0]
        is_cut = cut_at_stop(whole, row.decoding.stop) != whole
        tokens_out = len(ids) if end is None else end + (not is_cut)  # after a stop text stands padding, not an end
        return row.generation(Reply(whole, "length" if end is None else "stop"), tokens_out, seconds, self._version)

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


class GumbelNoise:
    """A logits processor after which arg-max is a sample: row i gets noise from seed i alone.

    With g_t = -log(-log u_t), u_t uniform in (0, 1), arg-max over t of (logit_t + g_t) is a draw from softmax(logits):
    the Gumbel-max trick (Gumbel 1954; Maddison, Tarlow and Minka, "A* Sampling", NIPS 2014, section 2). The noise is
    float64, so that u is never so close to 1 that an unlikely token wins by rounding; u = 0 gives -inf, which loses.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        import torch

        self._device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self._draws = [torch.Generator(self._device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        """Returns the logits with noise, float32 tensor of shape (rows, vocabulary)."""
        import torch

        uniform = torch.empty(scores.shape, dtype=torch.float64, device=self._device)
        for row, draw in zip(uniform, self._draws, strict=True):
            row.uniform_(generator=draw)
        return scores - uniform.log_().neg_().log_().to(scores)


class StopTexts:
    """A stopping criterion: a row is done when its text after the prompt holds one of the stop texts."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], prompt_width: int) -> None:
        self._tokenizer, self._stop, self._prompt_width = tokenizer, stop, prompt_width
        self._tail = 1 + max(len(text.encode()) for text in stop)  # a token is a byte at least

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002
        """Returns the rows that are done, bool tensor of shape (rows,)."""
        import torch

        tails = chat.read_back(self._tokenizer, input_ids[:, self._prompt_width :][:, -self._tail :].tolist())
        done = [any(text in tail for text in self._stop) for tail in tails]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)


class EndedRows:
    """A stopping criterion around others: rows that they or an end token end are put into a queue, each once.

    Attributes:
        rows: place in the batch and new token ids, as they end.
        places: of these rows.
        is_over: set to end all rows.
    """

    def __init__(self, ends: Sequence[int]) -> None:
        self.rows: SimpleQueue[tuple[int, list[int]] | None] = SimpleQueue()
        self.places: set[int] = set()
        self.is_over = False
        self._ends = list(ends)

    def watching(self, criteria: Sequence[StopTexts], prompt_width: int) -> EndedRows:
        """Returns itself, for a batch with these criteria."""
        self._criteria, self._prompt_width = criteria, prompt_width
        return self

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Returns the rows that the criteria end, bool tensor of shape (rows,)."""
        import torch

        done = torch.full((len(input_ids),), self.is_over, device=input_ids.device)
        for criterion in self._criteria:
            done |= criterion(input_ids, scores)
        is_end = torch.isin(input_ids[:, -1], torch.tensor(self._ends, device=input_ids.device))
        for place in (done | is_end).nonzero().flatten().tolist():
            if place not in self.places:
                self.places.add(place)
                self.rows.put((place, input_ids[place, self._prompt_width :].tolist()))
        return done


def logits_processors(decoding: Decoding, seeds: Sequence[int], device: torch.device) -> Any:
    """Returns a LogitsProcessorList after which arg-max decodes as `decoding` says; temperature 0 is greedy.

    Repetition penalty, temperature and top-p are applied in this order, then the noise of each row's seed.
    """
    import transformers

    processors = transformers.LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        processors.append(transformers.RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature != 0.0:
        processors.append(transformers.TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_p != 1.0:
            processors.append(transformers.TopPLogitsWarper(decoding.top_p))
        processors.append(GumbelNoise(seeds, device))
    return processors
