"""Runs read again for a report: tested against their baselines, and shown topic by topic."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from expandr_ir.collections import Collection, load_collection
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.evaluate import Scores, score_run
from expandr_ir.evaluate.compare import ComparedRun, Comparison, Cost, compare_scores, cost_of
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.manifest import Manifest, installed_versions, read_manifest
from expandr_ir.io.runs import as_trec_eval_ranks, read_run
from expandr_ir.records import Qrels, Rankings
from expandr_ir.regress.results import Result, Value
from expandr_ir.report.formatting import clip
from expandr_ir.report.study import Chapter, Condition, Contrast, Study, load_study

TOP = 10  # documents of each ranking that are kept
EXAMPLES = 5  # topics named as helped, and as hurt, for each condition
PER_TOPIC = 100  # topics of a collection that are shown in full, unless an option says otherwise
SAMPLES = 8  # expansions of a topic that are shown; more are counted
TOPIC_CHARACTERS, EXPANSION_CHARACTERS = 600, 600  # texts are cut there; an ellipsis shows it, and the page says so
DOCUMENT_CHARACTERS, TITLE_CHARACTERS = 240, 160


def gather(run_dir: Path, data: Path | None = None, collections: Sequence[str] = ()) -> Study:
    """The study of a folder of runs, with tests, costs and topics from the runs that are there.

    A run that is not there, or no longer scores what was recorded, is left out, and a note of its condition says so.
    """
    study = load_study(run_dir).only(collections)
    if not study.chapters:
        raise InputError(f"{run_dir} holds no result", expected="an output of regress", remedy="expandr regress")
    return replace(study, chapters=tuple(_weigh(chapter, run_dir, data) for chapter in study.chapters))


def study_of_comparison(
    comparison: Comparison,
    collection: Collection | None = None,
    split: str | None = None,
    qrels: Qrels | None = None,
    runs: Mapping[str, Rankings] | None = None,
    manifests: Mapping[str, Manifest] | None = None,
) -> Study:
    """The study of any runs that were compared; rankings and documents need the runs, qrels and collection."""
    baseline = ComparedRun(comparison.baseline_name, comparison.baseline, comparison.baseline_cost, (), (), ())
    conditions = []
    for run in (baseline, *comparison.runs):
        manifest = (manifests or {}).get(run.name)
        expansions = manifest.inputs.get("expansions") if manifest else None
        result = Result(
            collection=collection.name if collection else "runs",
            title=collection.name if collection else "Runs",
            spec=collection.spec if collection else "",
            split=split,
            condition=run.name,
            family="baseline" if run is baseline else "run",
            baseline=None if run is baseline else baseline.name,
            expansions=expansions.path if expansions else None,
            command=shlex.join(manifest.command) if manifest else "",
            topics=comparison.topics,
            values=tuple(Value(metric=name, precision=4, measured=mean) for name, mean in run.scores.means.items()),
        )
        condition = Condition(
            result,
            cost=run.cost,
            scores=run.scores,
            tops=_tops(runs[run.name], qrels) if runs and qrels else {},
            expansions=Path(expansions.path) if expansions and expansions.is_unchanged() else None,
            manifest=manifest,
        )
        conditions.append(_compared(condition, run, comparison.family))
    topics = collection.topics(split) if collection else {}
    documents = collection.documents if collection else None
    chapter = Chapter(tuple(conditions), comparison.notes, topics, qrels or {}, documents)
    return Study((chapter,), installed_versions(), datetime.now(UTC).isoformat(timespec="seconds"))


def topics_in_full(chapter: Chapter, limit: int) -> dict[str, Any] | None:
    """The topics that moved most, as plain data for a page; None where no run was read."""
    shown = {condition.name: condition for condition in chapter.conditions if condition.scores and condition.tops}
    if not shown or not limit:
        return None
    metric = chapter.metrics[0]
    values = {name: condition.scores.per_topic[metric] for name, condition in shown.items() if condition.scores}
    topics: dict[str, dict[str, Any]] = {}
    for topic_id in _choose(chapter, limit):
        tops = {name: one.tops.get(topic_id, []) for name, one in shown.items()}
        listed, grades = set(chain.from_iterable(tops.values())), chapter.qrels[topic_id]
        topics[topic_id] = {
            "text": clip(chapter.topics[topic_id].text, TOPIC_CHARACTERS) if topic_id in chapter.topics else "",
            "relevant": sum(grade > 0 for grade in grades.values()),
            "grades": {doc_id: grade for doc_id, grade in grades.items() if doc_id in listed},
            "values": {name: round(per_topic[topic_id], 4) for name, per_topic in values.items()},
            "tops": tops,
            "expansions": {},
        }
    for name, condition in shown.items():
        path = condition.expansions
        expansions = read_expansions(path, chapter.topics, skip_missing=True) if path else {}
        for topic_id in topics.keys() & expansions.keys():
            texts = [clip(expansion.text, EXPANSION_CHARACTERS) for expansion in expansions[topic_id].expansions]
            more = [f"… and {len(texts) - SAMPLES} more"] if len(texts) > SAMPLES else []
            topics[topic_id]["expansions"][name] = texts[:SAMPLES] + more
    baselines = {name: one.result.baseline if one.result.baseline in shown else None for name, one in shown.items()}
    return {
        "collection": chapter.first.collection,
        "metric": metric,
        "conditions": [{"name": name, "baseline": baseline} for name, baseline in baselines.items()],
        "topics": topics,
        "documents": _documents(chapter, topics),
    }


def _choose(chapter: Chapter, limit: int) -> list[str]:
    """Ids of at most `limit` topics: the most helped and hurt of each condition in turn, then the next of each."""
    turns: list[list[str]] = []
    for one in chapter.conditions:
        changes = changes_of(chapter, one)
        moved = sorted(changes, key=lambda topic_id: changes[topic_id])
        turns += [moved[::-1], moved] if moved else []
    order = dict.fromkeys(one for row in zip_longest(*turns or [list(chapter.qrels)]) for one in row if one is not None)
    return list(order)[:limit]


def changes_of(chapter: Chapter, condition: Condition) -> dict[str, float]:
    """topic_id -> the condition's value on the first metric less its baseline's; empty unless both runs were read."""
    baseline = chapter.condition(condition.result.baseline)
    if condition.scores is None or baseline is None or baseline.scores is None or baseline is condition:
        return {}
    metric = chapter.metrics[0]
    after, before = condition.scores.per_topic[metric], baseline.scores.per_topic[metric]
    return {topic_id: after[topic_id] - before[topic_id] for topic_id in before}


def _find_collection(result: Result, data: Path | None) -> Collection:
    """The collection where it was recorded, else in the folder `data`: by its name, or by its folder's name."""
    try:
        return load_collection(result.spec)
    except (InputError, MissingResourceError):
        recorded = Path(result.spec)
        for name in (result.collection, recorded.name, f"{recorded.parent.name}/{recorded.name}"):
            if data and (data / name).is_dir():
                return load_collection(data / name)
        raise


