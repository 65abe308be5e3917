"""`expandr regress`: conditions are selected, run and judged; results.json is kept up to date."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from expandr_ir.blocks import load_block
from expandr_ir.errors import ComparisonFailedError, InputError, MissingResourceError
from expandr_ir.io.files import home, output_file, output_folder, write_json
from expandr_ir.io.manifest import installed_versions
from expandr_ir.progress import progress
from expandr_ir.regress.catalogue import Regressions
from expandr_ir.regress.downloads import fetch, items
from expandr_ir.regress.record import promote, record
from expandr_ir.regress.results import NAME, Result, Results, Value, read_results, rounded, write_results
from expandr_ir.regress.steps import (
    RegressOptions,
    Step,
    downloads_folder,
    evaluate_command,
    plan,
    pyserini_commands,
    search_command,
)
from expandr_ir.regress.worker import Worker, judge_all, make_result

logger = logging.getLogger(__name__)

COMMAND = "command.json"
"""The options of a folder's last command, which --resume takes."""


@dataclass(frozen=True)
class RegressResult:
    """The outcome of `expandr regress`."""

    text: str  # the listing, or the verdicts, as the verb prints them
    results: Results | None = None  # of the steps that were run; None where nothing was to be run

    def __str__(self) -> str:
        return self.text

    @property
    def exit_code(self) -> int:
        """1 where a figure does not hold, else 0."""
        return ComparisonFailedError.exit_code if self.results and self.results.counts()["FAIL"] else 0


def regress(options: RegressOptions) -> RegressResult:
    """Runs the selected conditions and judges their figures, or lists them, see `RegressOptions`."""
    folder = output_folder(options.output or str(home() / "regressions"))
    options = _resumed(options, folder) if options.resume else options
    record_path = output_file(options.record) if options.record else None
    regressions = Regressions(Path(options.regressions) if options.regressions else None)
    if options.promote:
        promoted = promote(Path(options.promote), regressions)
        return RegressResult("\n".join(f"{name}: {path}" for name, path in promoted.items()))
    steps = plan(regressions, options)
    if options.download:
        _download(steps, options)
        steps = plan(regressions, options)
    if options.list or options.dry_run or options.commands:
        return RegressResult(_listed(steps, folder, options))
    started, worker = time.perf_counter(), Worker(folder, options)
    earlier, done = list(_earlier(folder, regressions)), list[Result]()
    write_json(folder / COMMAND, asdict(options))
    with progress("conditions", len(steps)) as advance:
        for _, group in itertools.groupby(steps, key=lambda step: step.regression.name):
            try:
                for step in group:
                    advance(0, note=step.name)
                    done.append(_mean(step, done) if step.regression.facts.mean_of else worker.run(step))
                    advance()
                    if any(value.verdict == "FAIL" for value in done[-1].values):
                        logger.warning("%s: FAIL", step.name)  # hours before the verdicts are printed
            finally:  # after each collection, so that what was done is kept whatever comes after
                write_results(folder, _merged(earlier, done, regressions))
    results = Results(tuple(done), installed_versions())
    if record_path:
        record(record_path, results, options.seed)
    runs = {"searched": worker.searched, "kept": worker.kept, "seconds": round(time.perf_counter() - started, 3)}
    if options.format == "json":
        return RegressResult(
            json.dumps(results.as_json() | {"counts": results.counts(), "runs": runs}, indent=1), results
        )
    counts = ", ".join(f"{count} {verdict}" for verdict, count in results.counts().items())
    summary = f"{counts}; {worker.searched} runs searched, {worker.kept} as they were; {runs['seconds']:.1f} s"
    return RegressResult("\n".join([*_verdicts(done), summary, str(folder / NAME)]), results)


def _resumed(options: RegressOptions, folder: Path) -> RegressOptions:
    """The options of the folder's last command, with this one's output, jobs and format."""
    path = folder / COMMAND
    if not path.is_file():
        fault = f"{folder} has nothing to resume"
        raise MissingResourceError(fault, expected="the --output of an earlier expandr regress")
    current: dict[str, Any] = {"output": options.output, "jobs": options.jobs, "format": options.format}
    if replace(RegressOptions(**current), resume=True) != options:
        raise InputError(
            "--resume takes all other options from the earlier command",
            expected="--resume with --output, --jobs and --format alone",
            remedy="leave --resume out: what is there already is not searched again anyway",
        )
    return replace(load_block(RegressOptions, path), **current)


def _download(steps: Sequence[Step], options: RegressOptions) -> None:
    """Fetches the published data and expansions that the steps lack."""
    files: set[str] = set()
    for step in steps:
        facts, expansions = step.regression.facts, step.condition.expansions
        if step.options and not step.collection and facts.folder and options.source == "folder":
            files.add(f"beir/{facts.folder.partition('/')[0]}")
        if step.options and expansions and not step.expansions:
            files.add(f"expansions/{step.regression.expansions_folder}/{expansions}")
    fetch([item.name for item in items().values() if item.file in files], target=downloads_folder())


