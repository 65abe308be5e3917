"""Topics in full: what was asked, what an LLM wrote, which documents came before and after; as data for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from expandr_ir.expansions_file import read_expansions
from expandr_ir.report.evidence import Evidence
from expandr_ir.report.study import Chapter, Condition
from expandr_ir.report.tables import clip

PER_TOPIC = 100
"""Topics of a collection that are shown in full where nothing else is asked for."""

TOPIC_CHARACTERS, EXPANSION_CHARACTERS, DOCUMENT_CHARACTERS, TITLE_CHARACTERS = 600, 600, 240, 160
"""Where texts are cut; an ellipsis shows it, and the page says so."""

SAMPLES = 8
"""Expansions of a topic that are shown; more are counted."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one collection that a page shows in full.

    Args:
        data: what the page's script reads: conditions, topics by id, documents by id.
        total: how many topics are judged.
        notes: condition -> what a reader must know, such as that its expansions are not there.
    """

    data: dict[str, Any]
    total: int
    notes: Mapping[str, tuple[str, ...]]

    @property
    def shown(self) -> frozenset[str]:
        """Ids of the topics shown."""
        return frozenset(self.data["topics"])


def in_full(chapter: Chapter, evidence: Evidence, run_dir: Path, limit: int = PER_TOPIC) -> Topics:
    """The topics that moved most, with everything a page shows of them.

    Args:
        chapter: its conditions.
        evidence: of its runs.
        run_dir: where relative paths of expansions start.
        limit: most topics.

    Raises:
        InputError: an expansions file that cannot be read.
    """
    metric = chapter.metrics[0]
    shown = choose(chapter, evidence, limit)
    topics: dict[str, dict[str, Any]] = {
        topic_id: {
            "text": clip(evidence.topics[topic_id].text, TOPIC_CHARACTERS) if topic_id in evidence.topics else "",
            "relevant": sum(grade > 0 for grade in evidence.qrels[topic_id].values()),
            "grades": {},
            "values": {name: round(own.per_topic[metric][topic_id], 4) for name, own in evidence.scores.items()},
            "tops": {name: tops.get(topic_id, []) for name, tops in evidence.tops.items()},
            "expansions": {},
        }
        for topic_id in shown
    }
    needed: set[str] = set()
    for topic_id, topic in topics.items():
        listed = set(chain.from_iterable(topic["tops"].values()))
        topic["grades"] = {doc_id: grade for doc_id, grade in evidence.qrels[topic_id].items() if doc_id in listed}
        needed |= listed
    notes: dict[str, tuple[str, ...]] = {}
    for condition in chapter.conditions:
        if condition.name in evidence.scores and condition.result.expansions:
            notes[condition.name] = tuple(_add_expansions(topics, condition, evidence, run_dir))
    data = {
        "collection": chapter.name,
        "metric": metric,
        "conditions": [
            {"name": one.name, "baseline": one.result.baseline if one.result.baseline in evidence.scores else None}
            for one in chapter.conditions
            if one.name in evidence.scores
        ],
        "topics": topics,
        "documents": _documents(evidence, needed),
    }
    return Topics(data, len(evidence.qrels), notes)


def choose(chapter: Chapter, evidence: Evidence, limit: int) -> list[str]:
    """Ids of at most `limit` topics: the most helped and hurt of each condition in turn, then the next of each."""
    metric = chapter.metrics[0]
    turns: list[list[str]] = []
    for name, run in evidence.compared.items():
        baseline = next(one.result.baseline for one in chapter.conditions if one.name == name)
        before, after = evidence.scores[str(baseline)].per_topic[metric], run.scores.per_topic[metric]
        moved = sorted(before, key=lambda topic_id: after[topic_id] - before[topic_id])
        turns += [moved[::-1][:limit], moved[:limit]]
    if not turns:
        turns = [list(scores.per_topic[metric])[:limit] for scores in evidence.scores.values()]
    order = dict.fromkeys(one for row in zip_longest(*turns) for one in row if one is not None)
    return list(order)[:limit]


def _add_expansions(
    topics: dict[str, dict[str, Any]], condition: Condition, evidence: Evidence, run_dir: Path
) -> Iterator[str]:
    """Adds the condition's expansions to the topics; yields what is wrong with their file."""
    named = Path(str(condition.result.expansions))
    path = next((place for place in (named, run_dir / named) if place.is_file()), None)
    if path is None:
        yield f"the expansions {named} are not there"
        return
    manifest = evidence.manifests.get(condition.name)
    sources = [one for role in ("expansions", "topics") if manifest and (one := manifest.inputs.get(role))]
    if any(Path(source.path).name == path.name and not source.is_unchanged() for source in sources):
        yield f"the expansions {named} were changed after the run, and are not shown"
        return
    found = read_expansions(path, evidence.topics, skip_missing=True).topics
    for topic_id, topic in topics.items():
        if topic_id in found:
            texts = [one.text for one in found[topic_id].expansions]
            more = len(texts) - SAMPLES
            shown = [clip(text, EXPANSION_CHARACTERS) for text in texts[:SAMPLES]]
            topic["expansions"][condition.name] = [*shown, f"… and {more} more"] if more > 0 else shown


def _documents(evidence: Evidence, needed: set[str]) -> dict[str, list[str]]:
    """Title and beginning of each document, by id; the collection is read until all are found."""
    found: dict[str, list[str]] = {}
    if not needed:
        return found
    for document in evidence.collection.documents():
        if document.doc_id in needed:
            found[document.doc_id] = [clip(document.title, TITLE_CHARACTERS), clip(document.text, DOCUMENT_CHARACTERS)]
            if len(found) == len(needed):
                break
    return found
