"""The folder of preferences: rows in TRL's conversational form, scores, a summary, a data card, provenance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import atomic_write, read_jsonl, write_json, write_jsonl, write_text
from expandr_ir.io.manifest import manifest_path, read_manifest
from expandr_ir.masking import printable
from expandr_ir.records import Message
from expandr_ir.runtime import require
from expandr_ir.train.align.candidates import Candidates
from expandr_ir.train.align.rewards import REASONS, Floats, ranks

PREFERENCES, SCORES, SUMMARY, CARD = "preferences.jsonl", "scores.jsonl", "summary.json", "README.md"
PARQUET = "preferences.parquet"
PARTS = {"generator": ("LLM", ("engine", "model")), "prompt": ("prompt", ("id", "sha256")), "encoder": ("encoder", ())}
"""Of a provenance, what preferences of another are refused for: its kind in words, and the texts in it."""

ROLES = get_args(get_type_hints(Message)["role"])
WORK = "work"
"""Folder of similarities and ranks that are there already; it may be deleted."""

_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_CARD = """# Preferences of expansions

Each row of `preferences.jsonl` has a prompt and two expansions that an LLM wrote for it, in TRL's conversational form
(`prompt`, `chosen`, `rejected`), with their rewards, ranks and similarities and with the keys of their generations in
the expansion store. `scores.jsonl` has the same of all candidates, `summary.json` the figures below and more. Written
by `expandr train preferences`; `preferences.jsonl.manifest.json` says how.

| | |
|---|---|
{table}

The texts were written by a language model and checked by nobody: they may be wrong, biased or copied. The rows keep the
licence and the terms of their source, the texts those of the LLM. DPO learns length where the chosen are longer than
the rejected: look at the figures on words before training.
"""


def preferences_path(path: str | Path) -> Path:
    """The preferences' file: of a folder the one in it, else the file itself."""
    path = Path(path).expanduser()
    return path / PREFERENCES if path.is_dir() else path


def read_preferences(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a preferences' file (or of the one in a folder), each checked."""
    path = preferences_path(path)
    rows = []
    for line, row in read_jsonl(path):
        where = f"{path}, line {line}"
        for name in ("prompt", "chosen", "rejected"):
            if not _is_messages(row.get(name)):
                form = f'[{{"role": {" or ".join(ROLES)}, "content": TEXT}}, ...]'
                raise InputError(f"{where}: {name!r} is no list of messages with text", expected=form)
            if name != "prompt" and [message["role"] for message in row[name]] != ["assistant"]:
                raise InputError(f"{where}: {name!r} is not one message of the assistant", expected="one of this role")
        if row["chosen"] == row["rejected"]:
            raise InputError(f"{where}: chosen and rejected are the same", expected="two texts")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no preferences", expected="at least one row")
    return rows


def read_provenance(path: str | Path) -> dict[str, Any]:
    """The provenance of complete and unchanged preferences: generator, prompt, decoding, answers, encoder, rewards."""
    path = preferences_path(path)
    manifest = read_manifest(path) if path.is_file() else None
    if manifest is None or "provenance" not in manifest.details:
        raise MissingResourceError(
            f"{path} has no manifest with its provenance",
            expected="what `expandr train preferences` writes last",
            remedy="run it again: it goes on where it stopped",
        )
    if not manifest.describes(path):
        raise InputError(f"{path} is not what its manifest was written for", expected="the file as it was written")
    provenance: dict[str, Any] = manifest.details["provenance"]
    for part, (_, texts) in PARTS.items():
        value = provenance.get(part) if isinstance(provenance, dict) else None
        is_whole = isinstance(value, dict) and all(isinstance(value.get(name), str) for name in texts)
        if not is_whole and (value is not None or part == "generator"):
            raise InputError(
                f"{manifest_path(path)}: the {part} of the provenance is {json.dumps(value)[:80]}",
                expected=f"an object with the texts {' and '.join(texts)}" if texts else "an object, or null",
                remedy="make the preferences again",
            )
    return provenance


def check_provenance(path: str | Path, expected: Mapping[str, Any]) -> None:
    """Refuses preferences of another "generator", "prompt" or "encoder" than a provenance, or a part of one, names."""
    recorded = read_provenance(path)
    for part, (kind, _) in PARTS.items():
        before, now = recorded.get(part) or {}, expected.get(part) or {}
        names = ["sha256"] if part == "prompt" else sorted({*before, *now} - {"name"})
        if now:
            check_same(path, kind, before, now, names, "name that one, or make preferences in another folder")


def check_same(
    path: str | Path, kind: str, before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str], remedy: str
) -> None:
    """Refuses preferences whose recorded LLM, prompt or encoder differs in one of the named fields."""
    if differing := [name for name in names if before.get(name) != now.get(name)]:
        raise InputError(
            f"{preferences_path(path)} comes from another {kind}: "
            + "; ".join(f"{name} {before.get(name)!r}, not {now.get(name)!r}" for name in differing),
            expected=f"the {kind} that the preferences were made with",
            remedy=remedy,
        )


