"""Regressions run: steps to outcomes, outcomes to verdicts, means of parts, and results.json kept up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.manifest import installed_versions
from expandr_ir.regress.commands import pyserini_commands, search_command
from expandr_ir.regress.loading import Regressions
from expandr_ir.regress.plan import Step
from expandr_ir.regress.results import NAME, Result, Results, Value, make_results, read_results, write_results
from expandr_ir.regress.spec import Spec
from expandr_ir.regress.verdict import judge, rounded, skipped
from expandr_ir.regress.work import Outcome, Worker


def regress(
    steps: Sequence[Step], worker: Worker, regressions: Regressions, on_result: Callable[[Result, Outcome], None]
) -> Results:
    """The results of these steps, with those that the folder has already of other ones.

    results.json is written after each collection, so that what was done is kept whatever comes after.

    Args:
        steps: in the order of their collections.
        worker: carries them out.
        regressions: what earlier results of the folder are judged by.
        on_result: is told each result.

    Raises:
        InputError: inputs that cannot be used; the results so far are written.
    """
    done: list[Result] = []
    parts: dict[tuple[str, str], Result] = {}
    earlier = _earlier(worker.folder, regressions)
    try:
        for number, step in enumerate(steps):
            outcome = Outcome() if step.spec.mean_of else worker.run(step)
            result = _mean(step, parts) if step.spec.mean_of else result_of(step, outcome, worker.folder)
            parts[step.spec.name, step.condition.name] = result
            done.append(result)
            on_result(result, outcome)
            if number + 1 < len(steps) and steps[number + 1].spec.name != step.spec.name:
                write_results(worker.folder, merged(earlier, done, regressions))
    finally:
        write_results(worker.folder, merged(earlier, done, regressions))
    return make_results(done, installed_versions())


def result_of(step: Step, outcome: Outcome, folder: Path) -> Result:
    """What is recorded of a step.

    Args:
        step: the step.
        outcome: what became of it.
        folder: what the run's path is relative to.
    """
    return _result(step, outcome, folder, values_of(step, outcome.means, outcome.skip))


def values_of(step: Step, means: Mapping[str, float] | None, skip: str) -> tuple[Value, ...]:
    """A verdict for each metric: of a step that was not run, for those that something is known of."""
    expected = step.spec.expected.get(step.condition.name, {})
    published = step.spec.published.get(step.condition.name, {})
    return tuple(
        skipped(metric, skip, expected.get(name), published.get(name))
        if means is None
        else judge(metric, means[name], expected.get(name), published.get(name))
        for name, metric in step.spec.metrics.items()
    )


def _result(step: Step, outcome: Outcome, folder: Path, values: tuple[Value, ...]) -> Result:
    manifest, run = outcome.manifest, str(folder / f"{step.name}.run")
    counts, tokens = (manifest.counts, manifest.tokens) if manifest else ({}, {})
    searching = [value for stage, value in manifest.seconds.items() if stage != "generate"] if manifest else []
    return Result(
        collection=step.spec.name,
        title=step.spec.title,
        spec=step.collection or "",
        split=step.spec.split,
        condition=step.condition.name,
        family=step.condition.family,
        tier=step.condition.tier,
        baseline=step.condition.baseline,
        run=outcome.run.relative_to(folder).as_posix() if outcome.run else None,
        expansions=str(step.expansions) if step.expansions else None,
        command=search_command(step, run),
        pyserini=pyserini_commands(step, run),
        topics=outcome.topics,
        samples=counts.get("samples"),
        seconds=round(sum(searching), 6) if manifest else None,
        prompt_tokens=tokens.get("in"),
        completion_tokens=tokens.get("out"),
        missing=counts.get("missing_topics", 0),
        empty=counts.get("empty_expansions", 0),
        values=values,
    )


def _mean(step: Step, parts: Mapping[tuple[str, str], Result]) -> Result:
    """The mean of the parts' printed values, as tables of BEIR make it."""
    own = [parts.get((name, step.condition.name)) for name in step.spec.mean_of]
    found = {
        name: [_measured(part, name) for part in own if part and _measured(part, name) is not None]
        for name in step.spec.metrics
    }
    complete = min(map(len, found.values()))
    if complete < len(own):
        skip = step.skip or f"{complete} of its {len(own)} parts have values"
        return _result(step, Outcome(), Path(), values_of(step, None, skip))
    means = {
        name: float(sum(rounded(value or 0.0, step.spec.metrics[name].precision) for value in values)) / len(own)
        for name, values in found.items()
    }
    topics = sum(part.topics or 0 for part in own if part)
    return _result(step, Outcome(topics=topics), Path(), values_of(step, means, ""))


def _measured(part: Result, metric: str) -> float | None:
    return next((value.measured for value in part.values if value.metric == metric), None)


def merged(earlier: Iterable[Result], done: Sequence[Result], regressions: Regressions) -> Results:
    """The new results and the earlier ones of other steps, in the regressions' order."""
    new = {(one.collection, one.condition): one for one in done}
    kept = [one for one in earlier if (one.collection, one.condition) not in new]
    order = {name: number for number, name in enumerate(regressions.names())}
    conditions = {name: number for number, name in enumerate(regressions.catalogue.conditions)}
    ordered = sorted([*kept, *done], key=lambda one: (order[one.collection], conditions[one.condition]))
    return make_results(ordered, installed_versions())


def _earlier(folder: Path, regressions: Regressions) -> list[Result]:
    """The results that a folder has, judged by today's figures; none where other versions made them."""
    if not (folder / NAME).is_file():
        return []
    found = read_results(folder)
    if dict(found.versions) != installed_versions():
        return []
    specs: dict[str, Spec] = {}
    kept = []
    for result in found.results:
        if result.collection not in regressions.files:
            continue
        spec = specs.setdefault(result.collection, regressions.load(result.collection))
        if result.condition in spec.conditions:
            kept.append(_judged_again(result, spec))
    return kept


def _judged_again(result: Result, spec: Spec) -> Result:
    step = Step(spec, spec.conditions[result.condition], None, None, None)
    measured = {value.metric: value.measured for value in result.values if value.measured is not None}
    reason = next((value.reason for value in result.values if value.verdict == "SKIP"), "its metrics are others now")
    means = measured if measured.keys() >= spec.metrics.keys() else None
    fields = {name: getattr(result, name) for name in Result.__slots__}
    return Result(**fields | {"values": values_of(step, means, reason)})


def check_folder(folder: Path) -> None:
    """Refuses an output folder whose results.json is not one.

    Raises:
        InputError: it is something else.
    """
    if (folder / NAME).exists():
        try:
            read_results(folder)
        except InputError as error:
            raise InputError(error.found, expected=error.expected, remedy="name another --output") from error
