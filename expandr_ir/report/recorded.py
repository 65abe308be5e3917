"""A study on disk: results.json as `expandr regress` writes it, or the same with tests and without paths."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.evaluate.cost import Cost
from expandr_ir.regress.results import NAME, Result, as_json, read_results
from expandr_ir.report.study import Chapter, Condition, Contrast, Study, study_of

TESTED = "tested"
"""Key of the tests and costs in a results.json that a report wrote."""

_PATH = re.compile(r"(?<![\w.:/-])(?:/|~/|\.\.?/)(?:[^\s/'\"`;,()]+/)*([^\s/'\"`;,()]+)")
"""A path in a text, and its last part."""


def load_study(run_dir: Path) -> Study:
    """The study in a folder, or in its results.json.

    Raises:
        MissingResourceError: there is no results.json.
        InputError: it is not of this format.
    """
    study = study_of(read_results(run_dir))
    path = run_dir / NAME if run_dir.is_dir() else run_dir
    tested = json.loads(path.read_text(encoding="utf-8")).get(TESTED, {})
    try:
        chapters = tuple(_with_tests(chapter, tested.get(chapter.name, {})) for chapter in study.chapters)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: {TESTED!r} holds no tests ({error})", expected="what expandr report wrote"
        ) from error
    return replace(study, chapters=chapters)


def as_recorded(study: Study) -> str:
    """The study as JSON without any path of this machine: a results.json with tests and costs, fit for a repository."""
    kept = portable(study)
    tested = {
        chapter.name: {
            one.name: {
                "contrasts": {metric: asdict(contrast) for metric, contrast in one.contrasts.items()},
                "cost": asdict(one.cost),
                "notes": list(one.notes),
            }
            for one in chapter.conditions
        }
        for chapter in kept.chapters
    }
    return json.dumps(as_json(kept.results) | {TESTED: tested}, indent=1, ensure_ascii=False) + "\n"


def portable(study: Study) -> Study:
    """The study without the paths of this machine: a collection is its folder's last two names, a file its name."""
    return replace(study, chapters=tuple(map(_portable_chapter, study.chapters)))


def _portable_chapter(chapter: Chapter) -> Chapter:
    spec = _portable_spec(chapter.spec)
    conditions = tuple(
        replace(one, result=_portable_result(one.result), notes=tuple(map(_portable_text, one.notes)))
        for one in chapter.conditions
    )
    return replace(chapter, spec=spec, conditions=conditions, notes=tuple(map(_portable_text, chapter.notes)))


def _portable_result(result: Result) -> Result:
    values = tuple(
        replace(
            value,
            reason=_portable_text(value.reason),
            source=_portable_text(value.source) if value.source else value.source,
        )
        for value in result.values
    )
    return replace(
        result,
        spec=_portable_spec(result.spec),
        run=None,
        expansions=Path(result.expansions).name if result.expansions else None,
        command=_portable_command(result.command, result.spec),
        pyserini=tuple(_portable_command(command, result.spec) for command in result.pyserini),
        values=values,
    )


def _portable_spec(spec: str) -> str:
    return "/".join(Path(spec).parts[-2:]) if Path(spec).is_absolute() else spec


def _portable_command(command: str, spec: str) -> str:
    """The command with the collection's short name and the names of files; line breaks stay."""
    try:
        words = shlex.split(command)
    except ValueError:
        return _portable_text(command)
    return shlex.join(_portable_word(word, spec) for word in words)


def _portable_word(word: str, spec: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if value == spec:
        return f"{flag}{equals}{_portable_spec(spec)}"
    return f"{flag}{equals}{Path(value).name if Path(value).is_absolute() else value}"


def _portable_text(text: str) -> str:
    return _PATH.sub(r"\1", text)


def _with_tests(chapter: Chapter, tested: Mapping[str, Any]) -> Chapter:
    return replace(chapter, conditions=tuple(_with_test(one, tested.get(one.name)) for one in chapter.conditions))


def _with_test(condition: Condition, test: Mapping[str, Any] | None) -> Condition:
    if test is None:
        return condition
    contrasts = {metric: Contrast(**contrast) for metric, contrast in test["contrasts"].items()}
    return replace(condition, contrasts=contrasts, cost=Cost(**test["cost"]), notes=tuple(test["notes"]))
