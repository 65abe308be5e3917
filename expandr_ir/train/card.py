"""The model card of an aligned expander: data, settings, curves and scores, as Markdown. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

CARD = "README.md"

COLUMNS = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "heldout_reward": "held-out reward",
    "heldout_mrr": "held-out MRR",
    "heldout_mrr_topic": "MRR of the topic alone",
    "gate": "gate",
}
"""Metrics of an evaluation that the card shows, and their titles."""


def evaluations(history: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """The metrics of every evaluation by its step, "eval_" taken off their names."""
    points: dict[int, dict[str, float]] = {}
    for point in history:
        values = {name[5:]: float(value) for name, value in point.items() if name.startswith("eval_")}
        if values:
            points.setdefault(int(point["step"]), {}).update(values)
    return points


def model_card(name: str, manifest: Mapping[str, Any], curves: Sequence[Mapping[str, Any]], *, merged: bool) -> str:
    """The card, with the YAML header that the hub reads.

    Args:
        name: the model's.
        manifest: of the run's weights, as plain data.
        curves: what was logged, oldest first.
        merged: whether the weights are whole, or an adapter's.
    """
    details, counts = manifest.get("details", {}), manifest.get("counts", {})
    kind = details.get("kind")
    model = (details.get("base") or {}).get("model") or "an unnamed base"
    base = model.rpartition("/")[2] if model.startswith(("/", ".")) else model
    if kind is None:
        return _header(model, "lora", merged) + f"\n\n# {name}\n\nAn adapter of unrecorded training, merged.\n"
    parts = [
        _header(model, kind, merged),
        f"# {name}\n",
        f"An LLM that writes expansions of search topics, trained from `{base}` with expandr_ir"
        f" ({'DPO' if kind == 'dpo' else 'supervised'}). "
        + ("The adapter is merged into the weights." if merged else "This is a LoRA adapter over that base."),
        _scores(details, counts),
        _curve(curves),
        _training_curve(curves),
        _data(manifest, details, counts),
        _settings(manifest),
        _use(details),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _header(base: str, kind: str, merged: bool) -> str:
    lines = ["library_name: transformers" if merged else "library_name: peft", "pipeline_tag: text-generation"]
    if not base.startswith(("/", ".")):
        lines.insert(0, f"base_model: {base}")
    tags = ["query-expansion", "information-retrieval", kind, *([] if merged else ["lora"])]
    return "---\n" + "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags)]) + "\n---"


def _scores(details: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    start, best, last = (details.get(name) or {} for name in ("start", "best", "last"))
    if not best:
        return "## Scores\n\nNothing was held out: no score was measured."
    shown = {name: title for name, title in COLUMNS.items() if name in best}
    rows = [
        f"| {title} | {_number(start.get(name))} | {_number(best[name])} | {_number(last.get(name))} |"
        for name, title in shown.items()
    ]
    step = counts.get("best_step", 0)
    return (
        "## Scores\n\nOn what was held out from training. The checkpoint with the highest gate was kept.\n\n"
        f"| | before | kept (step {step}) | last (step {counts.get('steps', 0)}) |\n|---|---:|---:|---:|\n"
        + "\n".join(rows)
    )


def _curve(curves: Sequence[Mapping[str, Any]]) -> str:
    points = evaluations(curves)
    if not points:
        return ""
    shown = {name: title for name, title in COLUMNS.items() if any(name in point for point in points.values())}
    head = f"| step | {' | '.join(shown.values())} |\n|---:|{'---:|' * len(shown)}\n"
    rows = [
        f"| {step} | {' | '.join(_number(point.get(name)) for name in shown)} |"
        for step, point in sorted(points.items())
    ]
    return "## Evaluations\n\n" + head + "\n".join(rows)


def _training_curve(curves: Sequence[Mapping[str, Any]], most: int = 20) -> str:
    points = [point for point in curves if "loss" in point and "grad_norm" in point]
    if not points:
        return ""
    stride = -(-len(points) // most)
    rows = [
        f"| {point['step']} | {_number(point['loss'])} | {_number(point['grad_norm'])} |"
        f" {point.get('learning_rate', 0):.2e} |"
        for point in points[::stride]
    ]
    return "## Training\n\n| step | loss | gradient norm | learning rate |\n|---:|---:|---:|---:|\n" + "\n".join(rows)


def _data(manifest: Mapping[str, Any], details: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    lines = [f"- {role}: `{one['path']}` (SHA-256 {one['sha256']})" for role, one in manifest.get("inputs", {}).items()]
    lines += [f"- {name.replace('_', ' ')}: {value:,}" for name, value in counts.items()]
    if details.get("provenance"):
        lines.append("- made with: `" + json.dumps(details["provenance"], sort_keys=True)[:2000] + "`")
    return "## Data\n\n" + "\n".join(lines)


def _settings(manifest: Mapping[str, Any]) -> str:
    config = json.dumps(manifest.get("config", {}), indent=2, sort_keys=True)
    seeds = ", ".join(f"{name} {value}" for name, value in manifest.get("seeds", {}).items())
    versions = ", ".join(f"{name} {value}" for name, value in manifest.get("versions", {}).items())
    return f"## Settings\n\n```json\n{config}\n```\n\nSeeds: {seeds}. Versions: {versions}."


def _use(details: Mapping[str, Any]) -> str:
    prompt = (details.get("prompt") or {}).get("id")
    named = f" --prompt {prompt}" if prompt else ""
    command = f"expandr expand --collection C --generator local:FOLDER{named} --output expansions.jsonl"
    return f"## Use\n\n```\n{command}\n```"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
