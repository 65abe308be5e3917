"""`expandr demo`: the whole path on the embedded collection, or one question of the user's own."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path

from expandr_ir.collections import load_collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo import expansions_path, smollm2_path
from expandr_ir.errors import InputError, NotInstalledError, check_fields
from expandr_ir.evaluate.compare import Comparison, compare
from expandr_ir.expanders import ExpandOptions, load_expander
from expandr_ir.generators.gguf import SMALL_LLM, small_llm
from expandr_ir.generators.local import LocalGenerator
from expandr_ir.io.expansions import Expansions, read_expansions
from expandr_ir.io.files import output_folder
from expandr_ir.masking import printable
from expandr_ir.progress import quiet
from expandr_ir.records import Hits
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
        ask: one question, answered from the index, alone and with what an LLM writes about it.
        generator: that LLM: a name, a YAML file, or engine:model; None takes smollm2, where its package is installed.
        hits: documents shown for a question.
    """

    output: str = "runs/demo"
    dense: bool = True
    ask: str | None = None
    generator: GeneratorConfig | None = None
    hits: int = 5


def demo(options: DemoOptions) -> str:
    """The comparison as text, or the documents for one question before and after an LLM expands it."""
    if options.ask is not None:
        return answer(options, options.ask)
    start = time.perf_counter()
    comparison = tour(output_folder(options.output), dense=options.dense)
    logger.info("%.0f s in all; the runs are in %s", time.perf_counter() - start, options.output)
    return render(comparison, "text", colour=sys.stdout.isatty())


def tour(folder: Path, *, dense: bool = True) -> Comparison:
    """Plain BM25 against searches of recorded expansions; the topics helped and hurt are those of the best run."""
    collection = load_collection("demo")
    topics = collection.topics()
    logger.info("%d questions about the Python standard library, and what two LLMs wrote about each", len(topics))
    large, small = ((path, read_expansions(path, topics)) for path in (expansions_path(), smollm2_path()))
    bm25, minilm = BM25(collection, aggregation="repeat"), Dense(collection, ENCODER, aggregation="mean")
    searches: dict[str, tuple[Retriever, tuple[Path, Expansions] | None]] = {
        BASELINE: (replace(bm25, aggregation="none"), None),
        **{f"bm25+{name}": (replace(bm25, aggregation=name), large) for name in ("append", "repeat", "adaptive")},
        "bm25+smollm2": (bm25, small),
    }
    if dense:
        searches["minilm"] = replace(minilm, aggregation="none"), None
        searches["minilm+mean"] = minilm, large
        searches["hybrid"] = Hybrid(replace(bm25, aggregation="append"), minilm, fusion="rrf"), large
    runs, texts = {}, {}
    for label, (retriever, recorded) in searches.items():
        path = folder / f"{label}.run"
        runs[label] = retriever.search(recorded[1] if recorded else topics)
        runs[label].save(path, tag=label, inputs={"expansions": recorded[0]} if recorded else {})
        written = recorded[1] if recorded else {}
        texts[label] = {i: [expansion.text for expansion in topic.expansions] for i, topic in written.items()}
        logger.info("%s", path)
    comparison = compare(
        runs.pop(BASELINE),
        runs,
        collection.qrels(),
        MEASURES,
        baseline_name=BASELINE,
        topics=topics,
        expansions=texts,
    )
    best = max(comparison.runs, key=lambda run: run.scores.means[MEASURES[0]])
    return replace(
        comparison, runs=tuple(run if run is best else replace(run, helped=(), hurt=()) for run in comparison.runs)
    )


def answer(options: DemoOptions, question: str) -> str:
    """The best documents for the question alone and, where there is an LLM, with the text that it writes."""
    if not question.strip():
        raise InputError("the question is blank", expected="a question about the Python standard library")
    check_fields(options, "hits", least=1)
    llm = options.generator or _installed_llm(options)
    collection = load_collection("demo")
    bm25, texts = BM25(collection), {document.doc_id: document.text for document in collection.documents()}
    alone = bm25.search({"ask": question})["ask"]
    if llm is None:
        return "\n".join(_listed(alone, options.hits, texts))
    is_terminal, streamed = sys.stdout.isatty(), dict[str, int]()
    with load_expander(generator=llm, collection=collection, options=options) as expander, quiet(is_terminal):
        if is_terminal and isinstance(expander.generator, LocalGenerator):
            expander.generator.listener = partial(_show, streamed)
        expanded = expander.expand({"ask": question})["ask"]
    if streamed:
        print("\n")
    lines = [
        textwrap.fill(expansion.text, 100, initial_indent="  | ", subsequent_indent="  | ") + "\n"
        for expansion in expanded.expansions
        if expansion.key not in streamed
    ]
    ranks, after = {hit.doc_id: hit.rank for hit in alone}, bm25.search({"ask": expanded})["ask"]
    before, now = _listed(alone, options.hits, texts), _listed(after, options.hits, texts, ranks)
    return "\n".join(["BM25:", *before, "", *lines, "BM25 with this text:", *now])


def _listed(hits: Hits, n: int, texts: Mapping[str, str], ranks: Mapping[str, int] | None = None) -> Iterator[str]:
    """The first documents in two lines each, with their ranks of before."""
    for hit in islice(hits, n):
        before = f", before {ranks.get(hit.doc_id, '-')}" if ranks is not None else ""
        yield f"{hit.rank}. {hit.doc_id}  ({hit.score:.2f}{before})"
        yield f"   {textwrap.shorten(texts[hit.doc_id], 160, placeholder=' ...')}"
    if not len(hits):
        yield "nothing was found"


def _show(streamed: dict[str, int], key: str, text: str) -> None:
    """Prints what is new of the text of the first sample; `streamed` has the characters that stand there by its key."""
    if not streamed or key in streamed:
        text = text.rstrip("\ufffd")  # the beginning of a character
        print(printable(text[streamed.get(key, 0) :]), end="", flush=True)
        streamed[key] = len(text)


def _installed_llm(options: DemoOptions) -> GeneratorConfig | None:
    """The LLM of the demo, if its package is installed."""
    plain = ExpandOptions()
    try:
        return small_llm()
    except NotInstalledError as error:
        changed = [field.name for field in fields(plain) if getattr(options, field.name) != getattr(plain, field.name)]
        if changed:
            raise InputError(
                f"--{changed[0].replace('_', '-')} says something to an LLM, and {SMALL_LLM} is not installed",
                remedy=f"{error.remedy}, or --generator NAME",
            ) from error
        logger.info("an LLM expands the question after: %s", error.remedy)
        return None
