"""Preferences: of each query's candidates the one with the highest reward is chosen, the one with the lowest rejected.

After ExpandR and LLM-QE (arXiv 2502.17057) and Reinforced-IR (arXiv 2502.11562); which of them is a matter of options.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import InputError, PartlyDoneError, check_fields
from expandr_ir.io.files import output_folder
from expandr_ir.io.manifest import Summary, manifest_path, write_manifest
from expandr_ir.train.align import preference_files as files
from expandr_ir.train.align.candidates import CandidateOptions, Candidates, CandidateWriter
from expandr_ir.train.align.evidence import SEARCHED, EvidenceOptions, add_evidence
from expandr_ir.train.align.rewards import REASONS, SelectionOptions, select
from expandr_ir.train.align.scoring import encoder_provenance
from expandr_ir.train.data.rows import all_rows, distinct_queries
from expandr_ir.train.data.split import subsample

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PreferencesOptions(SelectionOptions, EvidenceOptions, CandidateOptions):
    """Options of `expandr train preferences`.

    Args:
        rows: JSONL file or folder of them, collection, or hub:ID; may be repeated.
        split: of a collection or a data set; None is train.
        queries: how many of the queries are used, drawn before anything is generated; None uses all.
        seed: of the draw; the texts' own seed is `generator.decoding.seed`.
        generator: a name of conf/generators, a YAML file, or engine:model.
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
    output: str
    parquet: bool = False
    dry_run: bool = False
    format: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        SelectionOptions.__post_init__(self)
        EvidenceOptions.__post_init__(self)
        CandidateOptions.__post_init__(self)
        check_fields(self, "queries", least=1)


def preferences(options: PreferencesOptions) -> Summary:
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
    counts = {"rows": len(distinct) + duplicates, "duplicates": duplicates}
    rows = subsample(distinct, options.queries, options.seed)
    with ExitStack() as stack:
        with_answers = "answer" in options.evidence()
        writer = CandidateWriter(options, options.generator, rows, stack, with_answers=with_answers)
        if options.dry_run:
            return Summary(counts | {"queries": len(rows)} | writer.forecast(), format=options.format)
        encoder = None
        if manifest_path(folder / files.PREFERENCES).is_file():  # refused before anything is generated
            encoder = options.open_encoder()
            files.check_provenance(folder, _provenance(options, writer, encoder))
        start = time.perf_counter()
        table = writer.write()
        compare_start = time.perf_counter()
        for first in [texts.failures[0] for texts in writer.texts if texts.failures]:
            logger.warning("query %s, sample %d: %s", first.topic_id, first.sample, first.error)
        if failures := sum(len(texts.failures) for texts in writer.texts):
            logger.warning("%d samples have no text; the same command tries those that failed again", failures)
        encoder = encoder or options.open_encoder()
        threshold = compare_and_select(table, encoder, folder / files.WORK, options)
        seconds = {"generate": compare_start - start, "compare": time.perf_counter() - compare_start}
        provenance = _provenance(options, writer, encoder)
    if all(entry.reason for entry in table):
        raise _nothing_kept(table)
    summary = counts | files.summarize(table, threshold)
    manifest_path(folder / files.PREFERENCES).unlink(missing_ok=True)
    card = files.data_card(summary, provenance, options.rows)
    path = files.write_preferences(folder, table, summary, card, parquet=options.parquet)
    totals = {name: sum(texts.counts[name] for texts in writer.texts) for name in ("generated", "stored", "truncated")}
    write_manifest(
        path,
        options=options,
        inputs={f"rows {number}": source for number, source in enumerate(options.rows, start=1)},
        seeds={"draw": options.seed, "decoding": options.generator.decoding.seed},
        counts={
            **counts,
            "topics": len(table),
            "preferences": summary["kept"],
            "generated": totals["generated"],
            "stored": totals["stored"],
            "samples_without_text": failures,
            "truncated_samples": totals["truncated"],
            "texts_cut_by_the_encoder": sum(encoder.truncated.values()) if encoder else 0,
            **{f"dropped_{reason}": count for reason, count in summary["dropped"].items()},
        },
        seconds=seconds,
        tokens={name: sum(texts.tokens[name] for texts in writer.texts) for name in ("in", "out")},
        details={"provenance": provenance, "threshold": threshold},
    )
    return Summary(_figures(summary), path, options.format, PartlyDoneError.exit_code if failures else 0)


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
    add_evidence(comparable, options, encoder, options.open_search(), work)
    return select(comparable, options)


def _provenance(options: PreferencesOptions, writer: CandidateWriter, encoder: Encoder | None) -> dict[str, Any]:
    """Everything that preferences depend on besides the rows, as plain data."""
    return writer.provenance() | {
        "encoder": encoder and {"name": options.encoder} | encoder_provenance(encoder),
        "compare": asdict(options.compare),
        "rewards": options.rewards,
        "reward": asdict(options.reward),
        "corpus": asdict(options.corpus) if options.evidence() & SEARCHED else None,
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
