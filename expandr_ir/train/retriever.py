"""Train an encoder to read expansions: from rows to a folder that encoders, sentence-transformers and Pyserini load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from expandr_ir.config import EncoderConfig
from expandr_ir.encoders import encoder_config
from expandr_ir.encoders.assemble import assemble
from expandr_ir.encoders.batching import CPU_TOKENS, GPU_TOKENS
from expandr_ir.encoders.weights import fingerprint, model_folder, read_json
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, sha256_json
from expandr_ir.generators.base import require
from expandr_ir.train.checkpoints import find_checkpoints
from expandr_ir.train.contrastive import RetrieverLoss, pool_in_float32
from expandr_ir.train.processes import this_process
from expandr_ir.train.retriever_batch import Collator
from expandr_ir.train.retriever_card import model_card
from expandr_ir.train.retriever_data import RetrieverRow, held_back, retriever_rows
from expandr_ir.train.retriever_dev import DevEvaluator, DevSet, dev_of_collection, dev_of_rows
from expandr_ir.train.retriever_lora import adapted
from expandr_ir.train.retriever_options import RetrieverOptions
from expandr_ir.train.retriever_trainer import RetrieverTrainer, precision_of, training_arguments
from expandr_ir.train.rows import read_rows

TRAINING = "training.json"
"""In the encoder's folder: plan, options, counts and scores of its training."""

PLAN = "plan.json"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Args:
        output: the encoder's folder.
        counts: of rows, dev queries, truncated texts, steps.
        scores: the dev set's means at the best checkpoint; empty without a dev set.
        seconds: "train", with evaluations.
        best: the checkpoint that was kept, such as "checkpoint-400"; None is the last step.
        seed: of the training.
    """

    output: Path
    counts: dict[str, int]
    scores: dict[str, float]
    seconds: dict[str, float]
    best: str | None
    seed: int


def work_folder(output: Path) -> Path:
    """Where checkpoints, plan and log of a training stand: beside the output, as OUTPUT.training."""
    return output.with_name(f"{output.name}.training")


def train_retriever(
    options: RetrieverOptions, output: Path, on_log: Callable[[dict[str, float]], None] | None = None
) -> Trained | None:
    """What came of the training; None where the output is there already, by the same options and rows.

    A training that was killed goes on from its last whole checkpoint. Under torchrun every process calls this.

    Args:
        options: everything.
        output: the folder of the trained encoder; it appears when it is complete.
        on_log: called with each line of the log, in the first process.

    Raises:
        InputError: options, rows or encoder do not fit, or the output or its checkpoints are of another training.
        MissingResourceError: a file or model is not there.
        NotInstalledError: accelerate, datasets or peft is missing.
        ExpandrError: the loss is not finite.
    """
    for package in ("accelerate", "datasets"):
        require(package, "train")
    rows, dev, counts = _data(options)
    config = _config(options)
    folder = model_folder(config)
    plan = _plan(options, rows, dev, fingerprint(folder))
    if _is_there(output, plan):
        return None
    work = work_folder(output)
    _check_plan(work, plan, options)
    arguments = training_arguments(options.training, work / "checkpoints", _primary(options, dev))
    model, config = assemble(config, folder)
    if arguments.gradient_checkpointing:
        _check_checkpointing(model)
    adapter = adapted(model, options.lora)
    trainer = _trainer(options, rows, dev, model, config, arguments, on_log)
    found = find_checkpoints(work / "checkpoints")
    with atomic_write(work / PLAN) as stream:
        json.dump({"plan": plan, "options": asdict(options)}, stream, indent=2)
        stream.write("\n")
    hook = pool_in_float32(model)
    try:
        result = trainer.train(resume_from_checkpoint=str(found.last) if found.last else None)
    finally:
        hook.remove()
    best = trainer.state.best_model_checkpoint if dev else None
    counts |= {"steps": trainer.state.global_step, "truncated_texts": trainer.truncated_texts}
    trained = Trained(
        output=output,
        counts=counts,
        scores=_scores(trainer.state.log_history, trainer.state.best_global_step if dev else None),
        seconds={"train": float(result.metrics["train_runtime"])},
        best=Path(best).name if best else None,
        seed=arguments.seed,
    )
    if this_process() == 0:
        if adapter is not None:
            adapter.merge_and_unload()
        _write_log(work / LOG, trainer.state.log_history)
        _save(model, trained, options, config, plan)
    trainer.accelerator.wait_for_everyone()
    return trained


def _data(options: RetrieverOptions) -> tuple[list[RetrieverRow], DevSet | None, dict[str, int]]:
    """The rows to train on, the dev set, and what was counted."""
    found = retriever_rows(read_rows(options.data.rows, options.data.split), options.data)
    rows, counts, dev = found.rows, found.counts, None
    if options.dev.share:
        rows, back = held_back(rows, options.dev.share)
        if not rows:
            raise InputError("every row is held back", expected="a smaller dev.share")
        dev = dev_of_rows(back, rows, options.dev.documents)
    elif options.dev.rows:
        own = replace(options.data, rows=options.dev.rows, split=options.dev.split, expansions=options.dev.expansions)
        back = retriever_rows(read_rows(own.rows, own.split), own).rows
        dev = dev_of_rows(back, rows, options.dev.documents)
    elif options.dev.collection:
        dev = dev_of_collection(options.dev)
    counts |= {"rows": len(rows), "expansions": sum(len(row.expansions) for row in rows)}
    if dev is not None:
        counts |= {"dev_queries": len(dev.topics), "dev_documents": len(dev.documents)}
    return rows, dev, counts


def _config(options: RetrieverOptions) -> EncoderConfig:
    """The encoder with what the options say in place of its own."""
    config = encoder_config(options.encoder)
    names = ("query_max_length", "max_length", "normalize", "expansion_role", "expansion_prefix")
    own = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if own.get("normalize") is False and config.similarity == "cosine":
        own["similarity"] = "dot"
    return replace(config, **own)


def _primary(options: RetrieverOptions, dev: DevSet | None) -> str | None:
    if dev is None:
        return None
    return f"{'expanded' if dev.expanded and _dev_aggregation(options) != 'none' else 'alone'}_nDCG@10"


def _dev_aggregation(options: RetrieverOptions) -> str:
    named = options.dev.aggregation or options.objective.aggregation
    return "mean" if named == "expansion" and not options.dev.aggregation else named


def _check_checkpointing(model: Any) -> None:
    """Refuses gradient checkpointing of a network that has none, which sentence-transformers passes over in silence."""
    if not any(hasattr(one, "gradient_checkpointing_enable") for one in model.modules() if one is not model):
        raise InputError(
            f"training.gradient_checkpointing, which {type(model[0]).__name__}'s network does not have",
            expected="a network of transformers",
            remedy="--cached with a small --batch-tokens needs as little memory",
        )


def _trainer(
    options: RetrieverOptions, rows: list[RetrieverRow], dev: DevSet | None, model: Any, config: EncoderConfig,
    arguments: Any, on_log: Callable[[dict[str, float]], None] | None,
) -> RetrieverTrainer:  # fmt: skip
    import datasets
    from transformers import EarlyStoppingCallback

    precision = precision_of(arguments)
    budget = options.batch_tokens or (CPU_TOKENS if arguments.device.type == "cpu" else GPU_TOKENS)
    evaluator = None
    if dev is not None:
        aggregation, dense = _dev_aggregation(options), options.objective.dense
        evaluator = DevEvaluator(dev, config, aggregation, dense, precision, options.batch_tokens)
    patience = options.dev.patience
    return RetrieverTrainer(
        row_ids=[row.row_id for row in rows],
        on_log=on_log,
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"row": list(range(len(rows)))}),
        data_collator=Collator(rows, model.tokenizer, config, options.objective, options.data, arguments.seed, budget),
        loss=RetrieverLoss(model, options.objective, cached=options.cached),
        evaluator=evaluator,
        callbacks=[EarlyStoppingCallback(patience)] if patience else [],
    )


def _plan(options: RetrieverOptions, rows: list[RetrieverRow], dev: DevSet | None, weights: str) -> str:
    """A SHA-256 over everything that the training follows from."""
    content: list[Any] = [
        [row.row_id, row.row.query, row.row.positives, row.row.negatives, row.expansions] for row in rows
    ]
    if dev is not None:
        queries = [[one.topic.text, [text.text for text in one.expansions]] for one in dev.topics.values()]
        content += [queries, dev.qrels, sorted(dev.documents)]
    return sha256_json([asdict(options), content, weights])


def _is_there(output: Path, plan: str) -> bool:
    """Whether the output is this training's; one of another is refused."""
    if not output.exists():
        return False
    if output.is_dir() and (read_json(output / TRAINING) or {}).get("plan") == plan:
        return True
    raise InputError(
        f"{output} is there already, and not of these options and rows",
        expected="a name of its own for each training",
        remedy="--output elsewhere, or delete it",
    )


