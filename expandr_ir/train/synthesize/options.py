"""Options of synthetic queries."""

from __future__ import annotations

from dataclasses import dataclass, field

from expandr_ir.errors import InputError
from expandr_ir.train.synthesize.checks import Limits
from expandr_ir.train.synthesize.extractive import ExtractiveOptions


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions(Limits):
    """How queries are made of documents.

    Args:
        documents: how many documents are drawn; 15,000 of a corpus are Reinforced-IR's.
        queries: how many queries are made of each.
        strata: the documents are drawn evenly from so many parts of the corpus, from the shortest to the longest.
        min_words: fewest words of a document that is drawn.
        seed: of the draw, of the manners, and of queries without an LLM; an LLM's is `generator.decoding.seed`.
        prompts: of the LLM, names of conf/prompts or YAML files; each document is asked for with some of their manners.
        max_characters: most characters of a document's text that the LLM sees; 8,000 are Reinforced-IR's.
        quality: let an LLM say of each query whether it is fit.
        quality_prompt: of that, shown query and document; the reply begins with 1 or 0.
        quality_generator: who says so; None is the generator of the queries.
        round_trip: keep a query only where BM25 finds its document among so many; null keeps all.
        dev_share: share of the queries, by their hash, that is dev; the others are train.
        extractive: how queries are made where there is no LLM.
        store: the expansion store's file.
        retry_refused: ask again what a content filter refused before.
        batch_samples: samples stored in one commit; None is as in `expandr expand`.
    """

    documents: int = 15_000
    queries: int = 1
    strata: int = 5
    min_words: int = 10
    seed: int = 42
    prompts: list[str] = field(default_factory=lambda: ["synthetic-web"])
    max_characters: int = 8_000
    quality: bool = False
    quality_prompt: str = "synthetic-quality"
    quality_generator: str | None = None
    round_trip: int | None = 20
    dev_share: float = 0.1
    extractive: ExtractiveOptions = field(default_factory=ExtractiveOptions)
    store: str | None = None
    retry_refused: bool = False
    batch_samples: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("documents", "queries", "strata", "min_words", "max_characters", "round_trip"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}", expected="1 or more")
        if not 0 <= self.dev_share < 1:
            raise InputError(f"dev_share is {self.dev_share}", expected="0 or more, below 1")
        if not self.prompts:
            raise InputError("no prompt is named", remedy="--prompts synthetic-web")
