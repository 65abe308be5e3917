"""Preferences: of each query's candidates the one with the highest reward is chosen, the one with the lowest rejected.

After ExpandR and LLM-QE (arXiv 2502.17057) and Reinforced-IR (arXiv 2502.11562); which of them is a matter of options.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from expandr_ir.config import EncodeOptions, GeneratorConfig
from expandr_ir.errors import InputError, PartlyDoneError
from expandr_ir.io.files import output_folder
from expandr_ir.io.manifest import manifest_path, write_manifest
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.train.align import preference_files as files
from expandr_ir.train.align.candidates import CandidateOptions, Candidates, generation_calls, make_table, open_expanders
from expandr_ir.train.align.rewards import REASONS, SelectionOptions, check_positive, select
from expandr_ir.train.align.scoring import (
    CorpusOptions,
    SimilarityOptions,
    add_corpus_ranks,
    add_similarities,
    encoder_provenance,
)
from expandr_ir.train.data.rows import all_rows, distinct_queries
from expandr_ir.train.data.split import subsample

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder
    from expandr_ir.expanders import Expander
    from expandr_ir.retrievers.dense import Dense

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PreferencesOptions(SelectionOptions, CandidateOptions):
    """Options of `expandr train preferences`.

    Args:
        rows: JSONL file or folder of them, collection, or hub:ID; may be repeated.
        split: of a collection or a data set; None is train.
        queries: how many of the queries are used, drawn before anything is generated; None uses all.
        seed: of the draw; the texts' own seed is `generator.decoding.seed`.
        generator: a name of conf/generators, a YAML file, or engine:model.
        encoder: what compares the texts: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        expansion_role: whether candidates are encoded as queries or as documents; None is the encoder's own.
        expansion_prefix: put before each candidate when it is encoded; None is the encoder's own.
        encode: how the encoder runs.
        compare: how texts are compared.
        corpus: what the reward `corpus` searches in.
        output: folder of the preferences.
        parquet: also write preferences.parquet.
        dry_run: say what is stored, what would be generated and about how many tokens, and stop.
        format: of --dry-run and of the closing summary: text or json.
    """

    rows: list[str]
    split: str | None = None
    queries: int | None = None
    seed: int = 42
    generator: GeneratorConfig
    encoder: str | None = None
    expansion_role: Literal["query", "document"] | None = None
    expansion_prefix: str | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    compare: SimilarityOptions = field(default_factory=SimilarityOptions)
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    output: str
    parquet: bool = False
    dry_run: bool = False
    format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        SelectionOptions.__post_init__(self)
        CandidateOptions.__post_init__(self)
        check_positive(self, "queries")
        evidence = self.evidence()
        if not self.encoder and (evidence - {"corpus"} or self.corpus.retriever == "dense"):
            raise InputError("no encoder is named", expected="one that compares texts", remedy="--encoder contriever")
        if "corpus" in evidence and not self.corpus.collection:
            raise InputError("the reward 'corpus' needs a collection", remedy="--corpus.collection beir/scifact")

    def dense(self) -> Dense:
        """The encoder with its roles, not opened."""
        from expandr_ir.retrievers.dense import Dense

        names = ("encoder", "expansion_role", "expansion_prefix", "encode")
        return Dense(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class PreferencesSummary:
    """The figures of a finished run, or of a forecast, which has no path; `str` is what the command prints."""

    figures: dict[str, Any]
    format: Literal["text", "json"]
    path: Path | None = None
    exit_code: int = 0

    def __str__(self) -> str:
        lines = [f"{name:<32} {_figure(value)}" for name, value in self.figures.items()]
        lines = [json.dumps(self.figures)] if self.format == "json" else lines
        return "\n".join([*lines, str(self.path)] if self.path else lines)


def preferences(options: PreferencesOptions) -> PreferencesSummary:
    """Draws queries, writes candidates and answers, compares, rewards, selects, and writes the folder of preferences.

    What a killed run wrote is not written again, and its files have the same bytes in the end.

    Raises:
        InputError: faulty rows, a folder with preferences of another LLM, prompt or encoder, or no query that gives a
            preference.
        ExpandrError: the generator or the store fails, or a vector, similarity or reward is not finite.
    """
    folder = output_folder(options.output)
    distinct, duplicates = distinct_queries(all_rows(options.rows, options.split))
    if not distinct:
        raise InputError("there are no rows", expected="at least one row with query and positive")
    n_rows = {"rows": len(distinct) + duplicates, "duplicates": duplicates}
    rows = subsample(distinct, options.queries, options.seed)
    with open_expanders(options, options.generator, with_answers="answer" in options.evidence()) as expanders:
        calls = generation_calls(options, rows, *expanders)
        if options.dry_run:
            forecast = reduce(add, [expander.plan(**call).forecast() for expander, call in calls])
            figures = n_rows | {"queries": len(rows)} | {n: v for n, v in forecast.rows().items() if n != "topics"}
            return PreferencesSummary(figures, options.format)
        encoder = None
        if manifest_path(folder / files.PREFERENCES).is_file():  # refused before anything is generated
            encoder = _open_encoder(options)
            files.check_provenance(folder, _provenance(options, expanders, encoder))
        start = time.perf_counter()
        generations = [expander.generate(**call) for expander, call in calls]
        compare_start = time.perf_counter()
        for first in [expansions.failures[0] for expansions in generations if expansions.failures]:
            logger.warning("query %s, sample %d: %s", first.topic_id, first.sample, first.error)
        if failures := sum(len(expansions.failures) for expansions in generations):
            logger.warning("%d samples have no text; the same command tries those that failed again", failures)
        table = make_table(options, rows, expanders[0].prompt, generations)
        encoder = encoder or _open_encoder(options)
        threshold = compare_and_select(table, encoder, folder / files.WORK, options)
        seconds = {"generate": compare_start - start, "compare": time.perf_counter() - compare_start}
        provenance = _provenance(options, expanders, encoder)
    if all(entry.reason for entry in table):
        raise _nothing_kept(table)
    summary = n_rows | files.summarize(table, threshold)
    manifest_path(folder / files.PREFERENCES).unlink(missing_ok=True)
    card = files.data_card(summary, provenance, options.rows)
    path = files.write_preferences(folder, table, summary, card, parquet=options.parquet)
    write_manifest(
        path,
        options=options,
        inputs={f"rows {number}": source for number, source in enumerate(options.rows, start=1)},
        seeds={"draw": options.seed, "decoding": options.generator.decoding.seed},
        counts=n_rows
        | {"topics": len(table), "preferences": summary["kept"]}
        | {name: sum(expansions.counts[name] for expansions in generations) for name in ("generated", "stored")}
        | {
            "samples_without_text": failures,
            "truncated_samples": sum(expansions.counts["truncated"] for expansions in generations),
        }
        | {"texts_cut_by_the_encoder": sum(encoder.truncated.values()) if encoder else 0}
        | {f"dropped_{reason}": count for reason, count in summary["dropped"].items()},
        seconds=seconds,
        tokens={name: sum(expansions.tokens[name] for expansions in generations) for name in ("in", "out")},
        details={"provenance": provenance, "threshold": threshold},
    )
    return PreferencesSummary(_figures(summary), options.format, path, PartlyDoneError.exit_code if failures else 0)


def compare_and_select(
    table: Sequence[Candidates], encoder: Encoder | None, work: Path, options: PreferencesOptions
) -> float | None:
    """Fills in the table; returns the threshold in force. `work` is the folder of finished batches."""
    evidence = options.evidence()
    for entry in table:
        if "answer" in evidence and entry.answer is None:
            entry.reason = "no_answer"
        elif len(entry.texts) < options.min_candidates:
            entry.reason = "too_few_candidates"
    comparable = [entry for entry in table if entry.reason is None]
    if encoder is not None:
        add_similarities(comparable, encoder, work, options.compare, with_query="query" in evidence)
    if "corpus" in evidence:
        add_corpus_ranks(comparable, options.corpus, work, options.dense())
    return select(comparable, options)


def _open_encoder(options: PreferencesOptions) -> Encoder | None:
    return options.dense().open_encoder if options.evidence() - {"corpus"} else None


def _provenance(
    options: PreferencesOptions, expanders: tuple[Expander, Expander | None], encoder: Encoder | None
) -> dict[str, Any]:
    """Everything that preferences depend on besides the rows, as plain data."""

    def llm(expander: Expander, prompt: Prompt, **decoding: Any) -> dict[str, Any]:
        return {
            "generator": asdict(expander.generator.id),
            "prompt": {"id": f"{prompt.id}@{prompt.version}", "sha256": prompt.sha256},
            "decoding": asdict(expander.decoding) | decoding,
        }

    expander, answerer = expanders
    writer = llm(expander, expander.prompt, temperatures=options.temperatures, samples=options.samples)
    del writer["decoding"]["temperature"]
    answer_prompt = load_prompt(options.answer_prompt)
    return writer | {
        "answers": llm(answerer, answer_prompt, temperature=options.answer_temperature) if answerer else None,
        "encoder": encoder and {"name": options.encoder} | encoder_provenance(encoder),
        "compare": asdict(options.compare),
        "rewards": options.rewards,
        "reward": asdict(options.reward),
        "corpus": asdict(options.corpus) if "corpus" in options.evidence() else None,
    }


def _nothing_kept(table: Sequence[Candidates]) -> InputError:
    counts = Counter(entry.reason for entry in table)
    dropped = {reason: counts[reason] for reason in REASONS if counts[reason]}
    best = [similarity for entry in table if (similarity := entry.evidence.best_similarity()) is not None]
    return InputError(
        f"none of the {len(table)} queries gives a preference: {dropped}",
        expected="at least one",
        remedy=REASONS[max(dropped, key=lambda reason: dropped[reason])].format(
            median=round(float(np.median(best)), 6) if best else None
        ),
    )


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "queries": summary["queries"],
        "kept": summary["kept"],
        **{f"dropped: {reason}": count for reason, count in summary["dropped"].items() if count},
        **{f"candidates dropped: {reason}": n for reason, n in summary["candidates_dropped"].items() if n},
        "threshold": summary["threshold"],
        "words, chosen": summary["words"]["chosen"]["mean"],
        "words, rejected": summary["words"]["rejected"]["mean"],
        "reward and words, correlation": summary["correlation_of_reward_and_words"]["within_query"],
    }


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
