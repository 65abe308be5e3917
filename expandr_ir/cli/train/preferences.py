"""`expandr train preferences`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.progress import counting, generating
from expandr_ir.cli.sources import files_of, say
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, PartlyDoneError
from expandr_ir.manifest import manifest_path, write_manifest
from expandr_ir.train.candidates import Texts, write
from expandr_ir.train.prefer import (
    Desk,
    Drawn,
    compare_and_select,
    desk,
    draw,
    forecast,
    open_reward_encoder,
    provenance,
)
from expandr_ir.train.prefer_options import PreferOptions
from expandr_ir.train.preference_card import card
from expandr_ir.train.preference_files import PREFERENCES, WORK, check_provenance, write_preferences
from expandr_ir.train.preference_summary import summarize
from expandr_ir.train.preferences import Selected
from expandr_ir.train.split import all_rows

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder

VERB = Verb(
    "train preferences",
    "Candidates, rewards, and pairs of a chosen and a rejected expansion, for DPO. It goes on where it was broken off.",
    """
expandr train preferences --config preferences-expandr --rows split/dpo.jsonl --queries 30000 --output preferences
expandr train preferences --rows split/dpo.jsonl --generator local:my-model --encoder all-MiniLM-L6-v2 \\
    --temperatures 1.0 --samples 8 --threshold quantile:.25 --output preferences
expandr train preferences --rows beir/scifact --generator echo --encoder all-MiniLM-L6-v2 --output tried --dry-run
expandr train preferences --rows beir/scifact --generator local:my-model --rewards '{"corpus": 1}' --threshold none \\
    --corpus.collection beir/scifact --output preferences
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(PreferOptions):
    """Options of `expandr train preferences`.

    Args:
        rows: JSONL file or folder of them, collection, or hub:ID; may be repeated.
        split: of a collection or a data set; None is train.
        generator: a name of conf/generators, a YAML file, or engine:model.
        output: folder of the preferences.
        parquet: also write preferences.parquet.
        dry_run: say what is stored, what would be generated and about how many tokens, and stop.
        format: of --dry-run and of the closing summary: text or json.
    """

    rows: list[str]
    split: str | None = None
    generator: GeneratorConfig
    output: str
    parquet: bool = False
    dry_run: bool = False
    format: Literal["text", "json"] = "text"


def run(argv: list[str]) -> int:
    """Writes the preferences, and their manifest last; 7 where some samples have no text."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    folder = output_folder(options.output)
    drawn = draw(all_rows(options.rows, options.split), options)
    seconds: dict[str, float] = {}
    with desk(drawn.rows, options.generator, options) as opened:
        if options.dry_run:
            _show({"rows": drawn.read, "duplicates": drawn.duplicates, **forecast(opened)}, options.format)
            return 0
        encoder = _agreeing(folder, opened, options)
        texts = _written(opened, options, seconds)
        encoder = encoder or open_reward_encoder(options)
        since = time.perf_counter()
        scored, selected = compare_and_select(texts.written, encoder, folder / WORK, options, counting)
        seconds["compare"] = time.perf_counter() - since
        recorded = provenance(opened, encoder, options)
    summary = {"rows": drawn.read, "duplicates": drawn.duplicates} | summarize(texts.written, scored, selected)
    if not selected.preferences:
        raise _nothing_kept(selected, summary)
    manifest_path(folder / PREFERENCES).unlink(missing_ok=True)
    data_card = card(summary, recorded, options.rows)
    output = write_preferences(folder, scored, selected, summary, data_card, parquet=options.parquet)
    _record(output, argv, started, options, drawn, texts, selected, seconds, recorded, encoder)
    _show(_figures(summary), options.format)
    print(output)
    return _exit_code(texts)


def _agreeing(folder: Path, opened: Desk, options: Options) -> Encoder | None:
    """The encoder, opened early, where the folder holds preferences already, which must be of the same parts."""
    if not manifest_path(folder / PREFERENCES).is_file():
        return None
    encoder = open_reward_encoder(options)
    now = provenance(opened, encoder, options)
    own = {name: value for name, value in now["encoder"].items() if name != "name"} if encoder else None
    writer = opened.writer
    check_provenance(folder, generator=writer.generator.id, prompt_sha256=writer.prompt.sha256, encoder=own)
    return encoder


def _written(opened: Desk, options: Options, seconds: dict[str, float]) -> Texts:
    since = time.perf_counter()
    try:
        with generating() as on_progress:
            texts = write(
                opened.drafts, opened.writer, opened.answerer, opened.store, on_progress, max_words=options.max_words
            )
    except (ExpandrError, KeyboardInterrupt):
        say("what was generated is stored; the same command goes on from there")
        raise
    seconds["generate"] = time.perf_counter() - since
    for one in texts.expanded:
        for failure in one.failures[:1]:
            say(f"query {failure.topic_id}, sample {failure.sample}: {failure.error}")
    if texts.failures:
        say(f"{texts.failures} samples have no text; the same command tries those that failed again")
    return texts


def _record(
    output: Path,
    argv: list[str],
    started: datetime,
    options: Options,
    drawn: Drawn,
    texts: Texts,
    selected: Selected,
    seconds: dict[str, float],
    recorded: dict[str, Any],
    encoder: Encoder | None,
) -> None:
    counts = [one.counts for one in texts.expanded]
    cut = sum(encoder.truncated.values()) if encoder else 0
    write_manifest(
        output,
        command=["expandr", "train", "preferences", *argv],
        started=started,
        config=resolved(options),
        inputs=files_of(**{f"rows {number}": source for number, source in enumerate(options.rows, start=1)}),
        seeds={"draw": options.seed, "decoding": options.generator.decoding.seed},
        counts={
            "rows": drawn.read,
            "duplicates": drawn.duplicates,
            "topics": len(texts.written),
            "preferences": len(selected.preferences),
            "generated": sum(one.generated for one in counts),
            "stored": sum(one.stored for one in counts),
            "samples_without_text": texts.failures,
            "truncated_samples": sum(one.truncated for one in counts),
            "texts_cut_by_the_encoder": cut,
        }
        | {f"dropped_{reason}": count for reason, count in selected.reasons.items()},
        seconds=seconds,
        tokens={"in": sum(one.tokens_in for one in counts), "out": sum(one.tokens_out for one in counts)},
        details={"provenance": recorded, "threshold": selected.threshold},
    )


def _nothing_kept(selected: Selected, summary: dict[str, Any]) -> ExpandrError:
    dropped = {reason: count for reason, count in selected.reasons.items() if count}
    worst = max(dropped, key=lambda reason: dropped[reason])
    best = summary["best_summed_similarity"]
    remedies = {
        "below_threshold": f"--threshold quantile:.25; the best summed similarities have the median "
        f"{best['0.5'] if best else None}",
        "equal_rewards": "more samples, or higher temperatures: --temperatures 1.0 --temperatures 1.2",
        "too_few_candidates": "more samples, or higher temperatures: --samples 16",
        "no_answer": "expandr store ls, to see what the LLM answered",
        "margin": "another --margin-keep, or none",
        "small_gap": "a smaller --min-gap",
    }
    return InputError(
        f"none of the {summary['queries']} queries gives a preference: {dropped}",
        expected="at least one",
        remedy=remedies[worst],
    )


def _figures(summary: dict[str, Any]) -> dict[str, Any]:
    words, correlation = summary["words"], summary["correlation_of_reward_and_words"]
    return {
        "queries": summary["queries"],
        "kept": summary["kept"],
        **{f"dropped: {reason}": count for reason, count in summary["dropped"].items() if count},
        **{f"candidates dropped: {reason}": n for reason, n in summary["candidates_dropped"].items() if n},
        "threshold": summary["threshold"],
        "words, chosen": words["chosen"]["mean"],
        "words, rejected": words["rejected"]["mean"],
        "reward and words, correlation": correlation["within_query"],
    }


def _show(figures: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        text = "none" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        print(f"{name:<32} {text}")


def _exit_code(texts: Texts) -> int:
    return PartlyDoneError.exit_code if texts.failures else 0
