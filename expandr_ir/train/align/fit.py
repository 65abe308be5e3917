"""One run of TRL's trainers: data on disk, checkpoints, held-out scores, the best weights, card and manifest."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback
from trl import DPOTrainer, SFTTrainer

from expandr_ir.errors import ComparisonFailedError, InputError
from expandr_ir.generators.chat import model_errors
from expandr_ir.io.files import output_folder, sha256_file, sha256_json, write_jsonl, write_text
from expandr_ir.io.manifest import Summary, installed_versions, read_manifest, write_manifest
from expandr_ir.runtime import pick_dtype, require
from expandr_ir.train.align import grpo_trainer
from expandr_ir.train.align.heldout import Heldout, HeldoutScores
from expandr_ir.train.align.merge import base_identity
from expandr_ir.train.align.options import (
    AlignOptions,
    Kind,
    lora_config,
    trl_config,
    trl_option,
    trl_options,
)
from expandr_ir.train.align.tokenization import TokenRows
from expandr_ir.train.card import CARD, COLUMNS, evaluations, expander_card
from expandr_ir.train.run_folder import (
    CURVES,
    RunCallback,
    claim,
    last_checkpoint,
    outcome_options,
    step_of,
    train_steps,
    weights_file,
)

if TYPE_CHECKING:
    from expandr_ir.prompts import Prompt
    from expandr_ir.train.align.live_rewards import LiveRewards

logger = logging.getLogger(__name__)


def _counts(train: TokenRows, dev: TokenRows | None) -> dict[str, int]:
    return train.counts | ({f"dev_{name}": count for name, count in dev.counts.items()} if dev else {})


def forecast(kind: Kind, given: Mapping[str, Any], train: TokenRows, dev: TokenRows | None) -> Summary:
    """The rows, steps and tokens that a run with TRL's given options would have."""
    batch = int(os.environ.get("WORLD_SIZE", "1"))
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        batch *= trl_option(kind, given, name)
    rows, steps, texts, new = train.counts["rows"], trl_option(kind, given, "max_steps"), 1, 0
    if kind == "grpo":
        texts = trl_option(kind, given, "num_generations") * trl_option(kind, given, "num_iterations")
        new = trl_option(kind, given, "max_completion_length")
    if steps < 1:
        batches = rows * texts // batch if kind == "grpo" else -(-rows // batch)  # GRPO's last one must be whole
        steps = int(batches * trl_option(kind, given, "num_train_epochs"))
    tokens = train.counts["tokens"] * steps * batch // max(rows, 1) + new * steps * batch
    return Summary(_counts(train, dev) | {"rows_a_step": batch // texts, "steps": steps, "tokens_in_all": tokens})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps transformers from telling TRL and PEFT that gradient checkpointing has another name now."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
        yield


@_quiet()
def fit(
    kind: Kind,
    options: AlignOptions,
    tokenizer: Any,
    train: TokenRows,
    dev: TokenRows | None = None,
    *,
    prompt: Prompt | None = None,
    rewards: LiveRewards | None = None,
    inputs: Mapping[str, str | None],
    provenance: Mapping[str, Any] | None,
) -> Summary | None:
    """Trains, or goes on from the last whole checkpoint; on a complete run it does nothing.

    `kind` is a trainer of TRL's and the field of `options` with its own options. Without dev rows nothing is evaluated.
    `prompt` is that of rows and held-out topics, `rewards` are GRPO's; inputs and provenance go into the manifest.
    """
    if options.output is None:
        raise InputError("--output is missing", expected="--output DIR, or --dry-run")
    folder, began = output_folder(options.output), time.monotonic()
    config = _config(kind, options, folder, train, dev)
    identity = base_identity(options.model, options.revision)
    settings = _settings(kind, options, identity, train, dev, prompt, rewards)
    checkpoint = last_checkpoint(folder)
    with config.main_process_first(local=False, desc="settings"):
        claim(folder, settings, begun=checkpoint is not None or weights_file(folder) is not None)
    weights = weights_file(folder)
    if weights and (complete := read_manifest(weights)) and complete.describes(weights):
        logger.warning("the run was complete before; nothing was trained")
        return _summary(folder, complete.counts, {name: complete.details[name] for name in ("start", "best", "last")})
    if checkpoint is not None:
        logger.warning("going on from %s", checkpoint)
    datasets = [_on_disk(part, folder, config) for part in (train, dev)]
    heldout = Heldout(options.heldout, prompt) if prompt and options.heldout.rows and config.should_save else None
    trainer = _trainer(kind, options, config, tokenizer, datasets, rewards)
    trainer.add_callback(HeldoutScores(trainer, heldout))
    train_steps(trainer, checkpoint)
    trainer.save_model(str(folder))
    trainer.accelerator.wait_for_everyone()
    if not trainer.is_world_process_zero():
        return None
    history = trainer.state.log_history
    points, steps, kept = evaluations(history), trainer.state.global_step, trainer.state.best_model_checkpoint
    best_step = step_of(Path(kept)) if kept else steps
    steps_of = {"start": min(points), "best": best_step, "last": max(points)} if points else {}
    metrics = {name: points.get(steps_of.get(name, -1), {}) for name in ("start", "best", "last")}
    sizes = [(tensor.numel(), tensor.requires_grad) for tensor in trainer.model.parameters()]
    counts = _counts(train, dev) | {"steps": steps, "best_step": best_step, "parameters": sum(n for n, _ in sizes)}
    counts["trained_parameters"] = sum(n for n, is_trained in sizes if is_trained)
    counts |= grpo_trainer.count_groups(history, config) if rewards else {}
    seconds = {"train": time.monotonic() - began} | ({"rewards": rewards.seconds} if rewards else {})
    tokenizer.save_pretrained(folder)
    details = {
        "kind": kind,
        "base": {**identity, "commit": getattr(trainer.model.config, "_commit_hash", None)},
        "precision": "bf16" if config.bf16 else "fp16" if config.fp16 else "float32",
        "processes": config.world_size,
        **metrics,
        "provenance": provenance,
        "prompt": {"id": prompt.id, "sha256": prompt.sha256} if prompt else None,
    }
    facts: dict[str, Any] = {"seeds": {"seed": config.seed}, "counts": counts, "details": details}
    files = {
        role: {"path": path, "sha256": sha256_file(Path(path))}
        for role, path in inputs.items()
        if path and Path(path).is_file()
    }
    manifest = facts | {"config": settings, "inputs": files, "versions": installed_versions()}
    write_text(folder / CARD, expander_card(folder.name, manifest, history, merged=False))
    write_jsonl(folder / CURVES, history)
    weights = weights_file(folder)
    assert weights is not None
    write_manifest(weights, options=settings, inputs=inputs, seconds=seconds, **facts)
    summary = _summary(folder, counts, metrics)
    if not metrics["best"]:
        logger.warning("nothing was held out, so the last checkpoint was kept unseen")
    elif summary.exit_code:
        logger.warning("by the gate no checkpoint is better than the model before training: do not use this one unseen")
    return summary


def _config(kind: Kind, options: AlignOptions, folder: Path, train: TokenRows, dev: TokenRows | None) -> Any:
    """TRL's configuration, checked against the rows and against the processes that share the model."""
    if options.heldout.rows and dev is None:
        raise InputError("heldout.rows without held-out training rows: nothing is evaluated", remedy="--dev-share .1")
    config = trl_config(kind, getattr(options, kind), folder, evaluates=dev is not None)
    if kind == "grpo":
        grpo_trainer.check_groups(config, train.counts["rows"])
    plugin = getattr(config, "deepspeed_plugin", None)
    if options.heldout.rows and (config.fsdp or (plugin is not None and plugin.zero_stage == 3)):
        raise InputError(
            "held-out texts under ZeRO-3 or FSDP, where no process has the whole model",
            expected="ZeRO-2, DDP or one process",
            remedy="accelerate launch --config_file conf/accelerate/zero2.yaml, or no --heldout.rows",
        )
    return config


def _settings(
    kind: Kind,
    options: AlignOptions,
    identity: Mapping[str, str | None],
    train: TokenRows,
    dev: TokenRows | None,
    prompt: Prompt | None,
    rewards: LiveRewards | None,
) -> dict[str, Any]:
    """Everything that a run's outcome depends on: the folder is claimed with it."""
    settings = {
        "kind": kind,
        "base": identity["sha256"] or identity["model"],
        "revision": identity["revision"],
        "dtype": options.dtype,
        "lora": options.lora,
        kind: outcome_options(trl_options(kind, getattr(options, kind))),
        "max_prompt_length": options.max_prompt_length,
        "data_sha256": sha256_json([train.rows, dev.rows if dev else None]),
        "heldout": None,
    }
    if prompt and options.heldout.rows:
        settings["heldout"] = asdict(options.heldout) | {"prompt_sha256": prompt.sha256}
    return settings | ({"rewards": rewards.settings()} if rewards else {})


class PreparedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer on rows that are tokenized; for SFT TRL has an option for that, for DPO none."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def _trainer(
    kind: Kind,
    options: AlignOptions,
    config: Any,
    tokenizer: Any,
    datasets: list[Any],
    rewards: LiveRewards | None,
) -> Any:
    lora = lora_config(options.lora)
    if kind == "dpo" and lora is not None and lora.lora_dropout and config.disable_dropout:
        logger.warning("lora_dropout %s has no effect: dpo.disable_dropout turns all dropout off", lora.lora_dropout)
    name = "float32" if options.dtype == "auto" and (lora is None or config.device.type != "cuda") else options.dtype
    base = options.generator
    config.model_init_kwargs = {
        "revision": base.revision,
        "dtype": str(pick_dtype(name, config.device)).removeprefix("torch."),
        "attn_implementation": options.attn_implementation,
        "trust_remote_code": options.trust_remote_code,
        "use_safetensors": True,
        "device_map": None,  # TRL's "auto" would spread a model over the GPUs that one process sees
    }
    trainers: dict[Kind, Any] = {"dpo": PreparedDPOTrainer, "sft": SFTTrainer, "grpo": grpo_trainer.RewardedTrainer}
    own = {"reward_funcs": [rewards], "max_prompt_length": options.max_prompt_length} if rewards else {}
    with model_errors(options.model):
        trainer = trainers[kind](
            model=base.model,
            args=config,
            train_dataset=datasets[0],
            eval_dataset=datasets[1],
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[RunCallback()],
            **own,
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _on_disk(part: TokenRows | None, folder: Path, config: Any) -> Any:
    """Rows as a data set in files, which all processes share; reference log-probabilities are kept beside them."""
    if part is None:
        return None
    datasets, path = require("datasets", "train"), folder / "prepared" / sha256_json(part.rows)[:16]
    with config.main_process_first(local=False, desc="rows"):
        if not (path / "state.json").is_file():  # written last
            datasets.Dataset.from_list(part.rows).save_to_disk(str(path))
    return datasets.load_from_disk(str(path))


def _summary(folder: Path, counts: Mapping[str, int], metrics: Mapping[str, Mapping[str, float]]) -> Summary:
    """The counts, and the metrics before training, of the checkpoint that was kept, and of the last one.

    The exit code is 1 where the gate's figure is no better than before training.
    """
    titles = {"start": "before", "best": "kept", "last": "last"}
    shown = {
        name: {title: f"{metrics[point][name]:.4f}" for point, title in titles.items() if name in metrics[point]}
        for name in COLUMNS
        if name in metrics["best"]
    }
    is_better = not metrics["best"] or metrics["best"]["gate"] > metrics["start"]["gate"]
    exit_code = 0 if is_better else ComparisonFailedError.exit_code
    return Summary({name: count for name, count in counts.items() if count} | shown, folder, exit_code=exit_code)
