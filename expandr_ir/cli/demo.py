"""`expandr demo`: the whole path on the embedded collection, or one question of the user's own."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from expandr_ir.collections import load_collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo import expansions_path
from expandr_ir.errors import InputError
from expandr_ir.evaluate.compare import Comparison, compare
from expandr_ir.expanders import ExpandOptions, load_expander
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.files import output_folder
from expandr_ir.records import ExpandedTopic, Topic
from expandr_ir.report import render
from expandr_ir.retrievers import BM25, Hybrid, Retriever
from expandr_ir.retrievers.dense import Dense

logger = logging.getLogger(__name__)

MEASURES = ("nDCG@10", "R@100")
BASELINE = "bm25"
ENCODER = "all-MiniLM-L6-v2"


@dataclass(frozen=True, kw_only=True)
class DemoOptions(ExpandOptions):
    """Options of `expandr demo`.

    Args:
        output: folder for the runs.
        dense: dense and hybrid searches as well, with all-MiniLM-L6-v2; the first time, a minute goes into encoding.
        ask: one question, answered from the index.
        generator: an LLM that expands the question first: a name, a YAML file, or engine:model.
        hits: documents shown for a question.
    """

    output: str = "runs/demo"
    dense: bool = True
    ask: str | None = None
    generator: GeneratorConfig | None = None
    hits: int = 5


def demo(options: DemoOptions) -> str:
    """The comparison as text, or the documents for one question."""
    if options.ask is not None:
        return answer(options, options.ask)
    start = time.perf_counter()
    comparison = tour(output_folder(options.output), dense=options.dense)
    logger.info("%.0f s in all; the runs are in %s", time.perf_counter() - start, options.output)
    return render(comparison, "text", colour=sys.stdout.isatty())


def tour(folder: Path, *, dense: bool = True) -> Comparison:
    """Plain BM25 against searches of the recorded expansions; the topics helped and hurt are those of the best run."""
    collection = load_collection("demo")
    topics = collection.topics()
    logger.info("%d questions about the Python standard library, two recorded LLM expansions each", len(topics))
    expansions = read_expansions(expansions_path(), topics)
    searches: dict[str, Retriever] = {BASELINE: BM25(collection, aggregation="none")}
    searches |= {f"bm25+{name}": BM25(collection, aggregation=name) for name in ("append", "repeat", "adaptive")}
    if dense:
        minilm = Dense(collection, ENCODER, aggregation="mean")
        searches["minilm"] = replace(minilm, aggregation="none")
        searches["minilm+mean"] = minilm
        searches["hybrid"] = Hybrid(BM25(collection, aggregation="append"), minilm, fusion="rrf")
    runs = {}
    for label, retriever in searches.items():
        path = folder / f"{label}.run"
        is_plain = getattr(retriever, "aggregation", None) == "none"
        runs[label] = retriever.search(topics if is_plain else expansions)
        runs[label].save(path, tag=label, inputs={} if is_plain else {"expansions": expansions_path()})
        logger.info("%s", path)
    texts = {topic_id: [expansion.text for expansion in topic.expansions] for topic_id, topic in expansions.items()}
    comparison = compare(
        runs.pop(BASELINE),
        runs,
        collection.qrels(),
        MEASURES,
        baseline_name=BASELINE,
        topics=topics,
        expansions=dict.fromkeys(runs, texts),
    )
    best = max(comparison.runs, key=lambda run: run.scores.means[MEASURES[0]])
    return replace(
        comparison, runs=tuple(run if run is best else replace(run, helped=(), hurt=()) for run in comparison.runs)
    )


def answer(options: DemoOptions, question: str) -> str:
    """The best documents for the question, below what an LLM wrote for it where one is named."""
    if not question.strip():
        raise InputError("the question is blank", expected="a question about the Python standard library")
    plain = ExpandOptions()
    changed = [field.name for field in fields(plain) if getattr(options, field.name) != getattr(plain, field.name)]
    if options.generator is None and changed:
        raise InputError(
            f"--{changed[0].replace('_', '-')} says something to an LLM, and none is named",
            remedy="--generator NAME, or leave it out",
        )
    collection = load_collection("demo")
    expanded = ExpandedTopic(Topic("ask", question))
    if options.generator is not None:
        with load_expander(generator=options.generator, collection=collection, options=options) as expander:
            expanded = expander.expand({"ask": question})["ask"]
    lines = [
        textwrap.fill(expansion.text, 100, initial_indent="  | ", subsequent_indent="  | ") + "\n"
        for expansion in expanded.expansions
    ]
    hits = BM25(collection, hits=options.hits).search({"ask": expanded})["ask"]
    texts = {document.doc_id: document.text for document in collection.documents()}
    for hit in hits:
        lines.append(f"{hit.rank}. {hit.doc_id}  ({hit.score:.2f})")
        lines.append(f"   {textwrap.shorten(texts[hit.doc_id], 160, placeholder=' ...')}")
    return "\n".join(lines if hits else [*lines, "nothing was found"])
