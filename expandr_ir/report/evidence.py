"""What a report shows beyond the recorded figures: runs read again, tested against their baselines, topic by topic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.evaluate import Scores, evaluate
from expandr_ir.evaluate.compare import ComparedRun, compare_scores
from expandr_ir.evaluate.cost import Cost, cost_of
from expandr_ir.manifest import Manifest, read_manifest
from expandr_ir.records import Qrels, Run, Topic
from expandr_ir.report.recorded import load_study
from expandr_ir.report.study import Chapter, Condition, Contrast, Study
from expandr_ir.runs import as_trec_eval_ranks, read_run

TOP = 10
"""Documents of each ranking that are kept."""

EXAMPLES = 5
"""Topics named as helped, and as hurt, for each condition."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One collection's runs, as far as a report shows them.

    Args:
        collection: where the documents are.
        topics, qrels: of the split that was judged.
        scores: condition -> what its run scores.
        tops: condition -> topic_id -> its first documents, as trec_eval ranks them.
        compared: condition -> its comparison with its baseline; conditions without a baseline are left out.
        manifests: condition -> the manifest that describes its run.
    """

    collection: Collection
    topics: Mapping[str, Topic]
    qrels: Qrels
    scores: Mapping[str, Scores] = field(default_factory=dict)
    tops: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    compared: Mapping[str, ComparedRun] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)


def gather(
    run_dir: Path, data: Path | None = None, collections: Sequence[str] = ()
) -> tuple[Study, Iterator[tuple[Chapter, Evidence | None]]]:
    """The study of a folder's results without its runs, and, one by one, its chapters with what their runs show.

    Args:
        run_dir: a folder with results.json and the runs that it names.
        data: a folder to look for collections in where they are not at the recorded place.
        collections: those that are wanted; all where none is named.

    Raises:
        MissingResourceError: there is no results.json.
        InputError: it is not of this format, holds no result, or has no such collection.
    """
    study = load_study(run_dir).only(collections)
    if not study.chapters:
        raise InputError(
            f"{run_dir} holds no result", expected="what `expandr regress` wrote", remedy="expandr regress"
        )
    return study, (weigh(chapter, run_dir, data) for chapter in study.chapters)


def weigh(chapter: Chapter, run_dir: Path, data: Path | None = None) -> tuple[Chapter, Evidence | None]:
    """The chapter with tests of significance and costs from its runs, and what they show; None without the collection.

    A run that is not there, or no longer scores what was recorded, is left out, and a note of its condition says so.

    Args:
        chapter: of `study_of`.
        run_dir: the folder that its run files are relative to.
        data: a folder to look for the collection in.

    Raises:
        InputError: a run that cannot be read.
    """
    if not any(one.result.run for one in chapter.conditions):
        return chapter, None
    try:
        collection = find_collection(chapter, data)
        topics, qrels = collection.topics(chapter.split), collection.qrels(chapter.split)
    except (InputError, MissingResourceError) as error:
        note = f"no test of significance and no topics: the collection is not at hand ({error.found}); try --data DIR"
        return replace(chapter, notes=(*chapter.notes, note)), None
    scores: dict[str, Scores] = {}
    tops: dict[str, dict[str, list[str]]] = {}
    manifests: dict[str, Manifest] = {}
    notes: dict[str, list[str]] = {one.name: [] for one in chapter.conditions}
    for condition in chapter.conditions:
        if condition.result.run is None:
            continue
        path = run_dir / condition.result.run
        if not path.is_file():
            notes[condition.name].append(f"{condition.result.run} is not there: no test and no topics")
            continue
        run = read_run(path)
        own = evaluate(run, qrels, chapter.metrics, name=str(path))
        if changed := _changed(condition, own):
            notes[condition.name].append(changed)
            continue
        scores[condition.name], tops[condition.name] = own, _top(run, qrels)
        manifest = read_manifest(path)
        if manifest and manifest.describes(path):
            manifests[condition.name] = manifest
        else:
            what = "describes another file" if manifest else "is not there"
            notes[condition.name].append(f"the manifest of {condition.result.run} {what}")
    compared, contrasts = _compare(chapter, scores, topics, manifests)
    conditions = tuple(
        replace(
            one,
            contrasts={**one.contrasts, **contrasts.get(one.name, {})},
            cost=_cost(one, manifests.get(one.name)),
            notes=(*one.notes, *notes[one.name]),
        )
        for one in chapter.conditions
    )
    evidence = Evidence(collection, topics, qrels, scores, tops, compared, manifests)
    return replace(chapter, conditions=conditions), evidence


def remarks(chapters: Iterable[Chapter]) -> Iterator[str]:
    """The notes of collections and conditions, for a terminal."""
    for chapter in chapters:
        yield from (f"{chapter.name}: {note}" for note in chapter.notes)
        yield from (f"{chapter.name}, {one.name}: {note}" for one in chapter.conditions for note in one.notes)


def find_collection(chapter: Chapter, data: Path | None) -> Collection:
    """The collection where it was recorded, else in the folder `data`: by its name, or by its folder's name.

    Raises:
        InputError: it is in neither place.
    """
    try:
        return load_collection(chapter.spec)
    except (InputError, MissingResourceError):
        recorded = Path(chapter.spec)
        names = (chapter.name, recorded.name, f"{recorded.parent.name}/{recorded.name}")
        places = [data / name for name in names] if data else []
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise
        return load_collection(found)


def _changed(condition: Condition, scores: Scores) -> str | None:
    """What to say where a run no longer scores what was recorded."""
    for value in condition.result.values:
        if value.measured is not None and abs(scores.means[value.metric] - value.measured) > 10**-value.precision:
            now = f"{scores.means[value.metric]:.{value.precision}f}"
            before = f"{value.measured:.{value.precision}f}"
            return (
                f"{condition.result.run} has {value.metric} {now}, but {before} was recorded: it is left out of the "
                "tests and topics; `expandr regress` again"
            )
    return None


def _top(run: Run, qrels: Qrels) -> dict[str, list[str]]:
    return {topic_id: as_trec_eval_ranks(hits).doc_ids[:TOP] for topic_id, hits in run.items() if topic_id in qrels}


def _compare(
    chapter: Chapter, scores: Mapping[str, Scores], topics: Mapping[str, Topic], manifests: Mapping[str, Manifest]
) -> tuple[dict[str, ComparedRun], dict[str, dict[str, Contrast]]]:
    """Each condition against its own baseline; Holm's correction is over all conditions of one baseline."""
    groups: dict[str, dict[str, Scores]] = {}
    for condition in chapter.conditions:
        baseline = condition.result.baseline
        if baseline is not None and baseline in scores and condition.name in scores and baseline != condition.name:
            groups.setdefault(baseline, {})[condition.name] = scores[condition.name]
    compared: dict[str, ComparedRun] = {}
    contrasts: dict[str, dict[str, Contrast]] = {}
    for baseline, group in groups.items():
        comparison = compare_scores(
            scores[baseline],
            group,
            baseline_name=baseline,
            topics=topics,
            manifests=manifests,
            examples=EXAMPLES,
            randomise=False,
        )
        for run in comparison.runs:
            compared[run.name] = run
            contrasts[run.name] = {
                row.measure: Contrast(row.difference, row.p_holm, row.wins, row.ties, row.losses, comparison.family)
                for row in run.outcomes
            }
    return compared, contrasts


def _cost(condition: Condition, manifest: Manifest | None) -> Cost:
    """From the manifest, which knows every stage; else as it was recorded."""
    known = cost_of(manifest)
    return Cost(
        known.seconds if known.seconds is not None else condition.cost.seconds,
        known.tokens if known.tokens is not None else condition.cost.tokens,
    )
