"""Model cards of trained expanders and retrievers: data, settings, curves and scores, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from expandr_ir.io.manifest import installed_versions
from expandr_ir.masking import printable

if TYPE_CHECKING:
    from expandr_ir.config import EncoderConfig

CARD = "README.md"

COLUMNS = {
    "loss": "loss",
    "reward": "reward",
    "completions/mean_length": "tokens",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "heldout_reward": "held-out reward",
    "heldout_mrr": "held-out MRR",
    "heldout_mrr_topic": "MRR of the topic alone",
    "gate": "gate",
}
"""Metrics of an evaluation that the card shows, and their titles."""

STEP_COLUMNS = {
    "loss": "loss",
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
    "reward": "reward",
    "kl": "KL",
    "frac_reward_zero_std": "constant groups",
    "completions/mean_length": "tokens",
}
"""The same of a training step."""

METHODS = {"dpo": "DPO", "grpo": "GRPO", "sft": "supervised"}


def evaluations(history: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, float]]:
    """The metrics of every evaluation by its step, "eval_" taken off their names."""
    points: dict[int, dict[str, float]] = {}
    for point in history:
        values = {name[5:]: float(value) for name, value in point.items() if name.startswith("eval_")}
        if values:
            points.setdefault(int(point["step"]), {}).update(values)
    return points


def expander_card(name: str, manifest: Mapping[str, Any], curves: Sequence[Mapping[str, Any]], *, merged: bool) -> str:
    """The card of an aligned expander, of its weights' manifest (empty: unrecorded training) and logged points."""
    details, counts = manifest.get("details", {}), manifest.get("counts", {})
    kind = details.get("kind", "lora")
    model = (details.get("base") or {}).get("model") or "an unnamed base"
    is_local = model.startswith(("/", "."))
    front = {} if is_local else {"base_model": model}
    front |= {"library_name": "transformers" if merged else "peft", "pipeline_tag": "text-generation"}
    front["tags"] = ["query-expansion", "information-retrieval", kind, *([] if merged else ["lora"])]
    if not details:
        return _card(front, name, ["An adapter of unrecorded training, merged."])
    prompt = f" --prompt {details['prompt']['id']}" if details.get("prompt") else ""
    data = [
        f"- {role}: `{Path(file['path']).name}` (SHA-256 {file['sha256']})" for role, file in manifest["inputs"].items()
    ]
    data += [f"- {count.replace('_', ' ')}: {value:,}" for count, value in counts.items()]
    if details.get("provenance"):
        data.append(f"- made with: `{json.dumps(details['provenance'], sort_keys=True)[:2000]}`")
    seeds, versions = (_listed(manifest.get(part, {})) for part in ("seeds", "versions"))
    return _card(
        front,
        name,
        [
            "An LLM that writes expansions of search topics, trained from"
            f" `{model.rpartition('/')[2] if is_local else model}` with expandr_ir"
            f" ({METHODS[kind]})."
            + (" The adapter is merged into the weights." if merged else " This is a LoRA adapter over that base."),
            *_curves(curves, counts.get("best_step")),
            "## Data\n\n" + "\n".join(data),
            "## Settings\n\n```json\n" + json.dumps(manifest.get("config", {}), indent=2, sort_keys=True) + "\n```",
            f"Seeds: {seeds}. Versions: {versions}.",
            f"## Use\n\n```\nexpandr expand --collection C --generator local:FOLDER{prompt} --output E.jsonl\n```",
        ],
    )


def retriever_card(
    config: EncoderConfig, options: Mapping[str, Any], counts: Mapping[str, int], scores: Mapping[str, float],
    aggregation: str
) -> str:  # fmt: skip
    """The card of a trained retriever, whose expansions are searched by the aggregation."""
    front: dict[str, Any] = {"library_name": "sentence-transformers", "pipeline_tag": "sentence-similarity"}
    front["tags"] = ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense", "query-expansion"]
    if "/" in config.model and not config.model.startswith((".", "/", "~")):
        front["base_model"] = config.model
    search = "expandr search --collection C --retriever dense --encoder THIS-FOLDER --expansions FILE"
    means = markdown_table(("measure", "mean"), scores.items())
    packages = ("expandr_ir", "sentence-transformers", "torch")
    versions = {name: version for name, version in installed_versions().items() if name in packages}
    return _card(
        front,
        "A retriever trained to read expansions",
        [
            "Trained with expandr_ir (`expandr train retriever`) on queries and texts that an LLM wrote about them.",
            f"```\n{search} --aggregation {aggregation} --output RUN\n```",
            f"## Encoder\n\n```yaml\n{_yaml(asdict(config))}```",
            "## Training data\n\n"
            + markdown_table(("what", "how many"), ((name.replace("_", " "), value) for name, value in counts.items())),
            "## Held-back queries\n\nMeans of the checkpoint that was kept.\n\n" + means if scores else "",
            f"## Options\n\n```yaml\n{_yaml(options)}```",
            f"Made with {_listed(versions)}.",
        ],
    )


def _curves(curves: Sequence[Mapping[str, Any]], best_step: int | None) -> Iterable[str]:
    """The tables of evaluations and of the training's steps, of which about 20 are shown."""
    points = evaluations(curves)
    shown = {name: title for name, title in COLUMNS.items() if any(name in point for point in points.values())}
    rows: list[tuple[Any, ...]]
    if points:
        rows = [(step, *(points[step].get(name) for name in shown)) for step in sorted(points)]
        about = (
            f"On held-out rows and topics. The checkpoint with the highest gate, that of step {best_step}, was kept."
        )
        yield f"## Scores\n\n{about}\n\n" + markdown_table(("step", *shown.values()), rows)
    else:
        yield "## Scores\n\nNothing was held out: no score was measured."
    steps = [point for point in curves if "loss" in point and "grad_norm" in point]
    if steps:
        titles = {name: title for name, title in STEP_COLUMNS.items() if any(name in point for point in steps)}
        some = steps[:: -(-len(steps) // 20)]
        rows = [(point["step"], *(point.get(name) for name in titles)) for point in some]
        yield "## Training\n\n" + markdown_table(("step", *titles.values()), rows)


def _card(front: Mapping[str, Any], title: str, sections: Iterable[str]) -> str:
    header = f"---\n{_yaml(front)}---"
    return printable("\n\n".join([header, f"# {title}", *filter(None, sections)])) + "\n"


def _yaml(values: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown, whose first column is words and the others are figures."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 0.001 or not value else f"{value:.2e}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
