"""Steps carried out: a run that is not there yet is searched and written, and every run is scored and judged."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from expandr_ir.collections import load_collection
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.expanders import load_expander
from expandr_ir.io.expansions import Expansions, read_expansions
from expandr_ir.io.files import home, sha256_file, sha256_json
from expandr_ir.io.manifest import Manifest, installed_versions, read_manifest, running
from expandr_ir.io.runs import read_run
from expandr_ir.records import Hits, Qrels, Topic
from expandr_ir.regress.catalogue import Condition, Regression
from expandr_ir.regress.results import Result, Value, judge
from expandr_ir.regress.reuse import make_request, why_stale
from expandr_ir.regress.steps import RegressOptions, Step, pyserini_commands, search_command
from expandr_ir.retrievers import BM25, SearchOptions, load_retriever
from expandr_ir.runtime import pick_device

logger = logging.getLogger(__name__)

EVALUATING = ("ir-measures", "pytrec-eval-terrier")
DOCUMENTS_WITHOUT_GPU = 500_000
"""The most documents that are encoded on a CPU: some hours."""


class Bench:
    """One collection, loaded once for all its steps."""

    def __init__(self, spec: str, split: str | None) -> None:
        self.collection, self.split = load_collection(spec), split
        self.topics: dict[str, Topic] = self.collection.topics(split)
        self.fingerprint = self.collection.fingerprint()

    @cached_property
    def qrels(self) -> Qrels:
        """The judgements of the split."""
        return self.collection.qrels(self.split)


class Worker:
    """Carries out the steps of one command, and writes runs and their manifests into the folder."""

    def __init__(self, folder: Path, options: RegressOptions) -> None:
        self.folder, self.options = folder, options
        self.searched = self.kept = 0
        self._bench: tuple[str, Bench] | None = None

    def run(self, step: Step) -> Result:
        """The result of the step, skipped where something that it needs is not here."""
        try:
            if step.skip:
                raise MissingResourceError(step.skip)
            if step.condition.family == "training":
                from expandr_ir.regress.training import measure_residuals

                return make_result(step, self.folder, means=measure_residuals(step, self.folder))
            return self._run(step)
        except (MissingResourceError, NotInstalledError) as missing:
            return make_result(step, self.folder, skip=missing.found.replace("\n", " "))

    def _run(self, step: Step) -> Result:
        key = f"{step.collection} {step.split}"
        if self._bench is None or self._bench[0] != key:
            self._bench = key, Bench(step.collection, step.split)
        bench, path = self._bench[1], self.folder / f"{step.name}.run"
        request = make_request(step, bench.fingerprint, bench.topics)  # a missing model ends here, before an LLM writes
        _check_device(step, bench)
        if step.expander:
            expansions = self._expand(step, bench)
            step = replace(step, expansions=expansions)
            request["expansions"] = sha256_file(expansions)
        if reason := why_stale(path, request):
            self._search(step, bench, request, reason)
            self.searched += 1
        else:
            self.kept += 1
        manifest = read_manifest(path)
        assert manifest is not None
        _check_statistics(step, manifest.details["statistics"])
        scores = manifest.details["scores"]
        if scores["of"] != _of_scores(step, bench):
            scores = _scores(step, bench, read_run(path, bench.topics))
        return make_result(step, self.folder, scores["means"], scores["topics"], manifest)

    def _expand(self, step: Step, bench: Bench) -> Path:
        """The file of expansions by the LLM; from one command to the next the store keeps its texts."""
        given, path = step.generator, self.folder / f"{step.name}.expansions.jsonl"
        assert given is not None
        generator = replace(given, decoding=replace(given.decoding, seed=self.options.seed))
        with load_expander(
            step.condition.expander, generator=generator, collection=bench.collection, split=bench.split
        ) as expander:
            return expander.expand(bench.topics).save(path, options=generator)

    def _search(self, step: Step, bench: Bench, request: dict[str, Any], reason: str) -> None:
        assert step.options is not None
        expansions, path = read_searched(step, bench.topics), self.folder / f"{step.name}.run"
        if expansions.missing:
            missing = f"{len(expansions.missing)} of {len(bench.topics)} topics have none in {step.expansions}"
            raise MissingResourceError(f"expansions missing: {missing}")
        logger.log(logging.DEBUG if reason == "new" else logging.WARNING, "%s: searching (%s)", step.name, reason)
        options = replace(step.options, threads=self.options.jobs)
        options = replace(options, aggregation="none") if step.condition.topics_field else options
        index = (
            None if options.retriever == "dense" else options.index
        )  # a dense one stands on the flat index's documents
        counts = BM25(bench.collection, fields=index_fields(options), index=index).lucene_index.stats()
        statistics = {"documents": counts.documents, "terms": counts.terms}
        _check_statistics(step, statistics)
        run = load_retriever(bench.collection, options).search(expansions if step.expansions else bench.topics)
        in_file = {
            topic_id: Hits(hits.doc_ids, [float(f"{score:.6f}") for score in hits.scores])
            for topic_id, hits in run.items()
            if len(hits)
        }
        run.details |= {
            "request": request,
            "statistics": statistics,
            "collection": {"name": bench.collection.name, "spec": bench.collection.spec},
            "scores": _scores(step, bench, in_file),
        }
        samples = max((len(topic.expansions) for topic in expansions.values()), default=0)
        written = {"empty_expansions": expansions.counts["empty"], "missing_topics": 0}
        written |= {"samples": samples} if samples else {}
        with running(shlex.split(search_command(step, str(path)))):
            inputs = {"expansions": step.expansions}
            run.save(path, tag=step.condition.name, options=options, inputs=inputs, counts=written)


def index_fields(options: SearchOptions) -> Literal["flat", "multifield"]:
    """The fields of the index of documents that a search stands on."""
    return options.fields if options.retriever == "sparse" else "flat"


def read_searched(step: Step, topics: Mapping[str, Topic]) -> Expansions:
    """Recorded expansions; a condition with a topics_field has its text in place of the topic's, unless it is blank."""
    if step.expansions is None:
        return Expansions({}, counts={"empty": 0})
    expansions, field = read_expansions(step.expansions, topics, skip_missing=True), step.condition.topics_field
    for topic_id, expanded in expansions.items() if field else ():
        text = expanded.expansions[0].extra.get(str(field))
        if not isinstance(text, str):
            raise InputError(f"{step.expansions}: topic {topic_id!r} has no {field!r}", expected="the searched text")
        if text.strip():
            expansions[topic_id] = replace(expanded, topic=Topic(topic_id, text))
    return expansions