def write_preferences(
    folder: Path, table: Sequence[Candidates], summary: Mapping[str, Any], card: str, *, parquet: bool
) -> Path:
    """Writes everything but the manifest, preferences.jsonl last; returns its path."""
    pairs = [preference_row(entry) for entry in table if entry.reason is None]
    scores = [
        {
            "row_id": entry.row.row_id,
            "dropped": entry.reason,
            "candidates": [origin | _scores(entry, place) for place, origin in enumerate(entry.origins)],
        }
        for entry in table
        if entry.rewards
    ]
    write_jsonl(folder / SCORES, scores)
    write_json(folder / SUMMARY, summary)
    write_text(folder / CARD, printable(card))
    if parquet:
        columns = require("pyarrow", "train").Table.from_pylist(pairs)
        with atomic_write(folder / PARQUET, "wb") as stream:
            require("pyarrow.parquet", "train").write_table(columns, stream)
    write_jsonl(folder / PREFERENCES, pairs)
    return folder / PREFERENCES


def preference_row(entry: Candidates) -> dict[str, Any]:
    """A row of preferences.jsonl: `prompt`, `chosen` and `rejected` as TRL takes them, scores, provenance."""
    chosen, rejected = entry.chosen, entry.rejected
    return {
        "row_id": entry.row.row_id,
        "query": entry.row.query,
        "prompt": [asdict(message) for message in entry.messages],
        "chosen": [{"role": "assistant", "content": entry.texts[chosen]}],
        "rejected": [{"role": "assistant", "content": entry.texts[rejected]}],
        "chosen_scores": _scores(entry, chosen),
        "rejected_scores": _scores(entry, rejected),
        "provenance": {
            "candidates": len(entry.texts),
            "chosen": entry.origins[chosen],
            "rejected": entry.origins[rejected],
            "answer": entry.answer_origin,
        },
    }


def _scores(entry: Candidates, place: int) -> dict[str, Any]:
    evidence = {"positive": entry.evidence.positive, "answer": entry.evidence.answer}
    similarities = {name: values for name, values in evidence.items() if values is not None}
    return {
        "reward": _round(entry.total[place]),
        "rewards": {name: _round(values[place]) for name, values in entry.rewards.items()},
        "similarities": {name: _round(values[place]) for name, values in similarities.items()},
        "ranks": {name: int(ranks(values)[place]) for name, values in similarities.items()},
    }


def summarize(table: Sequence[Candidates], threshold: float | None) -> dict[str, Any]:
    """Figures of a table with at least one pair: kept, dropped, rewards, and lengths, which DPO has a bias for.

    A figure without a value, such as a correlation of equal lengths, is None.
    """
    pairs, compared = [e for e in table if e.reason is None], [e for e in table if e.rewards]
    reasons = Counter(entry.reason for entry in table)
    best = [similarity for entry in compared if (similarity := entry.evidence.best_similarity()) is not None]
    words = [np.array([len(text.split()) for text in entry.texts], dtype=np.float64) for entry in compared]
    rewards = [entry.total for entry in compared]
    chosen = [len(entry.texts[entry.chosen].split()) for entry in pairs]
    rejected = [len(entry.texts[entry.rejected].split()) for entry in pairs]
    return {
        "queries": len(table),
        "kept": len(pairs),
        "dropped": {reason: reasons[reason] for reason in REASONS},
        "candidates": sum(len(entry.texts) for entry in table),
        "candidates_dropped": dict(sorted(sum((entry.dropped for entry in table), Counter()).items())),
        "threshold": _round(threshold),
        "best_summed_similarity": {f"{q:g}": _round(np.quantile(best, q)) for q in _QUANTILES} if best else None,
        "rewards": _histograms(
            chosen=[entry.total[entry.chosen] for entry in pairs],
            rejected=[entry.total[entry.rejected] for entry in pairs],
            all=np.concatenate(rewards),
        ),
        "words": {
            "chosen": _spread(chosen),
            "rejected": _spread(rejected),
            "all": _spread(np.concatenate(words)),
            "chosen_longer": _round(np.mean(np.greater(chosen, rejected))),
        },
        "correlation_of_reward_and_words": {
            "all": _pearson(rewards, words),
            "within_query": _pearson([each - each.mean() for each in rewards], [each - each.mean() for each in words]),
        },
    }


