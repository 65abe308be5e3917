"""Options of training a retriever: ours, and sentence-transformers' and PEFT's under their own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expandr_ir.aggregate.dense import DenseOptions, dense_aggregation
from expandr_ir.config import JsonField, fitted_options
from expandr_ir.errors import InputError, check_fields
from expandr_ir.runtime import pick_device, pick_dtype, require

EVALUATE_STEPS = 200
"""Steps between evaluations where training.eval_steps says nothing (ExpandR's)."""

NOT_HERE = {
    "output_dir": "--output DIR",
    "resume_from_checkpoint": "nothing: what was broken off goes on from its last whole checkpoint",
    "load_best_model_at_end": "--dev.share .1: the best checkpoint is kept wherever there is a dev set",
    "prompts": "query_prefix and document_prefix of the encoder's YAML file",
    "batch_sampler": "nothing: copies of a positive are masked (--objective.mask-duplicates)",
    "max_length": "--max-length, --query-max-length",
    "group_by_length": "nothing: a batch's texts are sorted by length",
    "dataloader_persistent_workers": "nothing: what is drawn differs from epoch to epoch",
    "push_to_hub": "hf upload, when training is done",
}
"""Arguments of sentence-transformers that have a place of their own here, or none, and what to type."""


@dataclass(frozen=True)
class RowOptions:
    """The rows that a retriever is trained on.

    Args:
        rows: a JSONL of rows, a folder of them, a collection, or hub:ID (see `expandr_ir.train.data.rows`).
        split: of a collection or a data set.
        expansions: what `expandr expand` wrote for the rows' queries, by row_id.
        without_expansion: what happens to a row that has none: "refuse" is an error, "alone" trains on its query alone,
            "drop" leaves it out. An expansion that is there and empty counts as the query itself.
        positive_among_negatives: "refuse" is an error, "drop" takes the text from the negatives.
        negatives: hard negatives of each row; a row that has fewer brings what it has.
        draw_expansion: one of the row's expansions for each epoch, in place of all.
        draw_negatives: other negatives for each epoch, in place of the first ones.
        drop_expansions: share of the turns in which a row is trained on its query alone, drawn for each row and epoch:
            where expansions give the answer away, nothing else would be learned.
    """

    rows: str
    split: str | None = None
    expansions: str | None = None
    without_expansion: Literal["refuse", "alone", "drop"] = "refuse"
    positive_among_negatives: Literal["refuse", "drop"] = "refuse"
    negatives: int = 1
    draw_expansion: bool = False
    draw_negatives: bool = False
    drop_expansions: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "negatives", least=0)
        check_fields(self, "drop_expansions", least=0, below=1)


@dataclass(frozen=True)
class ObjectiveOptions:
    """The objective of a retriever's training.

    Args:
        aggregation: how a query and its expansions become the query's vector, one of the dense aggregations: "mean" is
            ExpandR's, "expansion" LLM-QE's, "none" leaves the expansions out.
        dense: its numbers; with `normalize_parts` each text's vector is L2-normalised, the documents' too.
        temperature: what scores are divided by; 1 leaves them as they are.
        normalize: cosines in place of dot products, the query's vector being normalised after its aggregation.
        listwise: learn the order in which a row has its positive and its negatives (Plackett-Luce) in place of InfoNCE
            of the positive.
        alone_weight: weight of the same loss of the query's own vector, without its expansions: where expansions give
            the answer away, little is learned of the query otherwise.
        answer_weight: weight of InfoNCE of the query's own vector and each of its expansions over the expansions of
            other rows; dot products over `answer_temperature`.
        answer_temperature: of `answer_weight`.
        answer_passage_weight: weight of InfoNCE of each expansion and its row's positive over all documents.
        norm_weight: weight of the mean of (||f(expansion)|| - 1)^2.
        mask_duplicates: a document of the batch that answers a row and is not its target is no negative of it.
        across_processes: documents (and expansions as answers) of all processes are candidates.
    """

    aggregation: str = "mean"
    dense: DenseOptions = field(default_factory=DenseOptions)
    temperature: float = 0.02
    normalize: bool = True
    listwise: bool = False
    alone_weight: float = 0.0
    answer_weight: float = 0.0
    answer_temperature: float = 0.05
    answer_passage_weight: float = 0.0
    norm_weight: float = 0.0
    mask_duplicates: bool = True
    across_processes: bool = True

    def __post_init__(self) -> None:
        dense_aggregation(self.aggregation)
        check_fields(self, "temperature", "answer_temperature", above=0)
        check_fields(self, "alone_weight", "answer_weight", "answer_passage_weight", "norm_weight", least=0)
        if (self.reads_answers or self.alone_weight) and self.aggregation in {"concat", "expansion"}:
            raise InputError(
                f"the aggregation {self.aggregation!r} with weights on the query's own vector",
                expected="an aggregation that keeps the query's own vector, such as none or weighted",
            )

    @property
    def reads_answers(self) -> bool:
        """Tells that the expansions' own vectors have a part in the loss."""
        return self.answer_weight + self.answer_passage_weight + self.norm_weight > 0