def _check_plan(work: Path, plan: str, options: RetrieverOptions) -> None:
    """Refuses checkpoints of another training; what never came to a checkpoint is begun anew."""
    path = work / PLAN
    if not path.is_file() or not any((work / "checkpoints").glob("checkpoint-*")):
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["plan"] == plan:
        return
    before, now = found["options"], json.loads(json.dumps(asdict(options)))
    changed = [name for name in now if now[name] != before.get(name)]
    raise InputError(
        f"{work} holds checkpoints of another training"
        + (f"; other options: {', '.join(changed)}" if changed else "; other rows or another encoder"),
        expected="the options and rows that it was begun with",
        remedy=f"--output elsewhere, or delete {work}",
    )


def _scores(history: list[dict[str, float]], best_step: int | None) -> dict[str, float]:
    evaluations = [line for line in history if any(name.endswith("nDCG@10") for name in line)]
    kept = [line for line in evaluations if line["step"] == best_step] or evaluations[-1:]
    return {name.removeprefix("eval_"): value for line in kept[-1:] for name, value in line.items() if "@" in name}


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    with atomic_write(path) as stream:
        stream.writelines(json.dumps(line) + "\n" for line in history)


def _save(model: Any, trained: Trained, options: RetrieverOptions, config: EncoderConfig, plan: str) -> None:
    """Writes the encoder under a temporary name and renames it."""
    with _appearing(trained.output) as folder:
        model.save_pretrained(str(folder), create_model_card=False)
        card = model_card(options, config, trained.counts, trained.scores, plan, _dev_aggregation(options))
        (folder / "README.md").write_text(card, encoding="utf-8")
        training = {"plan": plan, "options": asdict(options), "counts": trained.counts, "scores": trained.scores}
        (folder / TRAINING).write_text(json.dumps(training, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    partial.rename(output)
