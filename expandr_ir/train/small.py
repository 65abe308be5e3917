"""A small expander, trained from nothing on one collection: a vehicle to test the way to an aligned one, not a product.

It learns the words of the collection's documents (title -> passage) and then to answer its train topics with the
beginnings of their positives. What it writes is no English to speak of; it carries the words of a topic's field, some
samples more than others, which is what rewards and DPO need to be tried on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write
from expandr_ir.manifest import read_manifest, write_manifest
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Topic
from expandr_ir.train.collection_rows import collection_rows
from expandr_ir.train.fit import Fit, Fitted, fit
from expandr_ir.train.heldout import HeldoutOptions
from expandr_ir.train.preparation import Demonstration, Preparation
from expandr_ir.train.rows import TrainingRow, distinct_queries, query_hash, row_json
from expandr_ir.train.run_folder import now
from expandr_ir.train.small_options import SmallOptions
from expandr_ir.train.trainable import ModelOptions, load_tokenizer

if TYPE_CHECKING:
    from expandr_ir.prompts import Prompt

STAGES = ("documents", "topics")
NOTE = (
    "A test vehicle, trained from nothing on {name} in minutes: it writes the words of that collection's field and no "
    "more. No figure of it says anything about an LLM."
)


@dataclass(frozen=True)
class Small:
    """A small expander.

    Args:
        folder: the model, with generator.yaml and rows/.
        parameters: how many it has.
        losses: of the last logged step of each stage.
        learnt, kept: train topics that were learnt and that were not.
        already: whether it was complete before.
    """

    folder: Path
    parameters: int
    losses: dict[str, float]
    learnt: int
    kept: int
    already: bool = False


def train_small(options: SmallOptions, output: Path, command: Sequence[str]) -> Small:
    """Trains it in two stages, each of which goes on where it was broken off.

    Args:
        options: the recipe.
        output: the folder; its work/ may be deleted afterwards.
        command: for the manifest.

    Raises:
        InputError: a collection without train topics, options that do not fit, or a folder that holds another one.
        NotInstalledError: TRL is missing.
    """
    started = now()
    weights = output / "model.safetensors"
    manifest = read_manifest(weights) if weights.is_file() else None
    if manifest is not None and manifest.describes(weights) and manifest.config == _plain(options):
        counts = manifest.counts
        return Small(output, counts["parameters"], manifest.details["losses"], counts["learnt"], counts["kept"], True)
    collection = load_collection(options.collection)
    prompt = load_prompt(options.prompt)
    learnt, kept = part_rows(collection, options)
    start = _start(collection, options, output / "work" / "start")
    stages: dict[str, Fitted] = {}
    model = start
    for stage in STAGES:
        rows = (
            document_pairs(collection, prompt, options)
            if stage == "documents"
            else topic_pairs(learnt, prompt, options)
        )
        stages[stage] = _stage(stage, options, model, rows, output / "work" / stage, command)
        model = output / "work" / stage
    return _finish(options, collection, model, stages, (learnt, kept), output, command, started)


def part_rows(collection: Collection, options: SmallOptions) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """The train topics that are learnt, and the others, with their positives."""
    rows, _ = distinct_queries(collection_rows(collection.spec, options.split))
    share = {row.row_id: int(query_hash(row.query)[8:16], 16) / 16**8 for row in rows}
    learnt = [row for row in rows if share[row.row_id] < options.learnt_share]
    kept = [row for row in rows if share[row.row_id] >= options.learnt_share]
    if not learnt or not kept:
        raise InputError(
            f"{len(learnt)} of {len(rows)} train topics would be learnt", expected="some learnt and some kept back"
        )
    return learnt, kept


def document_pairs(collection: Collection, prompt: Prompt, options: SmallOptions) -> Iterator[Demonstration]:
    """Title -> title and passage, for the first passages of every document that has title and text.

    The answers begin with what was asked, as the positives' texts do: that is how so small a model learns, in minutes,
    to keep to the words of a topic.
    """
    for document in collection.documents():
        title, words = document.title.split(), document.text.split()
        size = max(options.passage_words - len(title), options.passage_words // 4, 1)
        starts = range(0, len(words), size)[: options.passages] if title else ()
        asked = prompt.render(Topic(document.doc_id, document.title)) if title else ()
        for start in starts:
            answer = " ".join([*title, *words[start : start + size]])
            yield Demonstration(f"document {document.doc_id}", asked, answer)


def topic_pairs(rows: Sequence[TrainingRow], prompt: Prompt, options: SmallOptions) -> Iterator[Demonstration]:
    """Train topic -> the beginning of each of its positives."""
    for row in rows:
        for text in row.positives:
            beginning = " ".join(text.split()[: options.passage_words])
            yield Demonstration(f"topic {row.row_id}", prompt.render(Topic(row.row_id, row.query)), beginning)


def _start(collection: Collection, options: SmallOptions, folder: Path) -> Path:
    """The folder with tokenizer and untrained weights, whose embeddings know what stands together."""
    import torch

    from expandr_ir.train.embeddings import cooccurrence_embeddings
    from expandr_ir.train.small_network import new_network, train_tokenizer

    ready = folder / "model.safetensors"
    recipe = json.dumps(_plain(options) | {"documents": None, "topics": None}, sort_keys=True)
    if ready.is_file() and (folder / "recipe.json").is_file() and (folder / "recipe.json").read_text() == recipe:
        return folder
    texts = [f"{document.title} {document.text}" for document in collection.documents()]
    tokenizer = train_tokenizer(texts, options.vocabulary, options.context)
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    model = new_network(tokenizer, options.hidden_size, options.layers, options.context, options.seed)
    known = torch.from_numpy(cooccurrence_embeddings(ids, len(tokenizer), options.hidden_size, seed=options.seed))
    with torch.no_grad():
        own = model.get_input_embeddings().weight
        own.copy_(torch.where(known.norm(dim=1, keepdim=True) > 0, known * EMBEDDING_LENGTH, own))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    with atomic_write(folder / "recipe.json") as stream:
        stream.write(recipe)
    return folder


EMBEDDING_LENGTH = 0.5
"""Of the embeddings that a small expander starts with; random ones of .02 a dimension have about .3."""


def _stage(
    stage: str, options: SmallOptions, model: Path, rows: Iterator[Demonstration], folder: Path, command: Sequence[str]
) -> Fitted:
    start = ModelOptions(model=str(model))
    tokenizer = load_tokenizer(start)
    prepared = Preparation(tokenizer, options.context, None).demonstrations(rows)
    if not prepared.rows:
        raise InputError(f"nothing to learn in the stage {stage!r}", expected="documents with titles, and train topics")
    given = {"seed": options.seed, "max_length": options.context} | getattr(options, stage)
    return fit(
        Fit(
            kind="sft",
            model=start,
            given=given,
            lora=None,
            heldout=HeldoutOptions(),
            prompt=None,
            train=prepared.rows,
            dev=None,
            counts=prepared.counts,
            settings={"stage": stage},
            inputs={},
            provenance={"collection": options.collection},
        ),
        tokenizer,
        folder,
        command,
    )


def _finish(
    options: SmallOptions,
    collection: Collection,
    model: Path,
    stages: dict[str, Fitted],
    rows: tuple[list[TrainingRow], list[TrainingRow]],
    output: Path,
    command: Sequence[str],
    started: Any,
) -> Small:
    """Everything but the work into the folder, its manifest last."""
    from safetensors import safe_open

    from expandr_ir.train.run_folder import read_curves

    for name, part in zip(("learnt", "kept"), rows, strict=True):
        with atomic_write(output / "rows" / f"{name}.jsonl") as stream:
            stream.writelines(json.dumps(row_json(row), ensure_ascii=False) + "\n" for row in part)
    note = NOTE.format(name=collection.name)
    with atomic_write(output / "README.md") as stream:
        stream.write(f"# A small expander\n\n{note}\n")
    block = {
        "engine": "local",
        "model": str(output.resolve()),
        "prompt": options.prompt,
        "decoding": {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 2 * options.passage_words},
        "local": {"dtype": "float32"},
        "notes": note,
    }
    with atomic_write(output / "generator.yaml") as stream:
        yaml.safe_dump(block, stream, sort_keys=False, allow_unicode=True)
    files = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    for name in (*files, "model.safetensors"):
        shutil.copyfile(model / name, output / name)
    with safe_open(str(output / "model.safetensors"), "pt") as tensors:
        parameters = sum(int(tensors.get_tensor(name).numel()) for name in tensors.keys())  # noqa: SIM118
    losses = {stage: _last_loss(read_curves(output / "work" / stage)) for stage in stages}
    counts = {"learnt": len(rows[0]), "kept": len(rows[1]), "parameters": parameters}
    for stage, fitted in stages.items():
        counts |= {f"{stage}_{name}": fitted.counts[name] for name in ("rows", "tokens", "truncated_answers")}
        counts[f"{stage}_steps"] = fitted.steps
    write_manifest(
        output / "model.safetensors",
        command=command,
        started=started,
        config=_plain(options),
        seeds={"seed": options.seed},
        counts=counts,
        details={"losses": losses, "note": note, "collection": {"name": collection.name, "spec": collection.spec}},
    )
    return Small(output, parameters, losses, len(rows[0]), len(rows[1]))


def _last_loss(curves: Sequence[dict[str, Any]]) -> float:
    """Of the last logged step; where none was logged, the mean of all steps."""
    last = next((point["loss"] for point in reversed(curves) if "loss" in point), None)
    return float(last if last is not None else next(point["train_loss"] for point in curves if "train_loss" in point))


def _plain(options: SmallOptions) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain
