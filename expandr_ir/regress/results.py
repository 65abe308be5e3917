"""What regressions came to: results.json, which `expandr regress` writes and `expandr report` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import atomic_write

FORMAT = "expandr-results/1"
NAME = "results.json"

Verdict: TypeAlias = Literal["OK", "OK*", "FAIL", "SKIP", "NEW"]
"""Equal; within the tolerance but not equal; neither, higher included; not run; no figure to hold it against."""

VERDICTS: tuple[Verdict, ...] = ("OK", "OK*", "FAIL", "SKIP", "NEW")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One metric of one condition, held against what is expected of it.

    Args:
        metric: its name in ir_measures, such as "nDCG@10".
        precision: decimals that are printed and compared.
        measured: what came out, unrounded; None where nothing was run.
        expected: what should come out; None where no figure is known.
        tolerance: largest difference that is no failure.
        source: where the expected figure stands.
        published: another figure, of a paper or of the full collection, that is shown and never judged.
        published_source: where that one stands.
        verdict: one of VERDICTS.
        reason: of a SKIP or a FAIL.
    """

    metric: str
    precision: int
    measured: float | None
    expected: float | None
    tolerance: float
    source: str | None
    published: float | None
    published_source: str | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One condition on one collection.

    Args:
        collection: the regression's name, such as "scifact".
        title: what a reader calls it.
        spec: what was loaded: a folder, irds:ID, pyserini:NAME or demo.
        split: which judgements.
        condition: its name.
        family: what kind of condition it is: bm25, frozen, dense, hybrid, live, or published.
        tier: exact, near, live, training or published.
        baseline: the condition that it is compared with, if any.
        run: the run's file, relative to the folder of results.json; None where nothing was run.
        expansions: the expansions' file.
        command: what to type to get this run.
        pyserini: the same with Pyserini's own commands, where there are any.
        topics: how many are judged; None where that is not known.
        samples: expansions of each topic.
        seconds: wall time of the search.
        prompt_tokens, completion_tokens: of the LLM, over all topics.
        missing: topics without an expansion.
        empty: expansions that were written and are empty.
        values: one of each metric.
    """

    collection: str
    title: str
    spec: str
    split: str | None
    condition: str
    family: str
    tier: str
    baseline: str | None
    run: str | None
    expansions: str | None
    command: str
    pyserini: tuple[str, ...]
    topics: int | None
    samples: int | None
    seconds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    missing: int
    empty: int
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one folder of regressions holds.

    Args:
        results: in the order of the collections and of their conditions.
        versions: of Python, this package, and what it stands on.
        date: when they were judged, ISO 8601.
    """

    results: tuple[Result, ...]
    versions: Mapping[str, str]
    date: str

    def counts(self) -> dict[Verdict, int]:
        """How many values have each verdict."""
        found = [value.verdict for result in self.results for value in result.values]
        return {verdict: found.count(verdict) for verdict in VERDICTS}


def make_results(results: Sequence[Result], versions: Mapping[str, str]) -> Results:
    """The results as of now."""
    return Results(tuple(results), dict(versions), datetime.now(UTC).isoformat(timespec="seconds"))


def as_json(results: Results) -> dict[str, Any]:
    """The results as results.json holds them."""
    return {
        "format": FORMAT,
        "date": results.date,
        "versions": dict(results.versions),
        "results": [asdict(result) for result in results.results],
    }


def write_results(folder: Path, results: Results) -> Path:
    """The path of results.json, written into the folder."""
    path = folder / NAME
    with atomic_write(path) as stream:
        json.dump(as_json(results), stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    return path


def read_results(folder: Path) -> Results:
    """The results in a folder that `expandr regress` wrote.

    Args:
        folder: the folder, or its results.json.

    Raises:
        MissingResourceError: there is none.
        InputError: it is not this format.
    """
    path = folder / NAME if folder.is_dir() else folder
    if not path.is_file():
        raise MissingResourceError(
            f"{path} is not there", expected="a folder that `expandr regress --output` wrote", remedy="expandr regress"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data["format"]
        if found == FORMAT:
            return Results(tuple(map(_result, data["results"])), data["versions"], data["date"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no results ({type(error).__name__}: {error})", expected=FORMAT) from error
    raise InputError(f"{path} has the format {found!r}", expected=FORMAT, remedy="expandr regress, of this version")


def _result(data: dict[str, Any]) -> Result:
    lists = {"pyserini": tuple(data["pyserini"]), "values": tuple(Value(**value) for value in data["values"])}
    return Result(**data | lists)
