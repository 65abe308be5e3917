"""PyTerrier transformers around any expander and retriever: `Expand(expander) >> Retrieve(bm25)`.

They run under `pt.Experiment` and need no Terrier. Frames have PyTerrier's columns: topics qid and query, runs also
docno, score and rank. Imports expanders, retrievers and io.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expandr_ir.errors import InputError
from expandr_ir.io.runs import Run
from expandr_ir.records import ExpandedTopic, Expansion, Topic
from expandr_ir.runtime import require

if TYPE_CHECKING:
    import pandas as pd

    from expandr_ir.expanders import Expander
    from expandr_ir.retrievers import Retriever

pt: Any = require("pyterrier", "pyterrier")

EXPANSIONS = "expansions"
"""The column that `Expand` adds: of each topic, a list of texts."""


class Expand(pt.Transformer):  # type: ignore[misc]
    """Adds an LLM's expansions to topics.

    The query stays as it is and the texts go into the column `expansions`, so that `Retrieve` applies the retriever's
    own aggregation, dense ones included. `as_query=True` makes one query of topic and texts in place of that, for any
    other retriever of PyTerrier; the topic itself is then in `query_0`, as PyTerrier's own rewriters keep it.

    Args:
        expander: the expander.
        as_query: make a new query of topic and texts.
    """

    def __init__(self, expander: Expander, as_query: bool = False) -> None:
        super().__init__()
        self.expander, self.as_query = expander, as_query

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        """The topics (qid, query) with the column `expansions`, or with `query_0`; topics without a text keep none."""
        _check_columns(self, topics)
        queries = {str(qid): query for qid, query in zip(topics["qid"], topics["query"], strict=True)}
        expanded = self.expander.expand(queries) if queries else {}  # PyTerrier looks at columns with an empty frame
        texts = [[e.text for e in expanded[key].expansions] if key in expanded else [] for key in queries]
        if not self.as_query:
            return topics.assign(**{EXPANSIONS: texts})
        new = [" ".join([query, *filter(str.strip, more)]) for query, more in zip(topics["query"], texts, strict=True)]
        return pt.model.push_queries(topics).assign(query=new)

    def __repr__(self) -> str:
        return f"Expand({self.expander!r})"


class Retrieve(pt.Transformer):  # type: ignore[misc]
    """Searches topics with a retriever, with their expansions where `Expand` came before.

    Args:
        retriever: the retriever.
    """

    def __init__(self, retriever: Retriever) -> None:
        super().__init__()
        self.retriever = retriever

    def transform(self, topics: pd.DataFrame) -> pd.DataFrame:
        """One row a hit: the topic's columns, docno, score, and rank, which counts from 0 as PyTerrier's do."""
        _check_columns(self, topics)
        texts = topics[EXPANSIONS] if EXPANSIONS in topics else [[] for _ in range(len(topics))]
        expanded = {
            str(qid): ExpandedTopic(
                Topic(str(qid), query), tuple(Expansion(sample, text) for sample, text in enumerate(more))
            )
            for qid, query, more in zip(topics["qid"], topics["query"], texts, strict=True)
        }
        hits = (self.retriever.search(expanded) if expanded else Run()).to_frame()
        hits = hits.rename(columns={"topic_id": "qid", "doc_id": "docno"}).assign(rank=hits["rank"] - 1)
        return topics.assign(qid=topics["qid"].astype(str)).merge(hits, on="qid", how="inner")

    def __repr__(self) -> str:
        return f"Retrieve({self.retriever.label})"


def _check_columns(transformer: object, frame: pd.DataFrame) -> None:
    if missing := [name for name in ("qid", "query") if name not in frame]:
        columns = ", ".join(map(str, frame.columns)) or "none"
        raise InputError(
            f"{transformer!r} was given the columns {columns}, without {missing[0]}",
            expected="a frame with qid and query",
        )
