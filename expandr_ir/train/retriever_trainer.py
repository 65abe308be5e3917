"""sentence-transformers' trainer for batches of `Collator`: resumable epochs, whole checkpoints, NaN refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
from transformers import TrainerCallback

from expandr_ir.config import fitted_options
from expandr_ir.encoders import pick_device
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.generators.local import pick_dtype
from expandr_ir.train.checkpoints import mark_complete
from expandr_ir.train.retriever_batch import Collator

WEIGHTS = "weights.safetensors"
EVALUATE_STEPS = 200
"""Steps between evaluations where training.eval_steps says nothing (ExpandR's)."""

NOT_HERE = {
    "output_dir": "--output DIR",
    "resume_from_checkpoint": "nothing: what was broken off goes on from its last whole checkpoint",
    "load_best_model_at_end": "--dev.share .1: the best checkpoint is kept wherever there is a dev set",
    "prompts": "query_prefix and document_prefix of the encoder's YAML file",
    "router_mapping": "nothing",
    "batch_sampler": "nothing: copies of a positive are masked (--objective.mask-duplicates)",
    "multi_dataset_batch_sampler": "nothing",
    "max_length": "--max-length, --query-max-length",
    "group_by_length": "nothing: a batch's texts are sorted by length",
    "dataloader_persistent_workers": "nothing",
    "push_to_hub": "hf upload, when training is done",
    "do_train": "nothing",
    "do_eval": "nothing",
    "do_predict": "nothing",
}
"""Arguments of sentence-transformers that have a place of their own here, or none, and what to type."""


def training_arguments(given: Mapping[str, Any], folder: Path, primary_metric: str | None) -> Any:
    """sentence-transformers' training arguments: its defaults, what is given, and what follows from where it runs.

    Not given, bf16 follows from the device, and nothing is reported to a tracker. With a dev set, it is evaluated, and
    a checkpoint written, every `eval_steps` steps; the best one is kept.

    Args:
        given: by its own names.
        folder: of the checkpoints.
        primary_metric: of the dev set; None where there is none.

    Raises:
        InputError: an unknown argument, a value that does not fit, or one that has another place here.
    """
    for name in given:
        if name in NOT_HERE:
            raise InputError(f"training.{name} is not an option here", remedy=NOT_HERE[name])
    options = fitted_options(SentenceTransformerTrainingArguments, given, "--training")
    device = torch.device("cpu") if options.get("use_cpu") else pick_device("auto")
    on_cpu = device.type == "cpu"
    if not {"bf16", "fp16"} & options.keys():
        options["bf16"] = pick_dtype("auto", device) == torch.bfloat16
    defaults: dict[str, Any] = {
        "use_cpu": on_cpu, "report_to": [], "save_total_limit": 2, "disable_tqdm": True, "logging_steps": 10,
        "dataloader_pin_memory": not on_cpu,
    }  # fmt: skip
    if primary_metric is not None:
        steps = options.get("eval_steps", EVALUATE_STEPS)
        defaults |= {
            "eval_strategy": "steps", "eval_steps": steps, "save_steps": steps, "load_best_model_at_end": True,
            "metric_for_best_model": f"eval_{primary_metric}", "greater_is_better": True,
        }  # fmt: skip
    elif options.get("eval_strategy", "no") != "no":
        raise InputError("training.eval_strategy without a dev set", remedy="--dev.share .1")
    try:
        return SentenceTransformerTrainingArguments(output_dir=str(folder), **defaults | options)
    except (ValueError, TypeError) as error:
        raise InputError(f"--training: {error}", expected="training arguments that fit together") from error


def precision_of(arguments: Any) -> torch.dtype:
    """The type of matrix products that the arguments ask for."""
    return torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else torch.float32


class EpochSampler(DefaultBatchSampler):  # type: ignore[misc]
    """Batches of row numbers, shuffled anew for each epoch in a way that follows from seed and epoch alone.

    Attributes:
        current: the epoch; the trainer counts it.
    """

    current = 0

    def __iter__(self) -> Iterator[list[int]]:
        rows = len(self.sampler)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.current)
        order = torch.randperm(rows, generator=generator).tolist()
        for start in range(0, rows, self.batch_size):
            batch = order[start : start + self.batch_size]
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


class RetrieverTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """The trainer.

    Args:
        row_ids: of the rows, by number.
        on_log: called with each line of the training's log.
        options: of sentence-transformers' trainer, with a `Collator` as data collator.

    Attributes:
        truncated_texts: how many texts were cut in the batches so far, in this process and since it started.
    """

    def __init__(
        self, *, row_ids: list[str], on_log: Callable[[dict[str, float]], None] | None = None, **options: Any
    ) -> None:
        self.truncated_texts = 0
        self._row_ids = row_ids
        self._sampler: EpochSampler | None = None
        super().__init__(**options)
        self.data_collator: Collator
        self.add_callback(_Epochs(self))
        self.add_callback(_Checkpoints())
        self.remove_callback(self._printer())
        if on_log is not None:
            self.add_callback(_Log(on_log))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """The loss of a batch.

        Raises:
            ExpandrError: it is not finite; the message names the batch's rows.
        """
        labels = inputs["label"]
        self.truncated_texts += int(labels["truncated"])
        loss = super().compute_loss(model, inputs, *arguments, **options)
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            ids = [self._row_ids[number] for number in labels["rows"].tolist()]
            raise ExpandrError(
                f"the loss is {value.item()} at step {self.state.global_step + 1}; rows of the batch: {', '.join(ids)}",
                expected="a finite loss",
                remedy="look at these rows; else a lower training.learning_rate, or bf16 in place of fp16",
            )
        return loss

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **options: Any) -> EpochSampler:
        """Batches whose order a resumed training finds again."""
        self._sampler = EpochSampler(dataset, batch_size, drop_last, **options)
        return self._sampler

    def begin_epoch(self, epoch: int) -> None:
        """Tells the sampler and the collator which epoch begins."""
        self.data_collator.epoch = epoch
        if self._sampler is not None:
            self._sampler.current = epoch

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Nothing: the model card is written with the result."""

    def _printer(self) -> Any:
        from transformers.trainer_callback import PrinterCallback

        return PrinterCallback

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


class _Epochs(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: RetrieverTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self._trainer.begin_epoch(int((state.epoch or 0) + 1e-6))


class _Checkpoints(TrainerCallback):  # type: ignore[misc]
    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Log(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_log: Callable[[dict[str, float]], None]) -> None:
        self._on_log = on_log

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:  # noqa: ARG002
        if state.is_world_process_zero and logs:
            self._on_log({"step": state.global_step, **logs})
