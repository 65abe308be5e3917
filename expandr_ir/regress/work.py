"""Steps carried out: each run that is not there yet is searched and written, and every run is scored."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import MissingResourceError, NotInstalledError
from expandr_ir.files import atomic_write, sha256_json
from expandr_ir.manifest import Manifest, generation_costs, installed_versions, read_manifest, write_manifest
from expandr_ir.records import Hits, Qrels, Run, Topic
from expandr_ir.regress.commands import search_command
from expandr_ir.regress.expanded import asked
from expandr_ir.regress.live import Writer, written
from expandr_ir.regress.places import NotHereError, Places
from expandr_ir.regress.plan import Step, check_model
from expandr_ir.regress.reuse import request, stale
from expandr_ir.regress.statistics import check_statistics
from expandr_ir.retrieve import SearchOptions, search
from expandr_ir.retrieve.base import Counting, uncounted
from expandr_ir.runs import read_run, write_run

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder
    from expandr_ir.regress.remembered import Encoders

EVALUATING = ("ir-measures", "pytrec-eval-terrier")


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Args:
        run: its file; None where there is none.
        means: metric -> mean, unrounded.
        topics: judged topics.
        manifest: of the run.
        made: why the run was made; "" where it was there already.
        skip: why there is none.
    """

    run: Path | None = None
    means: Mapping[str, float] | None = None
    topics: int | None = None
    manifest: Manifest | None = None
    made: str = ""
    skip: str = ""


class Bench:
    """One collection, loaded once for all its steps.

    Args:
        spec: what `load_collection` takes.
        split: which judgements.

    Raises:
        MissingResourceError: a part of it is not here.
    """

    def __init__(self, spec: str, split: str | None) -> None:
        self.collection: Collection = load_collection(spec)
        self.split = split
        self.topics: dict[str, Topic] = self.collection.topics(split)
        self.fingerprint = self.collection.fingerprint()
        self._statistics: dict[str, dict[str, int]] = {}

    @cached_property
    def qrels(self) -> Qrels:
        """The judgements of the split."""
        return self.collection.qrels(self.split)

    @cached_property
    def qrels_sha256(self) -> str:
        """Identifies them."""
        return sha256_json(self.qrels)

    def statistics(self, options: SearchOptions, counting: Counting) -> tuple[str, dict[str, int]]:
        """Fields and counts of the index of documents that a search stands on; a dense one's are the flat index's."""
        from expandr_ir.retrieve.sparse import open_index

        fields = options.fields if options.retriever == "sparse" else "flat"
        if fields not in self._statistics:
            named = options.index if options.retriever != "dense" else None
            index = open_index(self.collection, SearchOptions(fields=fields, index=named), counting)
            counts = index.stats()
            self._statistics[fields] = {"documents": counts.documents, "terms": counts.terms}
            index.close()
        return fields, self._statistics[fields]


