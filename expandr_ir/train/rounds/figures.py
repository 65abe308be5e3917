"""What a finished step came to, read from the manifests that its verbs wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expandr_ir.collection import load_collection
from expandr_ir.evaluate import evaluate
from expandr_ir.files import atomic_write
from expandr_ir.manifest import Manifest, read_manifest
from expandr_ir.runs import read_run
from expandr_ir.train.preference_files import SUMMARY
from expandr_ir.train.rounds.steps import Command, Step

SCORES = "scores.json"
DPO = ("heldout_reward", "heldout_mrr", "rewards/accuracies", "rewards/margins")


def is_complete(command: Command) -> bool:
    """Whether the command's output is there with its manifest, which is written last."""
    manifest = read_manifest(command.output)
    return command.output.exists() and manifest is not None and manifest.describes(command.output)


def tokens_of(step: Step) -> dict[str, int]:
    """Tokens of the LLM that were generated for the step, "in" and "out"; what the store had is left out."""
    total: dict[str, int] = {}
    for command in step.commands:
        manifest = read_manifest(command.output)
        if manifest is None or command.verb in {("search",), ("fuse",)}:
            continue  # a run's manifest repeats what its expansions cost
        generated, stored = manifest.counts.get("generated", 0), manifest.counts.get("stored", 0)
        share = generated / (generated + stored) if generated + stored else 1.0
        for name, tokens in manifest.tokens.items():
            total[name] = total.get(name, 0) + round(tokens * share)
    return total


def figures_of(step: Step) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind
    """What the report shows of a step whose commands are done."""
    if not step.commands:
        return {}
    output = step.commands[0].output
    manifest = read_manifest(output)
    if manifest is None:
        return {}
    match step.kind:
        case "preferences":
            return _preferences(output.parent, manifest)
        case "dpo":
            return _dpo(manifest)
        case "retriever":
            return {"scores": manifest.details.get("scores", {}), "rows": manifest.counts.get("rows")}
        case "small-expander":
            return {"losses": manifest.details.get("losses", {}), "parameters": manifest.counts.get("parameters")}
        case "synthesize" | "mine" | "order" | "expand":
            return dict(manifest.counts)
    return {}


def dev_scores(step: Step, split: str, measure: str) -> dict[str, float]:
    """The mean of a measure on dev for each figure, after writing it beside the runs.

    Raises:
        InputError: an unknown measure.
    """
    collection = load_collection(step.models["collection"])
    qrels = collection.qrels(split)
    scores = {
        figure: evaluate(read_run(path), qrels, [measure], name=str(path)).means[measure]
        for figure, path in step.runs.items()
    }
    folder = step.commands[0].output.parent
    with atomic_write(folder / SCORES) as stream:
        json.dump({"measure": measure, "scores": scores}, stream, indent=2)
        stream.write("\n")
    return scores


def _preferences(folder: Path, manifest: Manifest) -> dict[str, Any]:
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    rewards = summary["rewards"] or {}
    means = {f"reward_{name}": (rewards.get(name) or {}).get("mean") for name in ("all", "chosen", "rejected")}
    return {
        "pairs": manifest.counts["preferences"],
        "queries": summary["queries"],
        "dropped": {reason: count for reason, count in summary["dropped"].items() if count},
        **means,
        "chosen_longer": summary["words"]["chosen_longer"],
    }


def _dpo(manifest: Manifest) -> dict[str, Any]:
    def of(point: Mapping[str, float]) -> dict[str, float]:
        return {name: point[name] for name in DPO if name in point}

    details = manifest.details
    return {
        "before": of(details.get("start", {})),
        "after": of(details.get("best", {})),
        "steps": manifest.counts.get("steps"),
        "best_step": manifest.counts.get("best_step"),
    }
