"""sentence-transformers' trainer for batches of `Collator`: resumable epochs, exact checkpoints, NaN refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.sampler import DefaultBatchSampler
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from expandr_ir.config import EncoderConfig, fitted_options
from expandr_ir.encoders.batching import CPU_TOKENS, GPU_TOKENS
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.runtime import require
from expandr_ir.train.retriever.batch import Collator
from expandr_ir.train.retriever.data import RetrieverRow
from expandr_ir.train.retriever.dev import DevEvaluator, DevSet
from expandr_ir.train.retriever.objective import RetrieverLoss
from expandr_ir.train.retriever.options import RetrieverOptions
from expandr_ir.train.run_folder import RunCallback

WEIGHTS = "weights.safetensors"


def retriever_trainer(
    options: RetrieverOptions, rows: list[RetrieverRow], dev: DevSet | None, model: Any, config: EncoderConfig,
    arguments: Any
) -> RetrieverTrainer:  # fmt: skip
    """The trainer of a model, with its adapters in place."""
    # sentence-transformers passes over gradient checkpointing where a network has none.
    if arguments.gradient_checkpointing and not any(
        hasattr(module, "gradient_checkpointing_enable") for module in model[0].modules()
    ):
        raise InputError(
            f"training.gradient_checkpointing, which {type(model[0]).__name__}'s network does not have",
            expected="a network of transformers",
            remedy="--cached with a small --batch-tokens needs as little memory",
        )
    precision = torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else torch.float32
    budget = options.batch_tokens or (CPU_TOKENS if arguments.device.type == "cpu" else GPU_TOKENS)
    trainer = RetrieverTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"row": list(range(len(rows)))}),
        data_collator=Collator(rows, model.tokenizer, config, options.objective, options.data, arguments.seed, budget),
        loss=RetrieverLoss(model, options.objective, cached=options.cached),
        evaluator=DevEvaluator(dev, config, options, precision) if dev else None,
        callbacks=[RunCallback(), *([EarlyStoppingCallback(options.dev.patience)] if options.dev.patience else [])],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def add_adapters(model: Any, given: Mapping[str, Any] | None, seed: int) -> Any:
    """LoRA adapters, put into the model's network in place, all else frozen; None where all weights are trained."""
    if given is None:
        return None
    peft, network = require("peft", "train"), getattr(model[0], "network", None) or model[0].model
    options = fitted_options(peft.LoraConfig, given, "--lora")
    torch.manual_seed(seed)  # the adapters' first weights are made before the trainer seeds anything
    try:
        return peft.get_peft_model(network, peft.LoraConfig(**options))
    except (ValueError, TypeError) as error:
        linear = {
            name.rpartition(".")[2] for name, module in network.named_modules() if type(module).__name__ == "Linear"
        }
        expected = f"target_modules among {', '.join(sorted(linear))}"
        raise InputError(f"--lora: {error}", expected=expected) from error


class EpochSampler(DefaultBatchSampler):  # type: ignore[misc]
    """Batches of row numbers in an order that follows from seed and epoch alone, as a resumed training needs it."""

    current = 0

    def __iter__(self) -> Iterator[list[int]]:
        rows = len(self.sampler)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.current)
        order = torch.randperm(rows, generator=generator).tolist()
        for start in range(0, rows, self.batch_size):
            batch = order[start : start + self.batch_size]
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells sampler and collator which epoch begins."""

    def __init__(self, sampler: EpochSampler, collator: Collator) -> None:
        self._sampler, self._collator = sampler, collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Sets the epoch."""
        self._sampler.current = self._collator.epoch = int((state.epoch or 0) + 1e-6)


class RetrieverTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The trainer; `truncated_texts` counts the texts that were cut in this process since it started."""

    truncated_texts = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """The loss of a batch; one that is not finite is an ExpandrError that names the batch's rows."""
        labels = inputs["label"]
        self.truncated_texts += int(labels["truncated"])
        loss = super().compute_loss(model, inputs, *arguments, **options)
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            ids = [self.data_collator.rows[number].row_id for number in labels["rows"].tolist()]
            raise ExpandrError(
                f"the loss is {value.item()} at step {self.state.global_step + 1}; rows of the batch: {', '.join(ids)}",
                expected="a finite loss",
                remedy="look at these rows; else a lower training.learning_rate, or bf16 in place of fp16",
            )
        return loss

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **options: Any) -> EpochSampler:
        """The sampler, with the callback that tells it the epoch."""
        sampler = EpochSampler(dataset, batch_size, drop_last, **options)
        self.add_callback(Epochs(sampler, self.data_collator))
        return sampler

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Nothing: the model card is written with the result."""

    # Its own checkpoints are folders that are read back as new models; they lack LoRA's adapters beside the weights.

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(folder / WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ARG002
        path = Path(resume_from_checkpoint) / WEIGHTS
        try:
            load_model(self.model, str(path))
        except (RuntimeError, OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: {str(error)[:300]}", expected="a checkpoint of this model", remedy="--output, of another name"
            ) from error

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)