class Worker:
    """Carries out steps in one folder.

    Args:
        folder: where runs and their manifests are written.
        places: where data and expansions are.
        jobs: searches at once, inside Java.
        writer: the LLM of live conditions, if there is one.
        counting: shows how far indexing and encoding are.
        on_step: is told what happens to a step.
    """

    def __init__(
        self,
        folder: Path,
        places: Places,
        jobs: int | None = None,
        writer: Writer | None = None,
        counting: Counting = uncounted,
        on_step: Callable[[Step, str], None] = lambda step, what: None,  # noqa: ARG005
    ) -> None:
        self.folder, self.places, self.jobs, self.writer = folder, places, jobs, writer
        self._counting, self._on_step = counting, on_step
        self._bench: Bench | None = None
        self._encoders: Encoders | None = None

    def run(self, step: Step) -> Outcome:
        """What became of the step.

        Raises:
            InputError: an index with other statistics than the regression's, or inputs that do not fit.
        """
        if step.skip:
            return Outcome(skip=step.skip)
        try:
            return self._run(step, self._open(step))
        except (NotHereError, MissingResourceError, NotInstalledError) as missing:
            return Outcome(skip=missing.found.replace("\n", " "))

    def run_path(self, step: Step) -> Path:
        """Where the step's run stands."""
        return self.folder / f"{step.name}.run"

    def _load(self, *args: Any, **named: Any) -> Encoder:
        """Loads an encoder once for all steps."""
        if self._encoders is None:
            from expandr_ir.regress.remembered import Encoders

            self._encoders = Encoders()
        return self._encoders.load(*args, **named)

    def _open(self, step: Step) -> Bench:
        assert step.collection is not None
        split = self.places.split(step.spec, step.collection)
        if self._bench is None or (self._bench.collection.spec, self._bench.split) != (step.collection, split):
            self._bench = Bench(step.collection, split)
        return self._bench

    def _run(self, step: Step, bench: Bench) -> Outcome:
        path = self.run_path(step)
        check_model(step, bench.collection, bench.fingerprint)
        if step.expander and self.writer:
            self._on_step(step, f"expansions by {self.writer.spec}")
            file = path.with_name(f"{step.condition.name}.expansions.jsonl")
            split = bench.split
            file = written(file, self.writer, step.expander, bench.collection, split, bench.topics)
            step = replace(step, expansions=file)
        wanted = request(step, bench.fingerprint, bench.topics)
        made = stale(path, wanted)
        run = self._make(step, bench, path, wanted, made) if made else None
        manifest = read_manifest(path)
        assert manifest is not None
        counted = manifest.details["statistics"]
        check_statistics(step.spec, counted["fields"], counted, str(step.collection))
        means, topics = _scores(step, bench, path, manifest.output.sha256 or "", run)
        return Outcome(path, means, topics, manifest, made)

    def _make(self, step: Step, bench: Bench, path: Path, wanted: dict[str, Any], why: str) -> Run:
        """Searches, writes the run and its manifest, and returns the run as it reads back."""
        assert step.options is not None
        found = asked(bench.topics, step.expansions, step.condition.topics_field)
        if found.missing:
            raise NotHereError(
                f"expansions missing: {len(found.missing)} of {len(bench.topics)} topics have none in {step.expansions}"
            )
        self._on_step(step, why)
        started = datetime.now(UTC)
        options = replace(step.options, threads=self.jobs)
        if step.condition.topics_field:
            options = replace(options, aggregation="none")
        fields, counts = bench.statistics(options, self._counting)
        check_statistics(step.spec, fields, counts, str(step.collection))
        searched = search(found.topics, bench.collection, options, self._counting, self._load)
        write_run(path, searched.run, step.condition.name)
        costs = generation_costs(found.topics.values())
        samples = {"samples": found.samples} if found.samples else {}
        write_manifest(
            path,
            command=shlex.split(search_command(step, str(path), self.writer.spec if self.writer else None)),
            started=started,
            config=asdict(options),
            inputs={"expansions": step.expansions} if step.expansions else {},
            counts=searched.counts | {"missing_topics": 0, "empty_expansions": found.empty} | samples,
            seconds=searched.seconds | costs.seconds,
            tokens=costs.tokens,
            details={
                "request": wanted,
                "statistics": {"fields": fields} | counts,
                "name": searched.name,
                "collection": {"name": bench.collection.name, "spec": bench.collection.spec},
            }
            | searched.details,
        )
        return {topic_id: _as_written(hits) for topic_id, hits in searched.run.items() if len(hits)}


def _scores(step: Step, bench: Bench, path: Path, run_sha256: str, run: Run | None) -> tuple[dict[str, float], int]:
    """The run's means and the number of judged topics, kept beside it for as long as run and judgements stay.

    Args:
        step: whose metrics are computed.
        bench: whose judgements count.
        path: the run's file.
        run_sha256: its hash.
        run: what it holds, where that is at hand.
    """
    versions = {name: version for name, version in installed_versions().items() if name in EVALUATING}
    key = {"run": run_sha256, "qrels": bench.qrels_sha256, "metrics": list(step.spec.metrics), "versions": versions}
    kept = path.with_name(f"{path.name}.scores.json")
    if kept.is_file():
        data = json.loads(kept.read_text(encoding="utf-8"))
        if data["of"] == key:
            return data["means"], data["topics"]
    from expandr_ir.evaluate import evaluate

    scores = evaluate(run or read_run(path, bench.topics), bench.qrels, list(step.spec.metrics), name=str(path))
    with atomic_write(kept) as stream:
        json.dump({"of": key, "means": scores.means, "topics": scores.topics}, stream, indent=1)
        stream.write("\n")
    return scores.means, scores.topics


def _as_written(hits: Hits) -> Hits:
    """The hits as the file holds them: scores with 6 decimals."""
    return Hits(hits.doc_ids, [float(f"{score:.6f}") for score in hits.scores])
