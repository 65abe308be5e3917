"""Measures of a run by ir_measures' names: per topic and over all judged topics, as `trec_eval -c` computes them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError, NotInstalledError, some
from expandr_ir.io.qrels import LARGEST_GRADE, check_grade
from expandr_ir.io.runs import as_trec_eval_ranks
from expandr_ir.records import Hits, Qrels

DEFAULT_MEASURES = ("nDCG@10", "R@100")
"""The measures where none is named: BEIR's."""


QRELS = "topic_id -> doc_id -> grade"


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a run.

    Args:
        means: measure -> mean over all judged topics (for NumRet, NumRel and NumQ the sum, as trec_eval prints it).
        per_topic: measure -> topic_id -> value, for every judged topic, in the order of the qrels.
        missing: judged topics without a hit in the run; they count 0.
        unjudged: topics of the run that the qrels do not know; they are not scored.
        without_relevant: judged topics none of whose documents is relevant; they count 0 for every run.
    """

    means: dict[str, float]
    per_topic: dict[str, dict[str, float]]
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]
    without_relevant: tuple[str, ...]

    @property
    def topics(self) -> int:
        """The number of topics that the means are over."""
        return len(next(iter(self.per_topic.values())))


def score_run(
    run: Mapping[str, Hits], qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES, *, name: str = "the run"
) -> Scores:
    """The scores of a run, keyed by the measures' names as they were given.

    Every measure is computed on trec_eval's ranking, and every topic with judgements counts, as with `trec_eval -c` and
    in BEIR.

    Args:
        run: rankings.
        qrels: judgements.
        measures: names of ir_measures, or one, such as "nDCG@10", "R@100", "AP", "RR@10", "P(rel=2)@10", "Judged@10".
        name: the run's name in errors.

    Raises:
        InputError: a measure that does not exist or is incomplete, no measure, no judgement, or no topic that both
            the run and the qrels have.
        NotInstalledError: a measure whose back end is not installed.
    """
    check_run(run, name)
    if not isinstance(qrels, Mapping):
        remedy = f"read_qrels({str(qrels)!r})" if isinstance(qrels, str | Path) else None
        raise InputError(f"the qrels are of type {type(qrels).__name__}", expected=QRELS, remedy=remedy)
    parsed = {measure: _parse(measure) for measure in ([measures] if isinstance(measures, str) else measures)}
    judged = {topic_id: grades for topic_id, grades in qrels.items() if grades}
    for topic_id, grades in judged.items():
        for grade in (min(grades.values()), max(grades.values())):
            check_grade(grade, f"the qrels, topic {topic_id!r}")
    rankings = {topic_id: hits for topic_id, hits in run.items() if len(hits)}
    _check_overlap(parsed, judged, rankings, name)
    ranked: dict[str, dict[str, int]] = {}  # falling whole numbers, so that no back end orders ties in its own way
    for topic_id, hits in rankings.items():
        if topic_id in judged:
            doc_ids = as_trec_eval_ranks(hits).doc_ids
            ranked[topic_id] = dict(zip(doc_ids, range(len(doc_ids), 0, -1), strict=True))
    # trec_eval ends in a segmentation fault where all grades of a topic are negative: 0 is not relevant either.
    graded = {
        topic_id: grades if max(grades.values()) >= 0 else dict.fromkeys(grades, 0)
        for topic_id, grades in judged.items()
    }
    try:
        per_topic = _calculate(parsed, graded, ranked)
    except Exception:  # noqa: BLE001 - of whatever package computes it
        per_topic = {}
        for measure, back_end in parsed.items():
            try:
                per_topic |= _calculate({measure: back_end}, graded, ranked)
            except Exception as error:
                fault = f"the measure {measure!r} cannot be computed for {name} ({type(error).__name__}: {error})"
                raise InputError(fault, expected="a measure that these judgements and hits allow") from error
    totals = {measure: back_end.aggregator() for measure, back_end in parsed.items()}
    for measure, total in totals.items():
        for value in per_topic[measure].values():
            total.add(value)
    return Scores(
        means={measure: float(total.result()) for measure, total in totals.items()},
        per_topic=per_topic,
        missing=tuple(topic_id for topic_id in judged if topic_id not in rankings),
        unjudged=tuple(topic_id for topic_id in run if topic_id not in judged),
        without_relevant=tuple(topic_id for topic_id, grades in judged.items() if max(grades.values()) <= 0),
    )


def _calculate(
    parsed: Mapping[str, Any], qrels: Qrels, ranked: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Measure -> topic_id -> value, 0 for a topic without a hit where the measure says nothing of it."""
    import ir_measures

    missing = dict.fromkeys(qrels.keys() - ranked.keys(), 0.0)
    values: dict[Any, dict[str, float]] = {back_end: dict(missing) for back_end in parsed.values()}
    for metric in ir_measures.iter_calc(list(values), qrels, ranked):
        if not math.isfinite(metric.value):
            raise ValueError(f"{metric.value} for topic {metric.query_id}")
        values[metric.measure][metric.query_id] = float(metric.value)
    return {
        measure: {topic_id: values[back_end][topic_id] for topic_id in qrels} for measure, back_end in parsed.items()
    }


