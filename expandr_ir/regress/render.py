"""Plans, commands and verdicts as text or JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from expandr_ir.regress.commands import evaluate_command, pyserini_commands, search_command
from expandr_ir.regress.plan import Step
from expandr_ir.regress.results import VERDICTS, Result, Results, Value, as_json
from expandr_ir.regress.verdict import rounded
from expandr_ir.regress.work import Outcome


def known(steps: Sequence[Step], folder: Path, form: str) -> str:  # noqa: ARG001 (as the others)
    """Collections and conditions with their known figures."""
    return _told(steps, form, _known_row, _known_line)


def planned(steps: Sequence[Step], folder: Path, form: str) -> str:
    """What would be done for each step."""
    return _told(steps, form, lambda step: _planned_row(step, folder), _planned_line)


def commands(steps: Sequence[Step], folder: Path, form: str) -> str:
    """The commands that give each run, with Pyserini's own where there are some."""
    return _told(
        [step for step in steps if step.options], form, lambda step: _command_row(step, folder), _command_lines
    )


class Teller:
    """Tells results as they come, as text; as JSON all at the end.

    Args:
        stream: where to.
        remarks: where what is being done is told.
        as_text: else JSON.
    """

    def __init__(self, stream: IO[str], remarks: IO[str], *, as_text: bool) -> None:
        self._stream, self._remarks, self._as_text = stream, remarks, as_text
        self._collection = ""
        self._made = self._kept = 0

    def step(self, step: Step, why: str) -> None:
        """A run that is being made."""
        if why != "new" or self._remarks.isatty():
            self._remarks.write(f"expandr: {step.name}: searching ({why})\n")

    def result(self, result: Result, outcome: Outcome) -> None:
        """A verdict."""
        self._made += bool(outcome.run and outcome.made)
        self._kept += bool(outcome.run and not outcome.made)
        if not self._as_text:
            return
        if result.collection != self._collection:
            self._collection = result.collection
            about = ", ".join(filter(None, [result.title, result.split, result.spec]))
            self._stream.write(f"{result.collection} ({about})\n")
        self._stream.writelines(f"{line}\n" for line in _verdict_lines(result))
        self._stream.flush()

    def summary(self, results: Results, folder: Path, seconds: float) -> None:
        """How many values have each verdict, and what was done."""
        counts = results.counts()
        if not self._as_text:
            work = {"searched": self._made, "kept": self._kept, "seconds": round(seconds, 3)}
            self._stream.write(json.dumps(as_json(results) | {"counts": counts, "runs": work}, indent=1) + "\n")
            return
        listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
        self._stream.write(f"{listed}; {self._made} runs searched, {self._kept} as they were; {seconds:.1f} s\n")
        self._stream.write(f"{folder / 'results.json'}\n")


def figure(value: float | None, precision: int) -> str:
    """A value as it is printed: .6789."""
    return "-" if value is None else str(rounded(value, precision)).replace("0.", ".", 1)


def _verdict_lines(result: Result) -> list[str]:
    worst = _worst(result.values)
    if worst == "SKIP":
        return [f"  SKIP {result.condition:<42} {result.values[0].reason}"]
    shown = "  ".join(_shown(value) for value in result.values)
    notes = [f"{result.empty} empty expansions"] if result.empty else []
    lines = [f"  {worst:<4} {result.condition:<42} {shown}{'  (' + ', '.join(notes) + ')' if notes else ''}"]
    for value in result.values:
        if value.verdict in {"FAIL", "OK*"}:
            wanted = figure(value.expected, value.precision)
            why = f": {value.reason}" if value.reason else ""
            lines.append(f"       {value.verdict} {value.metric} expected {wanted} ({value.source}){why}")
    return lines


def _shown(value: Value) -> str:
    beside = f" [{figure(value.published, value.precision)}]" if value.published is not None else ""
    new = " new" if value.expected is None else ""
    return f"{value.metric} {figure(value.measured, value.precision)}{new}{beside}"


def _worst(values: Iterable[Value]) -> str:
    found = {value.verdict for value in values}
    return next(verdict for verdict in ("FAIL", "SKIP", "OK*", "OK", "NEW") if verdict in found)


def _told(
    steps: Sequence[Step],
    form: str,
    row: Callable[[Step], dict[str, Any]],
    lines: Callable[[dict[str, Any]], list[str]],
) -> str:
    if form == "json":
        return json.dumps([row(step) for step in steps], indent=1) + "\n"
    told: list[str] = []
    for name, own in itertools.groupby(steps, key=lambda step: step.spec.name):
        grouped = list(own)
        told.append(f"{name} ({grouped[0].spec.title})")
        told += [line for step in grouped for line in lines(row(step))]
    return "".join(f"{line}\n" for line in told)


def _known_row(step: Step) -> dict[str, Any]:
    def plain(figures: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {"value": one.value, "tolerance": one.tolerance, "source": one.source}
            for name, one in figures.items()
        }

    condition = step.condition
    return {
        "collection": step.spec.name,
        "condition": condition.name,
        "family": condition.family,
        "tier": condition.tier,
        "about": condition.about,
        "expected": plain(step.spec.expected.get(condition.name, {})),
        "published": plain(step.spec.published.get(condition.name, {})),
    }


def _known_line(row: dict[str, Any]) -> list[str]:
    figures = [f"{name} {figure(one['value'], 4)}" for name, one in row["expected"].items()]
    figures += [f"{name} [{figure(one['value'], 4)}]" for name, one in row["published"].items()]
    return [f"  {row['condition']:<42} {row['tier']:<9} {'  '.join(figures) or 'no figure is known'}"]


def _planned_row(step: Step, folder: Path) -> dict[str, Any]:
    if step.spec.mean_of:
        does = f"mean of {len(step.spec.mean_of)} collections"
    else:
        does = search_command(step, str(folder / f"{step.name}.run")) or "nothing"
    names = {"collection": step.spec.name, "condition": step.condition.name, "tier": step.condition.tier}
    return names | {"does": does, "skip": step.skip}


def _planned_line(row: dict[str, Any]) -> list[str]:
    does = f"SKIP {row['skip']}" if row["skip"] else row["does"]
    return [f"  {row['condition']:<42} {row['tier']:<9} {does}"]


def _command_row(step: Step, folder: Path) -> dict[str, Any]:
    run = str(folder / f"{step.name}.run")
    return {
        "collection": step.spec.name,
        "condition": step.condition.name,
        "commands": [search_command(step, run), evaluate_command(step, run)],
        "pyserini": list(pyserini_commands(step, run)),
        "skip": step.skip,
    }


def _command_lines(row: dict[str, Any]) -> list[str]:
    lines = [f"  # {row['condition']}" + (f" (skipped here: {row['skip']})" if row["skip"] else "")]
    lines += [f"  {command}" for command in row["commands"]]
    return lines + [f"  {command}" for command in row["pyserini"]]
