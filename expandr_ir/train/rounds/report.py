"""All rounds in one table: rewards, preference accuracy, dev with and without expansions, tokens, hours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expandr_ir.files import atomic_write
from expandr_ir.train.rounds.config import FIGURES
from expandr_ir.train.rounds.state import State
from expandr_ir.train.rounds.steps import Step

JSON, MARKDOWN = "rounds.json", "rounds.md"


def rounds_data(steps: Sequence[Step], state: State) -> dict[str, Any]:
    """What is known of all rounds, as plain data."""
    rounds = []
    for number in sorted({step.round for step in steps}):
        done = {step.kind: state.done[step.name] for step in steps if step.round == number and step.name in state.done}
        if done:
            rounds.append(
                {
                    "round": number,
                    "seconds": round(sum(one.seconds for one in done.values()), 3),
                    "tokens": {name: sum(one.tokens.get(name, 0) for one in done.values()) for name in ("in", "out")},
                    "steps": {kind: {"seconds": one.seconds, **one.figures} for kind, one in done.items()},
                }
            )
    return {
        "measure": state.options["measure"],
        "watch": state.options["watch"],
        "rounds": rounds,
        "best": best_round(steps, state),
        "stopped": state.stopped,
    }


def best_round(steps: Sequence[Step], state: State) -> dict[str, Any] | None:
    """The first of the rounds with the highest watched figure, with the models that were measured."""
    watch = state.options["watch"]
    measured = [step for step in steps if step.kind == "measure" and step.name in state.done]
    if not measured:
        return None
    best = max(measured, key=lambda step: state.done[step.name].figures["dev"][watch])
    return {
        "round": best.round,
        "dev": state.done[best.name].figures["dev"][watch],
        "generator": best.models["generator"],
        "encoder": best.models["encoder"],
    }


def write_report(output: Path, steps: Sequence[Step], state: State) -> Path:
    """Writes rounds.json and rounds.md; returns the latter."""
    data = rounds_data(steps, state)
    with atomic_write(output / JSON) as stream:
        json.dump(data, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    with atomic_write(output / MARKDOWN) as stream:
        stream.write(markdown(data))
    return output / MARKDOWN


def markdown(data: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    rows = {
        **{f"dev {data['measure']}, {figure}": [_dev(one, figure) for one in data["rounds"]] for figure in FIGURES},
        **{label: [_figure(one, *path) for one in data["rounds"]] for label, path in _LABELS.items()},
        "tokens read": [f"{one['tokens']['in']:,}" for one in data["rounds"]],
        "tokens written": [f"{one['tokens']['out']:,}" for one in data["rounds"]],
        "hours": [f"{one['seconds'] / 3600:.3f}" for one in data["rounds"]],
    }
    head = ["", *(f"round {one['round']}" if one["round"] else "before" for one in data["rounds"])]
    lines = ["# Rounds", "", _line(head), _line(["---", *("--:" for _ in data["rounds"])])]
    lines += [_line([label, *cells]) for label, cells in rows.items() if any(cells)]
    lines += [
        "",
        f"Dev is no test: it chose the best round (by {data['watch']}). Each round's encoder compares for its rewards.",
        "A step that was killed counts the time of its last run.",
    ]
    if best := data["best"]:
        which = f"round {best['round']}" if best["round"] else "what was there before"
        lines += [
            "",
            f"Best: {which}, {data['watch']} {best['dev']:.4f}.",
            "",
            f"- expander: `--generator {best['generator']}`",
            f"- retriever: `--encoder {best['encoder']}`",
        ]
    if data["stopped"]:
        lines += ["", f"Stopped: {data['stopped']}"]
    return "\n".join(lines) + "\n"


_LABELS: dict[str, tuple[str, ...]] = {
    "preferences": ("preferences", "pairs"),
    "mean reward of candidates": ("preferences", "reward_all"),
    "mean reward of chosen": ("preferences", "reward_chosen"),
    "mean reward of rejected": ("preferences", "reward_rejected"),
    "share of pairs whose chosen is longer": ("preferences", "chosen_longer"),
    "held-out reward before DPO": ("dpo", "before", "heldout_reward"),
    "held-out reward after DPO": ("dpo", "after", "heldout_reward"),
    "held-out MRR before DPO": ("dpo", "before", "heldout_mrr"),
    "held-out MRR after DPO": ("dpo", "after", "heldout_mrr"),
    "preference accuracy after DPO": ("dpo", "after", "rewards/accuracies"),
    "preference margin after DPO": ("dpo", "after", "rewards/margins"),
    "rows put in order by the LLM": ("order", "ordered"),
}


def _dev(one: Mapping[str, Any], figure: str) -> str:
    return _figure(one, "measure", "dev", figure)


def _figure(one: Mapping[str, Any], kind: str, *path: str) -> str:
    value: Any = one["steps"].get(kind)
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