def data_card(summary: Mapping[str, Any], provenance: Mapping[str, Any], sources: Sequence[str]) -> str:
    """The data card, Markdown; `sources` are the names of the rows' files or collections."""
    decoding, words, encoder = provenance["decoding"], summary["words"], provenance["encoder"]
    temperatures = [f"{temperature:g}" for temperature in decoding["temperatures"]]
    table = {
        "rows": ", ".join(f"`{source}`" for source in sources),
        "candidates of": _llm(provenance),
        "sampled": f"{decoding['samples']} at temperature{'s' * (len(temperatures) > 1)} {', '.join(temperatures)}; "
        f"top-p {decoding['top_p']:g}, at most {decoding['max_new_tokens']} tokens",
        "answers of": "none" if provenance["answers"] is None else _llm(provenance["answers"]),
        "compared by": f"`{encoder['name']}`, {provenance['compare']['similarity']}" if encoder else "nothing",
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in provenance["rewards"].items()),
        "queries": f"{summary['queries']:,}, of which {summary['kept']:,} give a preference",
        "queries dropped": _counts(summary["dropped"]),
        "threshold of the best summed similarity": summary["threshold"],
        "candidates": f"{summary['candidates']:,}",
        "candidates dropped": _counts(summary["candidates_dropped"]),
        "words, chosen (mean)": words["chosen"]["mean"],
        "words, rejected (mean)": words["rejected"]["mean"],
        "pairs whose chosen is longer": words["chosen_longer"],
        "correlation of reward and words, within a query": summary["correlation_of_reward_and_words"]["within_query"],
    }
    lines = [
        f"| {name} | {f'{value:.3g}' if isinstance(value, float) else value or 'none'} |"
        for name, value in table.items()
    ]
    return _CARD.format(table="\n".join(lines))


def _llm(provenance: Mapping[str, Any]) -> str:
    generator = provenance["generator"]
    adapter = f" with `{generator['adapter']}`" if generator["adapter"] else ""
    return f"`{generator['model']}`{adapter} ({generator['engine']}), prompt `{provenance['prompt']['id']}`"


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in reasons.items() if count)


def _histograms(**rewards: Any) -> dict[str, Any]:
    """The means, and the counts in 20 bins of equal width over all rewards."""
    edges = np.histogram_bin_edges(rewards["all"], 20)
    return {"edges": [_round(edge) for edge in edges]} | {
        name: {"mean": _round(np.mean(values)), "counts": np.histogram(values, edges)[0].tolist()}
        for name, values in rewards.items()
    }


def _spread(words: Any) -> dict[str, Any]:
    functions: dict[str, Any] = {"mean": np.mean, "median": np.median, "least": np.min, "most": np.max}
    return {name: _round(function(words)) for name, function in functions.items()}


def _pearson(left: Sequence[Floats], right: Sequence[Floats]) -> Any:
    x, y = np.concatenate(left), np.concatenate(right)
    return None if np.ptp(x) == 0 or np.ptp(y) == 0 else _round(np.corrcoef(x, y)[0, 1])


def _round(value: Any) -> Any:
    return None if value is None else round(float(value), 6)


def _is_messages(value: Any) -> bool:
    messages = [m if isinstance(m, dict) else {} for m in value] if isinstance(value, list) else []
    texts = [message.get("content") for message in messages]
    have_texts = bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)
    return have_texts and all(message.get("role") in ROLES for message in messages)
