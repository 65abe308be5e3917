"""The configurations of conf/train, and options that make no sense."""

from __future__ import annotations

import pytest

from expandr_ir.cli.arguments import parse
from expandr_ir.cli.train.retriever import VERB, Options
from expandr_ir.errors import InputError
from expandr_ir.train.retriever_options import DevOptions, ObjectiveOptions, RetrieverOptions, RowOptions

REST = ["--data.rows", "r", "--data.expansions", "e", "--output", "o"]


def test_expandr():
    options = parse(VERB, Options, ["--config", "retriever-expandr", *REST])
    objective, training = options.objective, options.training
    assert (options.encoder, options.normalize, options.max_length, options.query_max_length) == (
        "anchordr",
        True,
        512,
        512,
    )
    assert (objective.aggregation, objective.temperature, objective.normalize) == ("mean", 0.02, False)
    assert (options.data.negatives, options.data.rows, options.data.expansions) == (1, "r", "e")
    assert (training["learning_rate"], training["num_train_epochs"]) == (1e-5, 3)
    assert training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] * 2 == 1024


def test_llm_qe():
    options = parse(VERB, Options, ["--config", "retriever-llm-qe", *REST, "--training.learning_rate", "1e-6"])
    assert (options.objective.aggregation, options.objective.normalize, options.encoder) == (
        "expansion",
        True,
        "contriever",
    )
    assert options.training["num_train_epochs"] == 3
    assert float(options.training["learning_rate"]) == 1e-6


def test_reinforced_ir():
    options = parse(VERB, Options, ["--config", "retriever-reinforced-ir", *REST])
    objective = options.objective
    assert (objective.aggregation, objective.listwise, objective.answer_weight, objective.norm_weight) == (
        "none",
        True,
        1,
        1,
    )
    assert (objective.temperature, objective.answer_temperature, objective.answer_passage_weight) == (0.02, 0.05, 0)
    assert objective.across_processes
    assert (options.data.negatives, options.expansion_prefix) == (15, "Generate the topic about this passage: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1}, "share is 1"),
        ({"share": 0.1, "rows": "r"}, "share and rows"),
        ({"patience": 3}, "no queries"),
        ({"share": 0.1, "patience": 0}, "patience is 0"),
        ({"share": 0.1, "documents": 0}, "documents is 0"),
        ({"share": 0.1, "expansions": "e"}, "expansions with dev.share"),
        ({"share": 0.1, "aggregation": "men"}, "Try: mean"),
    ],
)
def test_dev_options_that_make_no_sense(options, message):
    with pytest.raises(InputError, match=message):
        DevOptions(**options)


def test_expansions_are_needed_where_they_are_read():
    with pytest.raises(InputError, match="no expansions to train with"):
        RetrieverOptions("any", RowOptions("r"))
    RetrieverOptions("any", RowOptions("r"), ObjectiveOptions(aggregation="none"))
    with pytest.raises(InputError, match="no expansions to train with"):
        RetrieverOptions("any", RowOptions("r"), ObjectiveOptions(aggregation="none", norm_weight=1))
    with pytest.raises(InputError, match="max_length is 0"):
        RetrieverOptions("any", RowOptions("r", expansions="e"), max_length=0)
    with pytest.raises(InputError, match="negatives is -1"):
        RowOptions("r", negatives=-1)
    with pytest.raises(InputError, match="drop_expansions is 1"):
        RowOptions("r", drop_expansions=1.0)
