"""Train an encoder to read expansions: from rows to a folder that encoders, sentence-transformers and Pyserini load."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from expandr_ir.config import EncoderConfig, drop_none
from expandr_ir.encoders import encoder_config
from expandr_ir.encoders.weights import fingerprint, model_folder, read_settings
from expandr_ir.errors import InputError
from expandr_ir.io.files import output_folder, sha256_json, write_jsonl
from expandr_ir.io.manifest import read_manifest, write_manifest
from expandr_ir.runtime import require
from expandr_ir.train.card import CARD, retriever_card
from expandr_ir.train.data.rows import read_rows
from expandr_ir.train.retriever.data import retriever_rows
from expandr_ir.train.retriever.options import RetrieverOptions, training_arguments, training_options

logger = logging.getLogger(__name__)

TRAINING = "training.json"
"""In the encoder's folder: the settings of its training, and the fields of `RetrieverResult`."""

LOG = "log.jsonl"


@dataclass(frozen=True)
class RetrieverResult:
    """The result of a training, empty on all processes but the first: the encoder's folder, counts, the dev set's means
    at the best checkpoint, seconds, and this checkpoint, such as "checkpoint-400" (None is the last step).
    """

    output: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    best: str | None = None
    seed: int = 0

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' '):<32} {count:,}" for name, count in self.counts.items() if count]
        lines += [f"{name.replace('_', ' '):<32} {score:.4f}" for name, score in self.scores.items()]
        return "\n".join([*lines, *filter(None, [self.output])])


def train_retriever(options: RetrieverOptions) -> RetrieverResult:
    """Trains, or goes on from the last whole checkpoint; where the output is there already, it does nothing.

    Under torchrun every process calls this.

    Raises:
        InputError: options, rows or encoder do not fit, or the output or its checkpoints are of another training.
        ExpandrError: the loss is not finite.
    """
    for package in ("accelerate", "datasets"):
        require(package, "train")
    from expandr_ir.encoders.assemble import assemble
    from expandr_ir.train.retriever.dev import split_rows
    from expandr_ir.train.retriever.objective import pool_in_float32
    from expandr_ir.train.retriever.trainer import add_adapters, retriever_trainer
    from expandr_ir.train.run_folder import claim, last_checkpoint, outcome_options, train_steps

    output = output_folder(options.output)
    rows, counts = retriever_rows(read_rows(options.data.rows, options.data.split), options.data)
    rows, dev = split_rows(options, rows)
    counts |= {"rows": len(rows), "expansions": sum(len(row.expansions) for row in rows)}
    if dev is not None:
        counts |= {"dev_queries": len(dev.topics), "dev_documents": len(dev.documents)}
    config = _encoder_config(options)
    folder = model_folder(config)
    settings = asdict(options) | {"training": outcome_options(training_options(options.training))}
    del settings["output"]
    settings |= {"data_sha256": sha256_json([[asdict(row) for row in rows], asdict(dev) if dev else None])}
    settings |= {"encoder_sha256": fingerprint(folder)}
    settings = json.loads(json.dumps(settings, default=str))
    if output.exists():
        return _complete(output, settings, options)
    work = output.with_name(f"{output.name}.training")
    checkpoint = last_checkpoint(work / "checkpoints")
    claim(work, settings, begun=checkpoint is not None)
    metric = dev.primary_metric(options.searched_by) if dev else None
    arguments = training_arguments(options.training, work / "checkpoints", metric)
    model, config = assemble(config, folder)
    adapter = add_adapters(model, options.lora, arguments.seed)
    trainer = retriever_trainer(options, rows, dev, model, config, arguments)
    hook = pool_in_float32(model)
    try:
        trained = train_steps(trainer, checkpoint)
    finally:
        hook.remove()
    if not trainer.is_world_process_zero():
        trainer.accelerator.wait_for_everyone()
        return RetrieverResult()
    if adapter is not None:
        adapter.merge_and_unload()
    result = _result(options, trainer, counts, float(trained.metrics["train_runtime"]))
    write_jsonl(work / LOG, trainer.state.log_history)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), create_model_card=False)
    card = retriever_card(config, settings, result.counts, result.scores, options.searched_by)
    (partial / CARD).write_text(card, encoding="utf-8")
    (partial / TRAINING).write_text(json.dumps({"settings": settings, **asdict(result)}, indent=2), encoding="utf-8")
    partial.rename(output)
    _write_manifest(output, result, options)
    trainer.accelerator.wait_for_everyone()
    return result


def _encoder_config(options: RetrieverOptions) -> EncoderConfig:
    """The encoder with what the options say in place of its own."""
    config = encoder_config(options.encoder)
    names = ("query_max_length", "max_length", "normalize", "expansion_role", "expansion_prefix")
    changes = drop_none({name: getattr(options, name) for name in names})
    if changes.get("normalize") is False and config.similarity == "cosine":
        changes["similarity"] = "dot"
    return replace(config, **changes)


def _result(options: RetrieverOptions, trainer: Any, counts: Mapping[str, int], seconds: float) -> RetrieverResult:
    state = trainer.state
    evaluations = [line for line in state.log_history if any(name.endswith("nDCG@10") for name in line)]
    best_lines = [line for line in evaluations if line["step"] == state.best_global_step] or evaluations
    scores = {name.removeprefix("eval_"): value for name, value in (best_lines or [{}])[-1].items() if "@" in name}
    best = state.best_model_checkpoint if best_lines else None
    return RetrieverResult(
        output=options.output,
        counts={**counts, "steps": state.global_step, "truncated_texts": trainer.truncated_texts},
        scores=scores,
        seconds={"train": seconds},
        best=Path(best).name if best else None,
        seed=trainer.args.seed,
    )


def _complete(output: Path, settings: Mapping[str, Any], options: RetrieverOptions) -> RetrieverResult:
    """The result of a training that is complete; its manifest is written where a kill came before it."""
    training: dict[str, Any] = read_settings(output / TRAINING)
    if training.pop("settings", None) != settings:
        raise InputError(
            f"{output} is there already, and not of these options and rows",
            expected="a name of its own for each training",
            remedy="--output elsewhere, or delete it",
        )
    logger.warning("%s is there already, by these options and rows", output)
    result = RetrieverResult(**training)
    if read_manifest(output) is None:
        _write_manifest(output, result, options)
    return result


def _write_manifest(output: Path, result: RetrieverResult, options: RetrieverOptions) -> None:
    data, dev = options.data, options.dev
    inputs = {"rows": data.rows, "expansions": data.expansions, "dev_rows": dev.rows, "dev_expansions": dev.expansions}
    checkpoints = str(output.with_name(f"{output.name}.training"))
    write_manifest(
        output,
        options=options,
        inputs=inputs,
        seeds={"training": result.seed},
        counts=result.counts,
        seconds=result.seconds,
        details={"scores": result.scores, "best": result.best, "checkpoints": checkpoints},
    )
