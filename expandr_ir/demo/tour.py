"""What `expandr demo` does: the whole path on the embedded collection, or one question of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from expandr_ir.collection import Collection, load_collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo import expansions_path
from expandr_ir.errors import InputError
from expandr_ir.evaluate.compare import Comparison, compare
from expandr_ir.expand import expand
from expandr_ir.expansions_file import read_expansions
from expandr_ir.manifest import write_manifest
from expandr_ir.pipeline import ExpandOptions, opened, prepare, usable
from expandr_ir.records import Document, ExpandedTopic, Hit, Run, Topic
from expandr_ir.retrieve import SearchOptions, plain, search
from expandr_ir.retrieve.base import Counting, uncounted
from expandr_ir.runs import write_run

MEASURES = ("nDCG@10", "R@100")
BASELINE = "bm25"
SPARSE = {f"bm25+{name}": SearchOptions(aggregation=name) for name in ("append", "repeat", "adaptive")}
ENCODER = "all-MiniLM-L6-v2"
DENSE = {
    "minilm": SearchOptions(retriever="dense", encoder=ENCODER, aggregation="none"),
    "minilm+mean": SearchOptions(retriever="dense", encoder=ENCODER, aggregation="mean"),
    "hybrid": SearchOptions(
        retriever="hybrid", encoder=ENCODER, sparse_aggregation="append", dense_aggregation="mean", fusion="rrf"
    ),
}
"""Searches of the encoder that the extra `demo` brings; the first of them is of the topics alone."""


@dataclass(frozen=True)
class Answer:
    """What was found for one question.

    Args:
        expanded: the question with what an LLM wrote for it, if one was asked.
        hits: the best documents, first one first.
    """

    expanded: ExpandedTopic
    hits: tuple[tuple[Hit, Document], ...]


def tour(folder: Path, say: Callable[[str], None], *, dense: bool = True, counting: Counting = uncounted) -> Comparison:
    """The comparison of plain BM25 with searches of the recorded expansions; the runs are in `folder`.

    Topics helped and hurt are those of the best run alone.

    Args:
        folder: where the runs and their manifests are written.
        say: is told each step.
        dense: dense and hybrid searches as well; the first time, all documents are encoded.
        counting: shows how far indexing and encoding are.

    Raises:
        NotInstalledError: dense searches without the extra `demo`, which brings the encoder.
    """
    collection = load_collection("demo")
    topics = collection.topics()
    say(f"{len(topics)} questions about the Python standard library, two recorded LLM expansions each")
    expanded = read_expansions(expansions_path(), topics).topics
    searches = {BASELINE: SearchOptions()} | SPARSE | (DENSE if dense else {})
    runs = {}
    for label, options in searches.items():
        alone = options.aggregation == "none" or label == BASELINE
        path = folder / f"{label}.run"
        runs[label] = _searched(path, collection, plain(topics.values()) if alone else expanded, options, counting)
        say(f"{path}")
    texts = {topic_id: [one.text for one in topic.expansions] for topic_id, topic in expanded.items()}
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
    shown = (run if run is best else replace(run, helped=(), hurt=()) for run in comparison.runs)
    return replace(comparison, runs=tuple(shown))


def _searched(
    path: Path, collection: Collection, topics: dict[str, ExpandedTopic], options: SearchOptions, counting: Counting
) -> Run:
    started = datetime.now(UTC)
    found = search(topics, collection, options, counting)
    write_run(path, found.run, path.stem)
    write_manifest(
        path,
        command=["expandr", "demo"],
        started=started,
        config=asdict(options),
        inputs={"expansions": expansions_path()} if any(topic.expansions for topic in topics.values()) else {},
        counts=found.counts,
        seconds=found.seconds,
        details=found.details,
    )
    return found.run


def ask(question: str, generator: GeneratorConfig | None, options: ExpandOptions, hits: int) -> Answer:
    """The best documents for a question, expanded by an LLM first where one is given.

    Args:
        question: any text.
        generator: the LLM; None searches the question alone.
        options: what is asked of the LLM.
        hits: how many documents.

    Raises:
        InputError: the question is blank.
        ExpandrError: the generator gave no text.
    """
    if not question.strip():
        raise InputError("the question is blank", expected="a question about the Python standard library")
    collection = load_collection("demo")
    topic = Topic("ask", question)
    topics = plain([topic])
    if generator is not None:
        with opened(generator, options) as (engine, store):
            plan = prepare({"ask": topic}, collection, None, generator, options, engine, store)
            topics = usable(expand(plan, engine, store, max_words=options.max_words))
    found = search(topics, collection, SearchOptions(hits=hits)).run["ask"]
    texts = {document.doc_id: document for document in collection.documents() if document.doc_id in set(found.doc_ids)}
    return Answer(topics["ask"], tuple((hit, texts[hit.doc_id]) for hit in found))