def _weigh(chapter: Chapter, run_dir: Path, data: Path | None) -> Chapter:
    """The chapter with tests of significance, costs and topics from its runs."""
    if not any(one.result.run for one in chapter.conditions):
        return chapter
    try:
        collection = _find_collection(chapter.first, data)
        topics, qrels = collection.topics(chapter.first.split), collection.qrels(chapter.first.split)
    except (InputError, MissingResourceError) as error:
        note = f"no test of significance and no topics: the collection is not at hand ({error.found}); try --data DIR"
        return replace(chapter, notes=(*chapter.notes, note))
    conditions = {one.name: _read(one, chapter.metrics, qrels, run_dir) for one in chapter.conditions}
    scores = {name: one.scores for name, one in conditions.items() if one.scores}
    groups: dict[str, dict[str, Scores]] = {}  # Holm's correction is over all conditions of one baseline
    for name, run_scores in scores.items():
        baseline = conditions[name].result.baseline
        if baseline in scores and baseline != name:
            groups.setdefault(baseline, {})[name] = run_scores
    for baseline, group in groups.items():
        comparison = compare_scores(scores[baseline], group, topics=topics, examples=EXAMPLES, randomise=False)
        for run in comparison.runs:
            conditions[run.name] = _compared(conditions[run.name], run, comparison.family)
    return Chapter(tuple(conditions.values()), chapter.notes, topics, qrels, collection.documents)


