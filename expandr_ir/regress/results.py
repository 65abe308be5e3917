"""Verdicts on figures, and results.json, which `expandr regress` writes and `expandr report` reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from expandr_ir.blocks import fit
from expandr_ir.errors import InputError, MissingResourceError, check_number
from expandr_ir.io.files import read_json, write_json
from expandr_ir.regress.catalogue import Figure

T = TypeVar("T")

FORMAT = "expandr-results/1"
NAME = "results.json"

Verdict: TypeAlias = Literal["OK", "OK*", "FAIL", "SKIP", "NEW"]
"""Printed as the expected figure; within its tolerance; further, higher included; not run; no figure is known."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One metric of one condition beside the figure that is expected of it."""

    metric: str  # its name in ir_measures, such as "nDCG@10"
    precision: int  # decimals that are printed and compared
    measured: float | None = None  # unrounded; None where nothing was run
    expected: float | None = None  # None where no figure is known
    tolerance: float = 0.0  # largest difference that is no failure
    source: str | None = None  # where the expected figure stands
    published: float | None = None  # of a paper or of the full collection: shown, never judged
    published_source: str | None = None
    verdict: Verdict = "NEW"
    reason: str = ""  # of a SKIP or a FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One condition on one collection."""

    collection: str  # the regression's name, such as "scifact"
    title: str  # its name for readers
    spec: str  # what was loaded: a folder, irds:ID, pyserini:NAME or demo
    split: str | None = None
    condition: str
    about: str = ""  # a line for readers
    family: str
    tier: str = ""
    baseline: str | None = None  # the condition that it is compared with
    run: str | None = None  # the run's file, relative to the folder of results.json
    expansions: str | None = None  # their file
    generator: str | None = None  # the LLM that wrote them for this run, with its revision
    command: str = ""  # what to type to get this run
    pyserini: tuple[str, ...] = ()  # the same with Pyserini's own commands, where there are any
    topics: int | None = None  # judged ones
    samples: int | None = None  # expansions of each topic
    seconds: float | None = None  # wall time of the search
    prompt_tokens: int | None = None  # of the LLM, over all topics
    completion_tokens: int | None = None
    missing: int = 0  # topics without an expansion
    empty: int = 0  # expansions that were written and are empty
    values: tuple[Value, ...]  # one of each metric


@dataclass(frozen=True, slots=True)
class Results:
    """All results of one folder, in the order of the collections and of their conditions."""

    results: tuple[Result, ...]
    versions: dict[str, str]  # of Python, this package, and what it stands on
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))  # when they were judged
    tested: dict[str, Any] = field(default_factory=dict)  # what `expandr report` keeps beside them: tests and costs

    def counts(self) -> dict[Verdict, int]:
        """The number of values with each verdict."""
        verdicts = [value.verdict for result in self.results for value in result.values]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS}

    def as_json(self) -> dict[str, Any]:
        """The results as results.json holds them."""
        rows = [asdict(result) for result in self.results]
        content = {"format": FORMAT, "date": self.date, "versions": self.versions, "results": rows}
        return content | ({"tested": self.tested} if self.tested else {})


def rounded(value: float | str, precision: int) -> Decimal:
    """A value as it is printed with that many decimals (as trec_eval's "%.4f" prints it)."""
    return Decimal(value).quantize(Decimal(1).scaleb(-precision), ROUND_HALF_EVEN)


def judge(
    metric: str,
    precision: int,
    measured: float | None,
    expected: Figure | None,
    published: Figure | None = None,
    skip: str = "",
) -> Value:
    """The verdict on a measured value, or on none, with the reason why there is none."""
    verdict: Verdict = "OK"
    reason = ""
    facts: dict[str, Any] = {"metric": metric, "precision": precision, "measured": measured}
    if expected:
        facts |= {"expected": expected.value, "tolerance": expected.tolerance, "source": expected.source}
    if published:
        facts |= {"published": published.value, "published_source": published.source}
    if measured is None:
        verdict, reason = "SKIP", skip
    elif expected is None:
        verdict, reason = "NEW", "no figure is known yet"
    else:  # of printed values, so that a tolerance of .001 lets .6461 stand beside .6451
        wanted = rounded(str(expected.value), precision)  # as it was written: the float's own digits would not do
        difference = rounded(measured, precision) - wanted
        if abs(difference) > Decimal(str(expected.tolerance)):
            tolerance = f", tolerance {expected.tolerance:g}" if expected.tolerance else ""
            verdict = "FAIL"
            reason = f"{abs(difference)} {'higher' if difference > 0 else 'lower'} than {wanted}{tolerance}"
        elif difference:
            verdict = "OK*"
    return Value(**facts, verdict=verdict, reason=reason)


def write_results(folder: Path, results: Results) -> Path:
    """The path of results.json, written into the folder."""
    write_json(folder / NAME, results.as_json(), indent=1)
    return folder / NAME


def read_results(path: Path) -> Results:
    """The results in a folder that `expandr regress` wrote, or in its results.json."""
    path = path / NAME if path.is_dir() else path
    results = read_format(path, FORMAT, Results, "a folder that `expandr regress --output` wrote")
    names = set[tuple[str, str]]()
    for result in results.results:
        name = f"{result.collection}/{result.condition}"
        if not result.values or (result.collection, result.condition) in names:
            fault = "is there a second time" if result.values else "has no values"
            raise InputError(f"{path}: {name} {fault}", expected="each condition once, with a value for each metric")
        names.add((result.collection, result.condition))
        for value in result.values:
            check_number(f"{path}: the precision of {name}'s {value.metric}", value.precision, least=0, most=17)
    return results


def read_format(path: Path, name: str, block: type[T], expected: str) -> T:
    """The dataclass in a JSON file that names its format."""
    if not path.is_file():
        raise MissingResourceError(f"{path} is not there", expected=expected, remedy="expandr regress")
    data = read_json(path)
    if not isinstance(data, dict) or "format" not in data:
        raise InputError(f"{path} names no format", expected=f"{name}: {expected}")
    if data["format"] != name:
        raise InputError(
            f"{path} has the format {data['format']!r}", expected=name, remedy="write it with this version"
        )
    return fit(block, {key: value for key, value in data.items() if key != "format"}, str(path))