def _check_device(step: Step, bench: Bench) -> None:
    """Refuses to encode more documents than a CPU can, unless that was done before."""
    documents, options = bench.collection.facts.documents or 0, step.options
    named = options and (options.index or options.dense_index)
    if step.encoder is None or named or documents <= DOCUMENTS_WITHOUT_GPU or pick_device().type != "cpu":
        return
    if not any(bench.fingerprint in path.read_text() for path in home().glob("vectors/*/manifest.json")):
        raise MissingResourceError(f"needs a GPU: {documents:,} documents to encode")


def _check_statistics(step: Step, counts: Mapping[str, int]) -> None:
    """Refuses an index with other statistics than the regression's."""
    assert step.options is not None
    facts, fields = step.regression.facts, index_fields(step.options)
    known = facts.statistics.get(fields) or {}
    bands = {name: band if isinstance(band, list) else [band] for name, band in known.items()}
    if all(band[0] <= counts[name] <= band[-1] for name, band in bands.items()):
        return
    found = ", ".join(f"{counts[name]:,} {name}" for name in bands)
    expected = ", ".join(f"{' to '.join(f'{count:,}' for count in band)} {name}" for name, band in bands.items())
    raise InputError(
        f"{step.regression.name}: {step.collection}, index {fields}, has {found}",
        expected=f"{expected} ({facts.statistics_source or facts.title})",
        remedy="another version of the data, or a damaged one: fetch it again; nothing was searched",
    )


def _of_scores(step: Step, bench: Bench) -> dict[str, Any]:
    versions = {name: version for name, version in installed_versions().items() if name in EVALUATING}
    return {"qrels": sha256_json(bench.qrels), "metrics": list(step.regression.metrics), "versions": versions}


def _scores(step: Step, bench: Bench, run: Mapping[str, Hits]) -> dict[str, Any]:
    """The run's means and the number of judged topics, with what they depend on."""
    from expandr_ir.evaluate import score_run

    scores = score_run(dict(run), bench.qrels, list(step.regression.metrics), name=step.name)
    return {"of": _of_scores(step, bench), "means": scores.means, "topics": scores.topics}


def make_result(
    step: Step,
    folder: Path,
    means: Mapping[str, float] | None = None,
    topics: int | None = None,
    manifest: Manifest | None = None,
    skip: str = "",
) -> Result:
    """The record of a step, judged; `means` is metric -> mean, unrounded, or None where nothing was run."""
    regression, condition, path = step.regression, step.condition, str(folder / f"{step.name}.run")
    counts, tokens = (manifest.counts, manifest.tokens) if manifest else ({}, {})
    seconds = sum(value for stage, value in manifest.seconds.items() if stage != "generate") if manifest else None
    return Result(
        collection=regression.name,
        title=regression.facts.title,
        spec=step.collection,
        split=regression.facts.split,
        condition=condition.name,
        about=condition.about,
        family=condition.family,
        tier=condition.tier,
        baseline=condition.baseline,
        run=f"{step.name}.run" if manifest else None,
        expansions=str(step.expansions) if step.expansions else None,
        generator=f"{step.llm}@{step.generator.revision}" if step.generator and step.generator.revision else step.llm,
        command=search_command(step, path),
        pyserini=pyserini_commands(step, path),
        topics=topics,
        samples=counts.get("samples"),
        seconds=None if seconds is None else round(seconds, 6),
        prompt_tokens=tokens.get("in"),
        completion_tokens=tokens.get("out"),
        missing=counts.get("missing_topics", 0),
        empty=counts.get("empty_expansions", 0),
        values=judge_all(regression, condition, means, skip),
    )


def judge_all(
    regression: Regression, condition: Condition, means: Mapping[str, float] | None, skip: str = ""
) -> tuple[Value, ...]:
    """A verdict on each metric of the condition."""
    expected = regression.expected.get(condition.name, {})
    published = regression.published.get(condition.name, {})
    return tuple(
        judge(name, metric.precision, (means or {}).get(name), expected.get(name), published.get(name), skip)
        for name, metric in regression.metrics_of(condition).items()
    )
