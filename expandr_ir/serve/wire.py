"""Requests and answers as JSON: Pyserini's names where its server does the same, all sizes bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expandr_ir.aggregate import dense_aggregation, sparse_aggregation
from expandr_ir.expanders import ExpanderConfig
from expandr_ir.masking import printable
from expandr_ir.retrievers import SearchOptions

MOST_HITS, MOST_SAMPLES, MOST_REPEATS = 1000, 16, 100
MOST_QUERY_CHARACTERS, MOST_TEXT_CHARACTERS = 4_000, 20_000

Aggregation = Annotated[str, Field(max_length=64)]


def _clean(text: str) -> str:
    text = printable(text).strip()
    if not text:
        raise ValueError("a query with a word in it is needed")
    return text


QueryText = Annotated[str, Field(min_length=1, max_length=MOST_QUERY_CHARACTERS), AfterValidator(_clean)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ExpansionText = Annotated[str, Field(max_length=MOST_TEXT_CHARACTERS), AfterValidator(printable)]


class Request(BaseModel):
    """A request; unknown names in it are errors."""

    model_config = ConfigDict(extra="forbid")

    query: QueryText = Field(description="The text to search.")
    expander: Name | None = Field(None, description="A method of expansion, see /v1/expanders.")


class SearchRequest(Request):
    """A search, plain where neither an expander nor texts are given."""

    hits: int = Field(10, ge=1, le=MOST_HITS, description="Documents to return.")
    generator: Name | None = Field(None, description="The LLM; the server's first one where none is named.")
    samples: int | None = Field(
        None, ge=1, le=MOST_SAMPLES, description="Texts; the expander's own number if left out."
    )
    retriever: Literal["sparse", "dense", "hybrid"] = "sparse"
    aggregation: Name | None = Field(None, description="Of query and texts; the expander's own if left out.")
    repeats: int | None = Field(None, ge=1, le=MOST_REPEATS, description="Of the query, for aggregation repeat.")

    def options(self, expander: ExpanderConfig | None, encoder: str | None) -> SearchOptions:
        """The options of the search, an expander's own where the request has none."""
        part = "aggregation" if self.retriever == "hybrid" else f"{self.retriever}_aggregation"
        changes: dict[str, Any] = {"retriever": self.retriever, "hits": self.hits, "encoder": encoder}
        changes |= {part: self.aggregation, "repeats": self.repeats}
        if self.aggregation is not None and self.retriever != "hybrid":
            (sparse_aggregation if self.retriever == "sparse" else dense_aggregation)(self.aggregation)
        if expander is None:
            return SearchOptions(**{name: value for name, value in changes.items() if value is not None})
        return expander.search_options(**changes)


class TextsRequest(SearchRequest):
    """A search with texts that the client brings, such as edited ones."""

    expansions: list[ExpansionText] = Field(default_factory=list, max_length=MOST_SAMPLES)


class ExplainRequest(TextsRequest):
    """The document whose score is to be explained."""

    docid: Annotated[str, Field(min_length=1, max_length=1_000)]


class ExpandRequest(Request):
    """Texts to be written."""

    index: Name | None = Field(None, description="The collection whose documents a prompt may show.")
    expander: Name
    generator: Name | None = None
    samples: int | None = Field(None, ge=1, le=MOST_SAMPLES)


class Query(BaseModel):
    """The query as it was searched; `topic_id` where it is a topic of the collection."""

    text: str
    topic_id: str | None = None


class Candidate(BaseModel):
    """A document found; `grade` is its judgement for the query, if any."""

    docid: str
    score: float
    rank: int
    doc: dict[str, str]
    grade: int | None = None


class Found(BaseModel):
    """A ranking, with the texts that it was searched with."""

    api: Literal["v1"] = "v1"
    index: str
    query: Query
    candidates: list[Candidate]
    run: str = Field(description="Retriever and aggregation.")
    expansions: list[str] = []


class Stored(BaseModel):
    """A document as the index stores it."""

    api: Literal["v1"] = "v1"
    index: str
    docid: str
    doc: dict[str, str]


class Term(BaseModel):
    """The share of a term in a document's BM25 score."""

    term: str
    word: str
    origin: Literal["query", "expansion", "both"]
    score: float


class Explained(BaseModel):
    """The parts of a document's score, largest first."""

    index: str
    docid: str
    terms: list[Term]


class Fault(BaseModel):
    """An error: what was found, what was expected, what to do."""

    error: str
    expected: str | None = None
    remedy: str | None = None
    progress: dict[str, Any] | None = None


def fault(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in a line: the name, and what it should be."""
    place = [part for part in error["loc"] if part not in {"query", "body"}] or error["loc"][-1:]
    return printable(f"{'.'.join(map(str, place))}: {error['msg']}")[:300]
