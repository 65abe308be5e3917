"""Queries for a corpus without any: documents are drawn, an LLM or their own words ask for them, checks sift them."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expandr_ir.collections import Collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError, check_fields
from expandr_ir.expanders import ReuseOptions
from expandr_ir.io.files import atomic_write, output_folder, write_jsonl
from expandr_ir.io.manifest import Summary, manifest_path, write_manifest
from expandr_ir.io.qrels import BEIR_HEADER
from expandr_ir.records import Document, Topic
from expandr_ir.retrievers import BM25
from expandr_ir.retrievers.base import Clock
from expandr_ir.train.data.checks import REMEDIES, Dropped, Query, sift
from expandr_ir.train.data.documents import (
    DROPPED,
    Survey,
    corpus_place,
    documents_at,
    draw,
    load_corpus,
    place_corpus,
    survey_corpus,
)
from expandr_ir.train.data.extractive import ExtractiveOptions, Extractor
from expandr_ir.train.data.llm import QueryWriter
from expandr_ir.train.data.split import part_of

logger = logging.getLogger(__name__)

BACKGROUND = 50_000
"""Documents whose words' frequencies are counted: of more, those with the lowest hashes."""


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions(ReuseOptions):
    """Options of `expandr train synthesize`.

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
        min_query_words: fewest words of a query.
        max_query_words: most words of a query.
        copied_share: largest share of the document's words that a query may take over in one stretch.
        near_duplicate: share of their words, |a and b| / |a or b|, at which a query counts as an earlier one; 1 drops
            only those of the same words in another order.
        extractive: how queries are made where there is no LLM.
        corpus: a file corpus.jsonl (plain or .gz), a folder with one, or any collection.
        generator: the LLM: a name of conf/generators, a YAML file, or engine:model.
        without_llm: make the queries of the documents' own words.
        output: folder of the new collection.
        corpus_as: whether its corpus is a link to the file or a copy.
        dry_run: say what is stored, what would be generated and about how many tokens, and stop.
        format: of what is printed: text or json.
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
    min_query_words: int = 2
    max_query_words: int = 40
    copied_share: float = 0.5
    near_duplicate: float = 0.8
    extractive: ExtractiveOptions = field(default_factory=ExtractiveOptions)
    corpus: str
    generator: GeneratorConfig | None = None
    without_llm: bool = False
    output: str
    corpus_as: Literal["link", "copy"] = "link"
    dry_run: bool = False
    format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "documents", "queries", "strata", "min_words", "max_characters", "round_trip", least=1)
        check_fields(self, "min_query_words", least=1)
        if self.min_query_words > self.max_query_words:
            limits = f"queries of {self.min_query_words} to {self.max_query_words} words"
            raise InputError(limits, expected="--min-query-words not above --max-query-words")
        check_fields(self, "copied_share", "near_duplicate", above=0, most=1)
        check_fields(self, "dev_share", least=0, below=1)
        if not self.prompts:
            raise InputError("no prompt is named", remedy="--prompts synthetic-web")
        if self.without_llm == (self.generator is not None):
            both = "--generator and --without-llm" if self.generator else "neither --generator nor --without-llm"
            raise InputError(both, expected="an LLM that writes the queries, or the documents' own words: one of them")
        if self.quality and self.generator is None:
            raise InputError("--quality asks an LLM, and none is named", expected="--generator")


def synthesize(options: SynthesizeOptions) -> Summary:
    """Writes a collection of the corpus, the queries that are fit, and their judgements; its manifest comes last.

    Raises:
        InputError: a corpus, prompt or generator that does not fit.
        ExpandrError: the generator fails, or no query is left.
    """
    folder = output_folder(options.output)
    collection = load_corpus(options.corpus)
    source, target = corpus_place(collection, folder)
    survey = survey_corpus(collection, options.min_words, options.seed)
    places, strata = draw(survey, options.documents, options.strata)
    documents = list(documents_at(collection, places))
    counts = {
        "documents": survey.documents,
        "documents_short": survey.short,
        "documents_duplicate": survey.duplicates,
        "documents_drawn": len(documents),
    }
    with ExitStack() as stack:
        llm = QueryWriter(options, documents, stack) if options.generator else None
        if options.dry_run:
            due = llm.forecast() if llm else {"queries, at most": len(documents) * options.queries}
            return Summary(counts | due, format=options.format)
        clock = Clock()
        queries, dropped = llm.write() if llm else (_extract(collection, survey, documents, options), [])
        fit, unfit = sift(queries, options)
        dropped += unfit
        clock.lap("write")
        if llm and options.quality and fit:
            fit, unfit = llm.judge(fit)
            dropped += unfit
            clock.lap("judge")
    if options.round_trip is not None and fit:
        fit, unfit = _round_trip(collection, fit, options.round_trip)
        dropped += unfit
        clock.lap("round_trip")
        if survey.documents <= options.round_trip:
            hits = f"all {survey.documents} documents are among {options.round_trip} hits"
            logger.warning("the round trip says nothing: %s", hits)
    if not fit:
        raise _nothing_left(dropped)
    reasons = Counter(reason for _, reason in dropped)
    parts = _parts(fit, options.dev_share, options.seed)
    counts |= {"queries": len(fit) + len(dropped), "topics": len(fit)}
    counts |= {f"topics_{name}": len(queries) for name, queries in parts.items()}
    counts |= {f"dropped_{reason}": count for reason, count in reasons.most_common()}
    path = folder / "queries.jsonl"
    manifest_path(path).unlink(missing_ok=True)
    write_jsonl(
        folder / DROPPED, ({"reason": reason, "text": query.text, **_origin(query)} for query, reason in dropped)
    )
    place_corpus(collection, source, target, options.corpus_as)
    _write_queries(path, parts)
    costs = llm.costs() if llm else {"counts": {}, "seconds": {}, "tokens": {}}
    write_manifest(
        path,
        options=options,
        inputs={"corpus": target},
        seeds={"draw": options.seed} | ({"decoding": options.generator.decoding.seed} if options.generator else {}),
        counts=counts | costs["counts"],
        seconds=clock.seconds | costs["seconds"],
        tokens=costs["tokens"],
        details={"collection": collection.identity(), "strata": strata},
    )
    seconds = {f"seconds, {stage}": round(value, 2) for stage, value in clock.seconds.items()}
    code = PartlyDoneError.exit_code if reasons["failed"] else 0
    return Summary(counts | seconds, folder, options.format, code)


def _extract(
    collection: Collection, survey: Survey, documents: Sequence[Document], options: SynthesizeOptions
) -> list[Query]:
    background = documents_at(collection, draw(survey, BACKGROUND, strata=1)[0])
    extractor = Extractor(background, options.extractive, options.seed)
    return [
        Query(document, text, {"kind": kind})
        for document in documents
        for kind, text in extractor.queries(document, options.queries)
    ]


def _round_trip(collection: Collection, queries: Sequence[Query], hits: int) -> tuple[list[Query], list[Dropped]]:
    """The queries whose documents BM25 finds among the first `hits`, and the others."""
    topics = {query.topic_id: Topic(query.topic_id, query.text) for query in queries}
    run = BM25(collection, hits=hits, own_document="keep").search(topics)
    lost: list[Dropped] = [(q, "not_found") for q in queries if q.document.doc_id not in run[q.topic_id].doc_ids]
    return [query for query in queries if query.document.doc_id in run[query.topic_id].doc_ids], lost


def _parts(queries: Sequence[Query], dev_share: float, seed: int) -> dict[str, list[Query]]:
    """The queries of train and, where there is a share for it, dev, by the hashes of the queries."""
    shares = {"dev": dev_share, "train": 1 - dev_share} if dev_share else {"train": 1.0}
    parts: dict[str, list[Query]] = {name: [] for name in reversed(shares)}
    for query in queries:
        parts[part_of(query.text, shares, seed) or "train"].append(query)
    if empty := [name for name, members in parts.items() if not members]:
        raise ExpandrError(
            f"none of the {len(queries)} queries is {empty[0]}",
            expected="queries in each part",
            remedy="more queries (--documents, --queries), or another --dev-share; 0 makes no dev",
        )
    return parts


def _nothing_left(dropped: Sequence[Dropped]) -> ExpandrError:
    if not dropped:
        return ExpandrError(
            "the documents gave no query", expected="titles, sentences or words", remedy="--extractive.kinds phrases"
        )
    reasons = Counter(reason for _, reason in dropped).most_common()
    first = next(query for query, reason in dropped if reason == reasons[0][0])
    said = first.origin.get("error") or first.text[:80]
    return ExpandrError(
        f"none of the {len(dropped)} queries is left: {', '.join(f'{count} {reason}' for reason, count in reasons)}; "
        f"such as {said!r} of document {first.document.doc_id!r}",
        expected="at least one query that is fit",
        remedy=REMEDIES[reasons[0][0]],
    )


def _write_queries(path: Path, parts: Mapping[str, Sequence[Query]]) -> None:
    """Writes qrels/PART.tsv of each part, deletes other parts of an earlier run, and writes the queries last."""
    for other in (path.parent / "qrels").glob("*.tsv"):
        if other.stem not in parts:
            other.unlink()
    for name, queries in parts.items():
        with atomic_write(path.parent / "qrels" / f"{name}.tsv") as stream:
            stream.write("\t".join(BEIR_HEADER) + "\n")
            stream.writelines(f"{query.topic_id}\t{query.document.doc_id}\t1\n" for query in queries)
    topics = itertools.chain.from_iterable(parts.values())
    write_jsonl(path, ({"_id": topic.topic_id, "text": topic.text, "metadata": _origin(topic)} for topic in topics))


def _origin(query: Query) -> dict[str, Any]:
    return {"doc_id": query.document.doc_id, **query.origin}
