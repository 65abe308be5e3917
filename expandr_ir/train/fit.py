"""One training run of TRL's: data on disk, trainer, checkpoints, held-out scores, the best weights, the manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.errors import InputError
from expandr_ir.generators.base import require
from expandr_ir.manifest import read_manifest
from expandr_ir.train.card import evaluations
from expandr_ir.train.checkpoints import step_of
from expandr_ir.train.heldout import Heldout, HeldoutOptions
from expandr_ir.train.run_folder import RunFolder, now, settled, texts_hash
from expandr_ir.train.trainable import ModelOptions, base_identity, load_model, quiet, write_base
from expandr_ir.train.trainer_arguments import lora_config, training_device, trl_arguments, trl_options

if TYPE_CHECKING:
    from expandr_ir.prompts import Prompt

logger = logging.getLogger(__name__)

Rows = list[dict[str, list[int]]]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What is to be trained, on what.

    Args:
        kind: with which of TRL's trainers.
        model: the base.
        given: TRL's options.
        lora: PEFT's options; None trains all weights.
        heldout: topics that every checkpoint is tried on.
        prompt: what these are asked with; None without them.
        train, dev: rows of token ids; dev may be None.
        counts: of the rows.
        settings: what else decides the outcome.
        inputs: files by role, for the manifest.
        provenance: where the rows come from, if that is known.
    """

    kind: Literal["dpo", "sft"]
    model: ModelOptions
    given: Mapping[str, Any]
    lora: Mapping[str, Any] | None
    heldout: HeldoutOptions
    prompt: Prompt | None
    train: Rows
    dev: Rows | None
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    provenance: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Fitted:
    """What came of a run.

    Args:
        weights: the file; None on all processes but the first.
        counts: of the rows.
        start, best, last: metrics of the first evaluation, of the checkpoint that was kept, and of the last one; empty
            where nothing was evaluated.
        steps: optimizer steps that were done in all.
        best_step: of the checkpoint that was kept.
        already: whether the run was complete before.
    """

    weights: Path | None
    counts: Mapping[str, int]
    start: Mapping[str, float]
    best: Mapping[str, float]
    last: Mapping[str, float]
    steps: int
    best_step: int
    already: bool = False


def fit(job: Fit, tokenizer: Any, output: Path, command: Sequence[str]) -> Fitted:
    """Trains, or goes on from the last whole checkpoint; the same command on a complete run does nothing.

    Args:
        job: what, on what.
        tokenizer: with chat template and padding token.
        output: the run's folder.
        command: for the manifest.

    Raises:
        InputError: options or a model that do not fit, or a folder that holds another run.
        ExpandrError: a loss that is not a number.
    """
    from expandr_ir.train.callbacks import HeldoutScores, Lines, WholeCheckpoints

    started, clock = now(), time.monotonic()
    evaluates = job.dev is not None
    with quiet():
        arguments = trl_arguments(job.kind, job.given, output, evaluates=evaluates, gated=evaluates)
    if job.heldout.rows and not evaluates:
        raise InputError("heldout.rows without held-out training rows: nothing is evaluated", remedy="--dev-share .1")
    if job.prompt and _sharded(arguments):
        raise InputError(
            "held-out texts under ZeRO-3 or FSDP, where no process has the whole model",
            expected="ZeRO-2, DDP or one process",
            remedy="accelerate launch --config_file conf/accelerate/zero2.yaml, or no --heldout.rows",
        )
    device = training_device(arguments)
    identity = base_identity(job.model.model, job.model.revision)
    folder = RunFolder(output, _settings(job, identity))
    with arguments.main_process_first(local=False, desc="settings"):
        folder.claim()
    if (weights := folder.finished()) is not None:
        return _finished(job, weights)
    train, dev = (
        _on_disk(rows, output / "prepared" / name, arguments) for name, rows in (("train", job.train), ("dev", job.dev))
    )
    callback = HeldoutScores(
        Heldout(job.heldout, job.prompt) if job.prompt and arguments.should_save else None, tokenizer
    )
    with quiet():
        trainer = _trainer(job, arguments, tokenizer, device, train, dev, [callback, WholeCheckpoints(), Lines()])
    callback.trainer = trainer
    trainer.remove_callback(require("transformers").PrinterCallback)
    checkpoint = folder.last_checkpoint()
    with quiet():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_model(str(output))
    trainer.accelerator.wait_for_everyone()
    result = _fitted(job, trainer, None)
    if not trainer.is_world_process_zero():
        return result
    tokenizer.save_pretrained(output)
    write_base(output, identity | {"commit": getattr(trainer.model.config, "_commit_hash", None)})
    written = folder.complete(
        command=command,
        started=started,
        inputs=job.inputs,
        seeds={"seed": arguments.seed},
        counts=dict(job.counts) | {"steps": result.steps, "best_step": result.best_step} | _parameters(trainer.model),
        seconds={"train": time.monotonic() - clock},
        details={
            "kind": job.kind,
            "base": identity,
            "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "float32",
            "processes": arguments.world_size,
            "start": result.start,
            "best": result.best,
            "last": result.last,
            "provenance": job.provenance,
            "prompt": {"id": job.prompt.id, "sha256": job.prompt.sha256} if job.prompt else None,
        },
        curves=trainer.state.log_history,
    )
    return _fitted(job, trainer, written)


