"""The data card of preferences: where they come from, what they came to, and what to look at before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def card(summary: Mapping[str, Any], provenance: Mapping[str, Any], source: Sequence[str]) -> str:
    """The data card, Markdown.

    Args:
        summary: of `preference_summary.summarize`.
        provenance: of the preferences.
        source: where the rows come from, as it was named.
    """
    decoding, words = provenance["decoding"], summary["words"]
    temperatures = ", ".join(f"{one:g}" for one in decoding["temperatures"])
    each = "temperature" if len(decoding["temperatures"]) == 1 else "temperatures"
    table = {
        "rows": ", ".join(f"`{one}`" for one in source),
        "candidates of": _llm(provenance),
        "sampled": f"{decoding['samples']} at {each} {temperatures}; top-p {decoding['top_p']:g}, "
        f"at most {decoding['max_new_tokens']} tokens",
        "answers of": "none" if provenance["answers"] is None else _llm(provenance["answers"]),
        "compared by": _encoder(provenance),
        "rewards": ", ".join(f"{name} x {weight:g}" for name, weight in provenance["rewards"].items()),
        "queries": f"{summary['queries']:,}, of which {summary['kept']:,} give a preference",
        "queries dropped": _counts(summary["dropped"]),
        "threshold of the best summed similarity": _figure(summary["threshold"]),
        "candidates": f"{summary['candidates']:,}",
        "candidates dropped": _counts(summary["candidates_dropped"]),
        "words, chosen (mean)": _figure(words["chosen"]["mean"]),
        "words, rejected (mean)": _figure(words["rejected"]["mean"]),
        "pairs whose chosen is longer": _figure(words["chosen_longer"]),
        "correlation of reward and words, within a query": _figure(
            summary["correlation_of_reward_and_words"]["within_query"]
        ),
    }
    return _CARD.format(table="\n".join(f"| {name} | {value} |" for name, value in table.items()))


def _llm(made: Mapping[str, Any]) -> str:
    generator = made["generator"]
    adapter = f" with `{generator['adapter']}`" if generator["adapter"] else ""
    return f"`{generator['model']}`{adapter} ({generator['engine']}), prompt `{made['prompt']['id']}`"


def _encoder(provenance: Mapping[str, Any]) -> str:
    encoder, compare = provenance["encoder"], provenance["compare"]
    return "nothing" if encoder is None else f"`{encoder['name']}`, {compare['similarity']}"


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in reasons.items() if count) or "none"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
