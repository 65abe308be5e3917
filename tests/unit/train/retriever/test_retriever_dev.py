"""The dev set: its documents, and the figures of a model whose neighbours are known."""

from __future__ import annotations

import pytest
import torch
from retriever_fixtures import row, tiny_model

from expandr_ir.errors import InputError
from expandr_ir.train.retriever.batch import key_of
from expandr_ir.train.retriever.dev import DevEvaluator, dev_of_rows, nearest
from expandr_ir.train.retriever.options import DevOptions, RetrieverOptions, RowOptions

QUERY = row("a", "q", ["p", "r"], ["n"])


def test_the_documents_of_rows():
    dev = dev_of_rows([QUERY], [row("b", "s", ["p"], ["m"])], None)
    assert sorted(dev.documents.values()) == ["m", "n", "p", "r"]
    assert dev.qrels == {"a": {str(key_of("p")): 1, str(key_of("r")): 1}}
    assert dev.searches("mean") == {"alone": "none"}
    with pytest.raises(InputError, match="no query is held back"):
        dev_of_rows([], [QUERY], None)


def test_the_relevant_documents_are_kept_first():
    others = [row(f"b{at}", "s", [f"p{at}"], [f"n{at}"]) for at in range(20)]
    dev = dev_of_rows([QUERY], others, 5)
    assert len(dev.documents) == 5
    assert {"p", "r"} <= set(dev.documents.values())
    assert list(dev.documents) == list(dev_of_rows([QUERY], others, 5).documents)
    assert sorted(dev_of_rows([QUERY], others, 1).documents.values()) == ["p", "r"]


def test_equal_scores_are_ordered_by_id():
    scores = torch.tensor([[1.0], [3.0], [1.0], [2.0]]).numpy()
    run = nearest(["t"], torch.tensor([[1.0]]).numpy(), ["d", "b", "a", "c"], scores)
    assert run["t"].doc_ids == ["b", "c", "a", "d"]


def test_the_figures_of_a_model(tmp_path):
    """Each query has its positive's own words, and the expansion those of the negative."""
    tiny = tiny_model(tmp_path, normalize=True)
    negatives = {word: [f"no {word[::-1]} at all"] for word in ("zinc", "flea", "deque", "vitamin")}
    dev = dev_of_rows([row(word, word, [word], text, text) for word, text in negatives.items()], [], None)

    def evaluator_of(aggregation):
        data, how = RowOptions("rows", expansions="expansions"), DevOptions(share=0.1, aggregation=aggregation)
        options = RetrieverOptions(encoder="any", data=data, dev=how, output="o")
        return DevEvaluator(dev, tiny.config, options, torch.float32)

    evaluator, alone = evaluator_of("expansion"), evaluator_of("none")
    assert evaluator.primary_metric == "expanded_nDCG@10"
    scores = evaluator(tiny.model)
    assert scores["alone_nDCG@10"] == scores["alone_R@100"] == scores["expanded_R@100"] == 1
    assert scores["expanded_nDCG@10"] < 0.7
    assert tiny.model.training
    assert (alone.primary_metric, set(alone(tiny.model))) == ("alone_nDCG@10", {"alone_nDCG@10", "alone_R@100"})
