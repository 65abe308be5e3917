"""What `expandr demo` does: the whole path on the embedded collection, or one question of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from expandr_ir.collection import Collection, load_collection
from expandr_ir.compare import Comparison, compare
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo import expansions_path
from expandr_ir.errors import InputError
from expandr_ir.expand import expand
from expandr_ir.expansions_file import read_expansions
from expandr_ir.manifest import write_manifest
from expandr_ir.pipeline import ExpandOptions, opened, prepare, usable
from expandr_ir.records import Document, ExpandedTopic, Hit, Run, Topic
from expandr_ir.retrieve import SearchOptions, plain, search
from expandr_ir.runs import write_run

MEASURES = ("nDCG@10", "R@100")
AGGREGATIONS = ("append", "repeat", "adaptive")
BASELINE = "bm25"


@dataclass(frozen=True)
class Answer:
    """What was found for one question.

    Args:
        expanded: the question with what an LLM wrote for it, if one was asked.
        hits: the best documents, first one first.
    """

    expanded: ExpandedTopic
    hits: tuple[tuple[Hit, Document], ...]


def tour(folder: Path, say: Callable[[str], None]) -> Comparison:
    """The comparison of plain BM25 with three aggregations of the recorded expansions; the runs are in `folder`.

    Topics helped and hurt are those of the best run alone.

    Args:
        folder: where the runs and their manifests are written.
        say: is told each step.
    """
    collection = load_collection("demo")
    topics = collection.topics()
    say(f"{len(topics)} questions about the Python standard library, two recorded LLM expansions each")
    expanded = read_expansions(expansions_path(), topics).topics
    runs = {BASELINE: _searched(collection, folder, BASELINE, plain(topics.values()), SearchOptions(), say)}
    for name in AGGREGATIONS:
        label = f"{BASELINE}+{name}"
        runs[label] = _searched(collection, folder, label, expanded, SearchOptions(aggregation=name), say)
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
    collection: Collection,
    folder: Path,
    label: str,
    topics: dict[str, ExpandedTopic],
    options: SearchOptions,
    say: Callable[[str], None],
) -> Run:
    started = datetime.now(UTC)
    found = search(topics, collection, options)
    path = folder / f"{label}.run"
    write_run(path, found.run, label)
    write_manifest(
        path,
        command=["expandr", "demo"],
        started=started,
        config={"aggregation": options.aggregation},
        inputs={"expansions": expansions_path()} if options.aggregation else {},
        counts=found.counts,
        seconds=found.seconds,
    )
    say(f"{path}: {len(found.run)} topics, searched in {sum(found.seconds.values()):.2f} s")
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
