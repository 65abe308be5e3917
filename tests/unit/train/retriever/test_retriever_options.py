"""The configurations of conf/train, and options that make no sense."""

from __future__ import annotations

import pytest

from expandr_ir.cli.parser import parse
from expandr_ir.cli.table import VERBS
from expandr_ir.errors import InputError
from expandr_ir.train.retriever.options import DevOptions, ObjectiveOptions, RetrieverOptions, RowOptions

REST = ["--data.rows", "r", "--data.expansions", "e", "--output", "o"]


def options_of(words):
    return parse("train retriever", VERBS["train retriever"], RetrieverOptions, words)


def retriever(data, **options):
    return RetrieverOptions(encoder="any", data=data, output="o", **options)


def test_expandr():
    options = options_of(["--config", "retriever-expandr", *REST])
    objective, training = options.objective, options.training
    lengths = (options.max_length, options.query_max_length)
    assert (options.encoder, options.normalize, lengths) == ("anchordr", True, (512, 512))
    assert (objective.aggregation, objective.temperature, objective.normalize) == ("mean", 0.02, False)
    assert (options.data.negatives, options.data.rows, options.data.expansions) == (1, "r", "e")
    assert (training["learning_rate"], training["num_train_epochs"]) == (1e-5, 3)
    assert training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] * 2 == 1024


def test_llm_qe():
    options = options_of(["--config", "retriever-llm-qe", *REST, "--training.learning_rate", "1e-6"])
    objective, training = options.objective, options.training
    assert (objective.aggregation, objective.normalize, options.encoder) == ("expansion", True, "contriever")
    assert (float(training["learning_rate"]), training["num_train_epochs"]) == (1e-6, 3)


def test_reinforced_ir():
    options = options_of(["--config", "retriever-reinforced-ir", *REST])
    objective = options.objective
    weights = (objective.answer_weight, objective.norm_weight, objective.answer_passage_weight)
    assert (objective.aggregation, objective.listwise, weights) == ("none", True, (1, 1, 0))
    assert (objective.temperature, objective.answer_temperature, objective.across_processes) == (0.02, 0.05, True)
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
        retriever(RowOptions("r"))
    retriever(RowOptions("r"), objective=ObjectiveOptions(aggregation="none"))
    with pytest.raises(InputError, match="no expansions to train with"):
        retriever(RowOptions("r"), objective=ObjectiveOptions(aggregation="none", norm_weight=1))
    with pytest.raises(InputError, match="max_length is 0"):
        retriever(RowOptions("r", expansions="e"), max_length=0)
    with pytest.raises(InputError, match="negatives is -1"):
        RowOptions("r", negatives=-1)
    with pytest.raises(InputError, match="drop_expansions is 1"):
        RowOptions("r", drop_expansions=1.0)