@dataclass(frozen=True)
class DevOptions:
    """The queries that the retriever is judged by while it is trained; they are never trained on.

    With `share` or `rows`, the documents are all positives and negatives of the rows at hand, and a query's positives
    are what is to be found. With `collection`, they are its documents.

    Args:
        share: of the training rows, chosen by a hash of their ids.
        rows: rows of their own instead; their expansions stand in `expansions`.
        collection: a collection instead: its topics of `split` and their judgements.
        split: of the collection.
        expansions: of the queries; with `share` they have those of the training rows.
        documents: most documents: the relevant ones, then others by a hash of their ids. None is all.
        aggregation: how a query and its expansions are searched; None is the objective's, but "mean" where that is
            "expansion", as LLM-QE evaluates.
        patience: evaluations without a better one after which training ends; None trains to the end.
    """

    share: float = 0.0
    rows: str | None = None
    collection: str | None = None
    split: str | None = None
    expansions: str | None = None
    documents: int | None = None
    aggregation: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, "share", prefix="dev.", least=0, below=1)
        check_fields(self, "documents", "patience", prefix="dev.", least=1)
        named = [name for name in ("share", "rows", "collection") if getattr(self, name)]
        if len(named) > 1:
            raise InputError(f"dev has {' and '.join(named)}", expected="one of share, rows, collection")
        if self.aggregation is not None:
            dense_aggregation(self.aggregation)
        if not named and (self.patience is not None or self.expansions or self.documents is not None):
            raise InputError("dev has options and no queries", expected="dev.share, dev.rows or dev.collection")
        if self.share and self.expansions:
            raise InputError(
                "dev.expansions with dev.share, whose queries have the training rows' own",
                expected="dev.expansions with dev.rows or dev.collection",
                remedy="--data.expansions FILE alone",
            )


@dataclass(frozen=True, kw_only=True)
class RetrieverOptions:
    """A retriever's training.

    Args:
        encoder: what is trained: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        data: the rows.
        objective: what it is trained for.
        dev: the queries it is judged by meanwhile.
        query_max_length: longest query in tokens; None is the encoder's.
        max_length: longest document in tokens; None is the encoder's.
        normalize: whether the encoder, and the one it becomes, L2-normalises every vector; None is the encoder's own.
        expansion_role: whether expansions are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each expansion; None is the encoder's own.
        cached: gradients are cached, so that memory does not grow with the batch; half as much again is computed.
        batch_tokens: most tokens encoded at once; None is 4,096 on a CPU, 65,536 elsewhere. Cached, it is what memory
            is needed for.
        training: sentence-transformers' training arguments by their own names, such as learning_rate,
            num_train_epochs, per_device_train_batch_size, gradient_accumulation_steps, bf16, gradient_checkpointing,
            eval_steps, report_to, seed.
        lora: peft's LoraConfig by its own names, such as r, lora_alpha, target_modules; None trains all weights.
        output: folder of the trained encoder; checkpoints and log stand beside it, in OUTPUT.training.
    """

    encoder: str
    data: RowOptions
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    dev: DevOptions = field(default_factory=DevOptions)
    query_max_length: int | None = None
    max_length: int | None = None
    normalize: bool | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    cached: bool = False
    batch_tokens: int | None = None
    training: dict[str, JsonField] = field(default_factory=dict)
    lora: dict[str, JsonField] | None = None
    output: str

    def __post_init__(self) -> None:
        check_fields(self, "query_max_length", "max_length", "batch_tokens", least=1)
        reads = self.objective.aggregation != "none" or self.objective.reads_answers
        if reads and not self.data.expansions:
            raise InputError(
                f"the aggregation {self.objective.aggregation!r} has no expansions to train with",
                expected="an expansions file",
                remedy="--data.expansions FILE, or --objective.aggregation none",
            )

    @property
    def searched_by(self) -> str:
        """The aggregation by which queries and expansions are searched."""
        named = self.dev.aggregation or self.objective.aggregation
        return "mean" if named == "expansion" and not self.dev.aggregation else named


def training_arguments(given: Mapping[str, Any], folder: Path, primary_metric: str | None) -> Any:
    """sentence-transformers' training arguments: its defaults, the given ones, those of device and dev set."""
    torch = require("torch")
    block = require("sentence_transformers").SentenceTransformerTrainingArguments
    options = training_options(given)
    device = torch.device("cpu") if options.get("use_cpu") else pick_device()
    if not {"bf16", "fp16"} & options.keys():
        options["bf16"] = pick_dtype("auto", device) == torch.bfloat16
    defaults: dict[str, Any] = {"use_cpu": device.type == "cpu", "dataloader_pin_memory": device.type != "cpu"}
    defaults |= {"report_to": [], "save_total_limit": 2, "disable_tqdm": True, "logging_steps": 10}
    if primary_metric is not None:
        steps = options.get("eval_steps", EVALUATE_STEPS)
        defaults |= {"eval_strategy": "steps", "eval_steps": steps, "save_steps": steps, "load_best_model_at_end": True}
        defaults |= {"metric_for_best_model": f"eval_{primary_metric}", "greater_is_better": True}
    elif options.get("eval_strategy", "no") != "no":
        raise InputError("training.eval_strategy without a dev set", remedy="--dev.share .1")
    try:
        return block(output_dir=str(folder), **defaults | options)
    except (ValueError, TypeError) as error:
        raise InputError(f"--training: {error}", expected="training arguments that fit together") from error


def training_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given arguments of sentence-transformers, in their types; nothing is added."""
    for name in given:
        if name in NOT_HERE:
            raise InputError(f"training.{name} is not an option here", remedy=NOT_HERE[name])
    block = require("sentence_transformers").SentenceTransformerTrainingArguments
    return fitted_options(block, given, "--training")