def _mean(step: Step, done: Sequence[Result]) -> Result:
    """The mean of the parts' printed values, as tables of BEIR make it."""
    names = step.regression.facts.mean_of
    parts = [part for part in done if part.collection in names and part.condition == step.condition.name]
    printed: dict[str, list[float]] = {name: [] for name in step.regression.metrics}
    for value in itertools.chain.from_iterable(part.values for part in parts):
        if value.measured is not None and value.metric in printed:
            printed[value.metric].append(float(rounded(value.measured, value.precision)))
    complete = min(map(len, printed.values()))
    if complete < len(names):
        return make_result(step, Path(), skip=step.skip or f"{complete} of its {len(names)} parts have values")
    means = {name: sum(values) / len(names) for name, values in printed.items()}
    return make_result(step, Path(), means, topics=sum(part.topics or 0 for part in parts))


def _earlier(folder: Path, regressions: Regressions) -> Iterator[Result]:
    """The results that the folder has, judged by today's figures; none where other versions made them."""
    if not (folder / NAME).exists():
        return
    try:
        earlier = read_results(folder)
    except InputError as error:
        raise InputError(error.found, expected=error.expected, remedy="name another --output") from error
    for result in earlier.results if dict(earlier.versions) == installed_versions() else ():
        regression = regressions.load(result.collection) if result.collection in regressions.files else None
        if regression and (condition := regression.conditions.get(result.condition)):
            measured = {value.metric: value.measured for value in result.values if value.measured is not None}
            skips = [value.reason for value in result.values if value.verdict == "SKIP"]
            means = measured if measured.keys() >= regression.metrics_of(condition).keys() else None
            values = judge_all(regression, condition, means, next(iter(skips), "its metrics are others now"))
            yield replace(result, values=values)


def _merged(earlier: Sequence[Result], done: Sequence[Result], regressions: Regressions) -> Results:
    """The new results and the earlier ones of other steps, in the regressions' order."""
    results = {(result.collection, result.condition): result for result in (*earlier, *done)}
    collections = {collection for collection, _ in results}
    loaded = [regressions.load(name) for name in regressions.files if name in collections]
    keys = [(regression.name, condition) for regression in loaded for condition in regression.conditions]
    return Results(tuple(results[key] for key in keys if key in results), installed_versions())


def figure(value: float | None, precision: int = 4) -> str:
    """A value as it is printed: .6789."""
    text = "-" if value is None else str(rounded(value, precision))
    return text[1:] if text.startswith("0.") else text


def _verdicts(results: Iterable[Result]) -> Iterator[str]:
    for _, group in itertools.groupby(results, key=lambda result: result.collection):
        for at, result in enumerate(group):
            if at == 0:
                about = ", ".join(filter(None, [result.title, result.split, result.spec]))
                yield f"{result.collection} ({about})"
            verdicts = {value.verdict for value in result.values}
            worst = next(one for one in ("FAIL", "SKIP", "OK*", "OK", "NEW") if one in verdicts)
            shown = result.values[0].reason if worst == "SKIP" else "  ".join(map(_shown, result.values))
            yield f"  {worst:<4} {result.condition:<42} {shown}" + (
                f"  ({result.empty} empty expansions)" if result.empty else ""
            )
            for value in result.values:
                if value.verdict in {"FAIL", "OK*"}:
                    expected = f"{value.metric} expected {figure(value.expected, value.precision)} ({value.source})"
                    yield f"       {value.verdict} {expected}{f': {value.reason}' if value.reason else ''}"


def _shown(value: Value) -> str:
    beside = f" [{figure(value.published, value.precision)}]" if value.published is not None else ""
    new = " new" if value.expected is None else ""
    return f"{value.metric} {figure(value.measured, value.precision)}{new}{beside}"


def _listed(steps: Iterable[Step], folder: Path, options: RegressOptions) -> str:
    """The steps with their known figures, what would be done, or the commands, as the options say."""
    rows = [_row(step, str(folder / f"{step.name}.run")) for step in steps]
    rows = [row for row in rows if row["commands"][0] or not options.commands]
    if options.format == "json":
        return json.dumps(rows, indent=1)
    lines: list[str] = []
    for collection, group in itertools.groupby(rows, key=lambda row: f"{row['collection']} ({row['title']})"):
        lines.append(collection)
        for row in group:
            figures = [f"{name} {figure(one['value'])}" for name, one in row["expected"].items()]
            figures += [f"{name} [{figure(one['value'])}]" for name, one in row["published"].items()]
            told = row["about"] if row["tier"] == "training" else "  ".join(figures) or "no figure is known"
            skip = row["skip"]
            if options.commands:
                lines.append(f"  # {row['condition']}" + (f" (skipped here: {skip})" if skip else ""))
                lines += [f"  {command}" for command in (*row["commands"], *row["pyserini"]) if command]
                continue
            if options.dry_run:
                told = f"SKIP {skip}" if skip else row["does"]
            lines.append(f"  {row['condition']:<42} {row['tier']:<9} {told}")
    return "\n".join(lines)


def _row(step: Step, run: str) -> dict[str, Any]:
    regression, condition = step.regression, step.condition
    commands, parts = [search_command(step, run), evaluate_command(step, run)], regression.facts.mean_of
    tables = {"expected": regression.expected, "published": regression.published}
    figures = {
        key: {metric: asdict(known) for metric, known in table.get(condition.name, {}).items()}
        for key, table in tables.items()
    }
    return {
        "collection": regression.name,
        "title": regression.facts.title,
        "condition": condition.name,
        "family": condition.family,
        "tier": condition.tier,
        "about": condition.about,
        **figures,
        "does": f"mean of {len(parts)} collections" if parts else commands[0] or "nothing",
        "commands": commands,
        "pyserini": pyserini_commands(step, run),
        "skip": step.skip,
    }