def _read(condition: Condition, metrics: Sequence[str], qrels: Qrels, run_dir: Path) -> Condition:
    """The condition with its run, the run's manifest and the expansions file; notes say what is amiss."""
    result, cost, notes = condition.result, condition.cost, list(condition.notes)
    if result.run is None:
        return condition
    path = run_dir / result.run
    if not path.is_file():
        return replace(condition, notes=(*notes, f"{result.run} is not there: no test and no topics"))
    run = read_run(path)
    scores = score_run(run, qrels, metrics, name=str(path))
    for value in result.values:
        now = scores.means[value.metric]
        if value.measured is not None and abs(now - value.measured) > 10**-value.precision:
            figures = f"{value.metric} {now:.{value.precision}f}, but {value.measured:.{value.precision}f} was recorded"
            note = f"{result.run} has {figures}: it is left out of the tests and topics; `expandr regress` again"
            return replace(condition, notes=(*notes, note))
    manifest = read_manifest(path)
    if not manifest or not manifest.describes(path):
        fault = "describes another file" if manifest else "is not there"
        notes.append(f"the manifest of {result.run} {fault}")
        manifest = None
    known = cost_of(manifest)  # of every stage, while the result knows the search alone
    seconds = cost.seconds if known.seconds is None else known.seconds
    cost, expansions = Cost(seconds, cost.tokens if known.tokens is None else known.tokens), None
    if result.expansions:
        places = (Path(result.expansions), run_dir / result.expansions)
        expansions = next((place for place in places if place.is_file()), None)
        sources = [manifest.inputs[role] for role in ("expansions", "topics") if manifest and role in manifest.inputs]
        if expansions is None:
            notes.append(f"the expansions {result.expansions} are not there")
        elif any(Path(one.path).name == expansions.name and not one.is_unchanged() for one in sources):
            notes.append(f"the expansions {result.expansions} were changed after the run, and are not shown")
            expansions = None
    details: dict[str, Any] = {"scores": scores, "tops": _tops(run, qrels), "expansions": expansions}
    return replace(condition, cost=cost, notes=tuple(notes), manifest=manifest, **details)


def _compared(condition: Condition, run: ComparedRun, family: int) -> Condition:
    """The condition with its run's tests, and the topics that moved most."""
    contrasts = {
        row.measure: Contrast(row.difference, row.p_holm, row.wins, row.ties, row.losses, family)
        for row in run.outcomes
    }
    return replace(condition, contrasts={**condition.contrasts, **contrasts}, helped=run.helped, hurt=run.hurt)


def _tops(run: Rankings, qrels: Qrels) -> dict[str, list[str]]:
    return {topic_id: as_trec_eval_ranks(hits).doc_ids[:TOP] for topic_id, hits in run.items() if topic_id in qrels}


def _documents(chapter: Chapter, topics: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Title and beginning of each listed document, by id; the collection is read until all are found."""
    needed = {doc_id for topic in topics.values() for doc_ids in topic["tops"].values() for doc_id in doc_ids}
    texts: dict[str, list[str]] = {}
    for document in chapter.documents() if chapter.documents else ():
        if document.doc_id in needed:
            texts[document.doc_id] = [clip(document.title, TITLE_CHARACTERS), clip(document.text, DOCUMENT_CHARACTERS)]
        if len(texts) == len(needed):
            break
    return texts
