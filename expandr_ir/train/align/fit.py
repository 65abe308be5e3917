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

from expandr_ir.errors import InputError
from expandr_ir.generators.chat import model_errors
from expandr_ir.io.files import output_folder, sha256_file, sha256_json, write_jsonl, write_text
from expandr_ir.io.manifest import Summary, installed_versions, read_manifest, write_manifest
from expandr_ir.runtime import pick_dtype, require
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

logger = logging.getLogger(__name__)


def _counts(train: TokenRows, dev: TokenRows | None) -> dict[str, int]:
    return train.counts | ({f"dev_{name}": count for name, count in dev.counts.items()} if dev else {})


def forecast(kind: Kind, given: Mapping[str, Any], train: TokenRows, dev: TokenRows | None) -> Summary:
    """The rows, steps and tokens that a run with TRL's given options would have."""
    batch = int(os.environ.get("WORLD_SIZE", "1"))
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        batch *= trl_option(kind, given, name)
    rows, steps = train.counts["rows"], trl_option(kind, given, "max_steps")
    if steps < 1:
        steps = int(-(-rows // batch) * trl_option(kind, given, "num_train_epochs"))
    tokens = train.counts["tokens"] * steps * batch // max(rows, 1)
    return Summary(_counts(train, dev) | {"rows_a_step": batch, "steps": steps, "tokens_in_all": tokens})


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
    inputs: Mapping[str, str | None],
    provenance: Mapping[str, Any] | None,
) -> Summary | None:
    """Trains, or goes on from the last whole checkpoint; on a complete run it does nothing.

    `kind` is a trainer of TRL's and the field of `options` with its own options. Without dev rows nothing is evaluated.
    `prompt` is that of the held-out topics; inputs and provenance of the rows go into the manifest.
    """
    if options.output is None:
        raise InputError("--output is missing", expected="--output DIR, or --dry-run")
    if options.heldout.rows and dev is None:
        raise InputError("heldout.rows without held-out training rows: nothing is evaluated", remedy="--dev-share .1")
    folder, began = output_folder(options.output), time.monotonic()
    config = trl_config(kind, getattr(options, kind), folder, evaluates=dev is not None)
    plugin = getattr(config, "deepspeed_plugin", None)
    if prompt and (config.fsdp or (plugin is not None and plugin.zero_stage == 3)):
        raise InputError(
            "held-out texts under ZeRO-3 or FSDP, where no process has the whole model",
            expected="ZeRO-2, DDP or one process",
            remedy="accelerate launch --config_file conf/accelerate/zero2.yaml, or no --heldout.rows",
        )
    identity = base_identity(options.model, options.revision)
    settings = {
        "kind": kind,
        "base": identity["sha256"] or identity["model"],
        "revision": identity["revision"],
        "dtype": options.dtype,
        "lora": options.lora,
        kind: outcome_options(trl_options(kind, getattr(options, kind))),
        "max_prompt_length": options.max_prompt_length,
        "data_sha256": sha256_json([train.rows, dev.rows if dev else None]),
        "heldout": asdict(options.heldout) | {"prompt_sha256": prompt.sha256} if prompt else None,
    }
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
    heldout = Heldout(options.heldout, prompt) if prompt and config.should_save else None
    trainer = _trainer(kind, options, config, tokenizer, datasets)
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
    write_manifest(weights, options=settings, inputs=inputs, seconds={"train": time.monotonic() - began}, **facts)
    if not metrics["best"]:
        logger.warning("nothing was held out, so the last checkpoint was kept unseen")
    elif metrics["best"]["gate"] <= metrics["start"]["gate"]:
        logger.warning("by the gate no checkpoint is better than the model before training: do not use this one unseen")
    return _summary(folder, counts, metrics)


class PreparedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer on rows that are tokenized; for SFT TRL has an option for that, for DPO none."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def _trainer(kind: Kind, options: AlignOptions, config: Any, tokenizer: Any, datasets: list[Any]) -> Any:
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
    with model_errors(options.model):
        trainer = (PreparedDPOTrainer if kind == "dpo" else SFTTrainer)(
            model=base.model,
            args=config,
            train_dataset=datasets[0],
            eval_dataset=datasets[1],
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[RunCallback()],
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
    """The counts, and the metrics before training, of the checkpoint that was kept, and of the last one."""
    titles = {"start": "before", "best": "kept", "last": "last"}
    shown = {
        name: {title: f"{metrics[point][name]:.4f}" for point, title in titles.items() if name in metrics[point]}
        for name in COLUMNS
        if name in metrics["best"]
    }
    return Summary({name: count for name, count in counts.items() if count} | shown, folder)
