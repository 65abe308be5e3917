"""Our transformers under PyTerrier's own Experiment, without Terrier or its Java."""

from __future__ import annotations

import pandas as pd
import pytest

import expandr_ir as ex
from expandr_ir.demo import expansions_path
from expandr_ir.errors import InputError

pt = pytest.importorskip("pyterrier")
pytestmark = pytest.mark.java


@pytest.fixture(scope="module")
def demo():
    return ex.load_collection("demo")


@pytest.fixture(scope="module")
def frames(demo):
    topics = pd.DataFrame([(t.topic_id, t.text) for t in demo.topics().values()], columns=["qid", "query"])
    rows = [(topic_id, doc_id, grade) for topic_id, docs in demo.qrels().items() for doc_id, grade in docs.items()]
    return topics, pd.DataFrame(rows, columns=["qid", "docno", "label"])


@pytest.fixture
def expander(demo, tmp_path):
    options = ex.ExpandOptions(samples=2)
    generator = f"replay:{expansions_path()}"
    with ex.load_expander(generator=generator, store=tmp_path / "s.sqlite", options=options) as opened:
        yield opened


def test_an_experiment_gives_the_figures_of_the_command_line(demo, frames, expander):
    from expandr_ir.pyterrier import Expand, Retrieve

    plain, append = ex.BM25(demo), ex.BM25(demo, aggregation="append")
    table = pt.Experiment(
        [Retrieve(plain), Expand(expander) >> Retrieve(append), Expand(expander, as_query=True) >> Retrieve(plain)],
        *frames,
        eval_metrics=["ndcg_cut_10", "recall_100"],
        names=["bm25", "append", "as query"],
        baseline=0,
    )
    assert not pt.java.started()
    measured = dict(zip(table["name"], table["ndcg_cut_10"], strict=True))
    runs = {"append": append.search(expander.expand(demo.topics()))}
    ours = ex.compare(plain.search(demo.topics()), runs, demo.qrels(), ["nDCG@10"])
    assert measured["bm25"] == pytest.approx(ours.baseline.means["nDCG@10"], abs=1e-9)
    assert measured["append"] == pytest.approx(ours.runs[0].scores.means["nDCG@10"], abs=1e-9)
    assert measured["as query"] == pytest.approx(measured["append"], abs=1e-9)


def test_columns_as_pyterrier_has_them(demo, frames, expander):
    from expandr_ir.pyterrier import Expand, Retrieve

    topics = frames[0].head(2)
    expanded = Expand(expander)(topics)
    assert list(expanded.columns) == ["qid", "query", "expansions"]
    assert [len(texts) for texts in expanded["expansions"]] == [2, 2]
    rewritten = Expand(expander, as_query=True)(topics)
    assert list(rewritten["query_0"]) == list(topics["query"])
    assert rewritten["query"][0].startswith(topics["query"][0])
    run = (Expand(expander) >> Retrieve(ex.BM25(demo, hits=3)))(topics)
    assert {"qid", "query", "docno", "score", "rank"} <= set(run.columns)
    assert list(run["rank"]) == [0, 1, 2, 0, 1, 2]
    with pytest.raises(InputError, match="without query"):
        Retrieve(ex.BM25(demo))(pd.DataFrame({"qid": ["1"]}))