def coverage_notes(scores: Mapping[str, Scores]) -> list[str]:
    """Remarks on scores, by run name: topics that are missing, not judged, or have no relevant document."""
    hopeless = len(next(iter(scores.values())).without_relevant)
    notes = [f"judged topics without a relevant document, counted as 0 for every run: {hopeless}"] if hopeless else []
    for name, run in scores.items():
        if run.missing:
            notes.append(f"{name}: judged topics without a hit, counted as 0: {len(run.missing)} of {run.topics}")
        if run.unjudged:
            notes.append(f"{name}: topics without a judgement, not scored: {len(run.unjudged)}")
    return notes


def check_run(run: object, name: str) -> None:
    """Refuses what is no run: a path, or the nested dictionaries of other packages."""
    if not isinstance(run, Mapping):
        remedy = f"read_run({str(run)!r})" if isinstance(run, str | Path) else None
        raise InputError(f"{name} is of type {type(run).__name__}", expected="a Run", remedy=remedy)
    for topic_id, hits in run.items():
        if not isinstance(hits, Hits):
            fault = f"{name}, topic {topic_id!r}, is of type {type(hits).__name__}"
            raise InputError(fault, expected="topic_id -> Hits(doc_ids, scores)")


def _check_overlap(parsed: dict[str, Any], judged: Qrels, rankings: Mapping[str, Hits], name: str) -> None:
    if not parsed:
        raise InputError("no measure is given", expected="at least one, such as nDCG@10")
    if not judged:
        raise InputError("the qrels hold no judgement", expected="at least one judged document")
    if not rankings:
        raise InputError(f"{name} holds no hit", expected="at least one hit")
    if judged.keys().isdisjoint(rankings):
        raise InputError(
            f"no topic of {name} is judged: it has {some(rankings)}, the qrels have {some(judged)}",
            expected="a run and qrels of the same topics",
            remedy="name the collection and split that the run was made with",
        )


def _parse(name: str) -> Any:
    """The ir_measures object of a name, checked to be complete and computable."""
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
    except NameError as error:
        raise InputError(
            f"unknown measure {name!r}",
            expected="a name of ir_measures, such as nDCG@10, R@100, AP, RR@10, P(rel=2)@10",
            remedy=_from_trec_eval(name) or _nearest(name, ir_measures.measures.registry),
        ) from error
    except (ValueError, AttributeError) as error:
        parts = [part.strip() for part in name.split(",") if part.strip()]
        remedy = " ".join(f"-m {part}" for part in parts) if len(parts) > 1 else _from_trec_eval(name)
        expected = "NAME@CUTOFF, such as nDCG@10"
        raise InputError(f"the measure {name!r} cannot be read", expected=expected, remedy=remedy) from error
    unknown = sorted(measure.params.keys() - measure.SUPPORTED_PARAMS.keys())
    if unknown:
        known = ", ".join(sorted(measure.SUPPORTED_PARAMS))
        raise InputError(f"the measure {name!r} has no parameter {unknown[0]!r}", expected=f"one of {known}")
    for parameter, kind in measure.SUPPORTED_PARAMS.items():
        if kind.required and parameter not in measure.params:
            example = f"{name}@10" if parameter == measure.AT_PARAM else f"{name}({parameter}=...)"
            raise InputError(f"the measure {name!r} lacks its {parameter}", expected=example)
        if parameter in measure.params and not kind.validate(measure.params[parameter]):
            raise InputError(f"the measure {name!r}: {parameter} is {measure.params[parameter]!r}", expected=kind.desc)
    if measure.params.get("cutoff", 1) < 1:
        raise InputError(f"the measure {name!r} has the cutoff {measure.params['cutoff']}", expected="1 or more")
    gains = measure.params.get("gains", {})
    if not all(isinstance(gain, int) and 0 <= gain <= LARGEST_GRADE for gain in gains.values()):
        fault = f"the measure {name!r} has the gains {gains}"
        raise InputError(fault, expected=f"whole numbers from 0 to {LARGEST_GRADE:,}")
    if not ir_measures.DefaultPipeline.supports(measure):
        raise NotInstalledError(
            f"nothing that is installed computes {name}",
            expected="a measure of pytrec_eval, such as nDCG@10",
            remedy="see which package computes it: https://ir-measur.es/en/latest/measures.html",
        )
    return measure


def _from_trec_eval(name: str) -> str | None:
    """The measure that trec_eval calls by this name: "ndcg_cut.10" is nDCG@10."""
    import ir_measures

    try:
        return str(ir_measures.parse_trec_measure(name)[0])
    except ValueError:
        return None


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest name without regard to case, in which papers and tools differ most."""
    bare = re.split(r"\W", name)[0]
    by_lower = {valid.lower(): valid for valid in sorted(known)}
    near = difflib.get_close_matches(bare.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[near[0]] + name.removeprefix(bare) if near else None