def _sharded(arguments: Any) -> bool:
    plugin = getattr(arguments, "deepspeed_plugin", None)
    return bool(arguments.fsdp) or (plugin is not None and plugin.zero_stage == 3)


def _settings(job: Fit, identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": job.kind,
        "base": identity["sha256"] or identity["model"],
        "revision": identity["revision"],
        "dtype": job.model.dtype,
        "lora": job.lora,
        job.kind: settled(trl_options(job.kind, job.given)),
        "data_sha256": texts_hash([job.train, job.dev]),
        "heldout": asdict(job.heldout) if job.prompt else None,
        **job.settings,
    }


def _on_disk(rows: Rows | None, folder: Path, arguments: Any) -> Any:
    """The rows as a data set in files, which all processes share (reference log-probabilities are kept beside them)."""
    if rows is None:
        return None
    datasets = require("datasets", "train")
    with arguments.main_process_first(local=False, desc="rows"):
        if not (folder / "state.json").is_file():  # written last
            datasets.Dataset.from_list(rows).save_to_disk(str(folder))
    return datasets.load_from_disk(str(folder))


def _trainer(
    job: Fit, arguments: Any, tokenizer: Any, device: Any, train: Any, dev: Any, callbacks: Sequence[Any]
) -> Any:
    from expandr_ir.train.trainers import PreparedDPOTrainer, SFTTrainer

    lora = lora_config(job.lora)
    if job.kind == "dpo" and lora is not None and lora.lora_dropout and arguments.disable_dropout:
        logger.warning(
            "lora_dropout %s is without effect: dpo.disable_dropout turns all dropout off", lora.lora_dropout
        )
    trainer = PreparedDPOTrainer if job.kind == "dpo" else SFTTrainer
    model = load_model(job.model, device, adapter=lora is not None)
    reference = {}
    if job.kind == "dpo" and lora is None and not arguments.precompute_ref_log_probs:
        reference = {"ref_model": load_model(job.model, device, adapter=False)}
    try:
        return trainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=dev,
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=list(callbacks),
            **reference,
        )
    except ValueError as error:
        raise InputError(
            f"{job.model.model} cannot be trained so: {error}", remedy="other --lora or --dpo options"
        ) from error


def _fitted(job: Fit, trainer: Any, weights: Path | None) -> Fitted:
    history = trainer.state.log_history
    points = evaluations(history)
    steps = trainer.state.global_step
    kept = trainer.state.best_model_checkpoint
    best_step = step_of(Path(kept)) if kept else steps
    first, last = (points[min(points)], points[max(points)]) if points else ({}, {})
    return Fitted(weights, job.counts, first, points.get(best_step, {}), last, steps, best_step)


def _finished(job: Fit, weights: Path) -> Fitted:
    manifest = read_manifest(weights)
    assert manifest is not None
    details, counts = manifest.details, manifest.counts
    return Fitted(
        weights,
        job.counts,
        details["start"],
        details["best"],
        details["last"],
        counts["steps"],
        counts["best_step"],
        already=True,
    )


def _parameters(model: Any) -> dict[str, int]:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"parameters": sum(size for size, _ in sizes), "trained_parameters": sum(size for size, on in sizes if on)}
