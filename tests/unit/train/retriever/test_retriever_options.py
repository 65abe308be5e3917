"""The configurations of conf/train, and options that make no sense."""

from __future__ import annotations

import pytest

from expandr_ir.cli.parser import parse
from expandr_ir.cli.table import VERBS
from expandr_ir.errors import InputError
from expandr_ir.train.retriever.options import (
    DevOptions,
    ObjectiveOptions,
    RetrieverOptions,
    RowOptions,
    training_arguments,
)

ALONE = ObjectiveOptions(aggregation="none")


def options_of(name, *words):
    words = ["--config", f"retriever-{name}", "--data.rows", "r", "--data.expansions", "e", "--output", "o", *words]
    return parse("train retriever", VERBS["train retriever"], RetrieverOptions, words)


def test_expandr():
    options = options_of("expandr")
    objective, training = options.objective, options.training
    lengths = (options.max_length, options.query_max_length)
    assert (options.encoder, options.normalize, lengths) == ("anchordr", True, (512, 512))
    assert (objective.aggregation, objective.temperature, objective.normalize) == ("mean", 0.02, False)
    assert (options.data.negatives, options.data.rows, options.data.expansions) == (1, "r", "e")
    assert (training["learning_rate"], training["num_train_epochs"]) == (1e-5, 3)
    assert training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] * 2 == 1024


def test_llm_qe():
    options = options_of("llm-qe", "--training.learning_rate", "1e-6")
    objective, training = options.objective, options.training
    assert (objective.aggregation, objective.normalize, options.encoder) == ("expansion", True, "contriever")
    assert (float(training["learning_rate"]), training["num_train_epochs"]) == (1e-6, 3)
    assert options.searched_by == "mean"


def test_reinforced_ir():
    options = options_of("reinforced-ir")
    objective = options.objective
    weights = (objective.answer_weight, objective.norm_weight, objective.answer_passage_weight)
    assert (objective.aggregation, objective.listwise, weights) == ("none", True, (1, 1, 0))
    assert (objective.temperature, objective.answer_temperature, objective.across_processes) == (0.02, 0.05, True)
    assert (options.data.negatives, options.expansion_prefix) == (15, "Generate the topic about this passage: ")


def retriever(expansions=None, **options):
    return RetrieverOptions(encoder="any", data=RowOptions("r", expansions=expansions), output="o", **options)


def test_expansions_are_needed_where_they_are_read():
    retriever(objective=ALONE)
    for options in ({}, {"objective": ObjectiveOptions(aggregation="none", norm_weight=1)}):
        with pytest.raises(InputError, match="no expansions to train with"):
            retriever(**options)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (DevOptions, {"share": 1}, "dev.share is 1"),
        (DevOptions, {"share": 0.1, "rows": "r"}, "share and rows"),
        (DevOptions, {"patience": 3}, "no queries"),
        (DevOptions, {"share": 0.1, "patience": 0}, "dev.patience is 0"),
        (DevOptions, {"share": 0.1, "documents": 0}, "dev.documents is 0"),
        (DevOptions, {"share": 0.1, "expansions": "e"}, "expansions with dev.share"),
        (DevOptions, {"share": 0.1, "aggregation": "men"}, "Try: mean"),
        (RowOptions, {"rows": "r", "negatives": -1}, "negatives is -1"),
        (RowOptions, {"rows": "r", "drop_expansions": 1.0}, "drop_expansions is 1"),
        (retriever, {"expansions": "e", "max_length": 0}, "max_length is 0"),
    ],
)
def test_options_that_make_no_sense(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learnin_rate": 1}, "learning_rate"),
        ({"output_dir": "x"}, "--output DIR"),
        ({"eval_strategy": "steps"}, "without a dev set"),
    ],
)
def test_training_arguments_that_do_not_fit(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        training_arguments(given, tmp_path, None)
