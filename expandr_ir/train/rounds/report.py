"""The figures of finished steps, read from their manifests; their report; and a forecast of the steps to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from expandr_ir.collections import load_collection
from expandr_ir.config import generator_config
from expandr_ir.evaluate import score_run
from expandr_ir.io.files import read_json, write_json, write_text
from expandr_ir.io.manifest import Manifest
from expandr_ir.io.runs import read_run
from expandr_ir.records import Decoding
from expandr_ir.train.align.candidates import CandidateOptions
from expandr_ir.train.align.preference_files import SUMMARY
from expandr_ir.train.align.rewards import SelectionOptions
from expandr_ir.train.card import markdown_table
from expandr_ir.train.data.synthesize import SynthesizeOptions
from expandr_ir.train.rounds.config import FIGURES, RoundsOptions
from expandr_ir.train.rounds.plan import Step

DPO = ("heldout_reward", "heldout_mrr", "rewards/accuracies", "rewards/margins")
LABELS = {
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
TOKENS = {"in": "read", "out": "written"}


@dataclass(frozen=True)
class Done:
    """A finished step: wall time of its verbs' last runs, new tokens of the LLM ("in", "out"), and figures to show."""

    seconds: float
    tokens: Mapping[str, int]
    figures: Mapping[str, Any]


def read_done(step: Step) -> Done | None:
    """A finished step, as the manifests of its outputs tell, which are written last; None where it is not finished."""
    manifests = [manifest for command in step.commands if (manifest := command.manifest())]
    if len(manifests) < len(step.commands) or (step.result and not step.result.is_file()):
        return None
    seconds, tokens = 0.0, Counter[str]()
    for command, manifest in zip(step.commands, manifests, strict=True):
        start, end = (datetime.fromisoformat(time) for time in (manifest.started, manifest.finished))
        seconds += (end - start).total_seconds()
        if command.verb not in {"search", "fuse"}:  # a run's manifest repeats what its expansions cost
            generated, stored = manifest.counts.get("generated", 0), manifest.counts.get("stored", 0)
            share = generated / (generated + stored) if generated + stored else 1.0
            tokens.update({name: round(count * share) for name, count in manifest.tokens.items()})
    if step.kind == "measure":
        assert step.result
        return Done(seconds, tokens, {"dev": read_json(step.result)["scores"]})
    return Done(seconds, tokens, {} if step.kind == "merge" else _figures(step, manifests[0]))


def read_all_done(steps: Sequence[Step]) -> dict[str, Done]:
    """The finished steps by name."""
    return {step.name: done for step in steps if (done := read_done(step))}


def _figures(step: Step, manifest: Manifest) -> dict[str, Any]:
    counts, details = manifest.counts, manifest.details
    if step.kind == "preferences":
        summary = read_json(step.commands[0].output.with_name(SUMMARY))
        rewards = summary["rewards"] or {}
        return {
            "pairs": counts["preferences"],
            "queries": summary["queries"],
            "dropped": {reason: count for reason, count in summary["dropped"].items() if count},
            **{f"reward_{name}": (rewards.get(name) or {}).get("mean") for name in ("all", "chosen", "rejected")},
            "chosen_longer": summary["words"]["chosen_longer"],
        }
    if step.kind == "dpo":
        points = {"before": details.get("start", {}), "after": details.get("best", {})}
        figures = {when: {name: point[name] for name in DPO if name in point} for when, point in points.items()}
        return {**figures, "steps": counts.get("steps"), "best_step": counts.get("best_step")}
    if step.kind == "retriever":
        return {"scores": details.get("scores", {}), "rows": counts.get("rows")}
    return dict(counts)


def write_scores(step: Step, target: Path, split: str, measure: str) -> None:
    """Writes the mean of a measure on dev for each figure beside the runs."""
    qrels = load_collection(step.models["collection"]).qrels(split)
    scores = {
        figure: score_run(read_run(path), qrels, [measure], name=str(path)).means[measure]
        for figure, path in step.runs.items()
    }
    write_json(target, {"measure": measure, "scores": scores})


def write_report(
    output: Path, steps: Sequence[Step], done: Mapping[str, Done], options: RoundsOptions, stopped: str | None
) -> str:
    """Writes rounds.json and rounds.md, with the reason why there are no more rounds, if any; returns the latter."""
    finished = [(step, done[step.name]) for step in steps if step.name in done]
    rounds = []
    for number in sorted({step.round for step, _ in finished}):
        ends = {step.kind: end for step, end in finished if step.round == number}
        tokens = {name: sum(end.tokens.get(name, 0) for end in ends.values()) for name in TOKENS}
        figures = {kind: {"seconds": end.seconds, **end.figures} for kind, end in ends.items()}
        seconds = round(sum(end.seconds for end in ends.values()), 3)
        rounds.append({"round": number, "seconds": seconds, "tokens": tokens, "steps": figures})
    dev = [(end.figures["dev"][options.watch], step) for step, end in finished if step.kind == "measure"]
    best = None
    if dev:
        value, step = max(dev, key=lambda measured: measured[0])  # the first of those with the highest figure
        best = {"round": step.round, "dev": value, **{name: step.models[name] for name in ("generator", "encoder")}}
    data = {
        "measure": options.measure,
        "watch": options.watch,
        "rounds": rounds,
        "best": best,
        "stopped": stopped,
    }
    write_json(output / "rounds.json", data)
    text = _markdown(data)
    write_text(output / "rounds.md", text)
    return text


def _markdown(data: Mapping[str, Any]) -> str:
    rounds = data["rounds"]
    paths = {f"dev {data['measure']}, {figure}": ("measure", "dev", figure) for figure in FIGURES} | LABELS
    rows = [[label, *(_figure(row["steps"], *path) for row in rounds)] for label, path in paths.items()]
    rows += [[f"tokens {label}", *(row["tokens"][name] for row in rounds)] for name, label in TOKENS.items()]
    rows.append(["hours", *(f"{row['seconds'] / 3600:.3f}" for row in rounds)])
    head = ["", *(f"round {row['round']}" if row["round"] else "before" for row in rounds)]
    text = "# Rounds\n\n" + markdown_table(head, (row for row in rows if set(row[1:]) != {None})) + "\n\n"
    text += f"Dev is no test: it chose the best round (by {data['watch']}). Each round's encoder compares for its "
    text += "rewards.\nA step that was killed counts the time of its last run.\n"
    if best := data["best"]:
        which = f"round {best['round']}" if best["round"] else "what was there before"
        text += f"\nBest: {which}, {data['watch']} {best['dev']:.4f}.\n\n"
        text += f"- expander: `--generator {best['generator']}`\n- retriever: `--encoder {best['encoder']}`\n"
    return text + (f"\nStopped: {data['stopped']}\n" if data["stopped"] else "")


def _figure(value: Any, *path: str) -> Any:
    for name in path:
        value = (value or {}).get(name)
    return value


def forecast(steps: Sequence[Step], done: Mapping[str, Done], options: RoundsOptions) -> str:
    """A table of the steps: new tokens at most, and the seconds of the last finished step of the same kind."""
    seconds_of = {step.kind: done[step.name].seconds for step in steps if step.name in done}
    train, dev = _topics(options, steps, done)
    lines = [f"{'step':<32} {'new tokens, at most':>20} {'seconds, about':>15}"]
    due_tokens, due_seconds = 0, list[float | None]()
    for step in steps:
        if end := done.get(step.name):
            lines.append(f"{step.name:<32} {end.tokens.get('out', 0):>20,} {end.seconds:>15,.0f}  done")
            continue
        tokens, seconds = _new_tokens(step, options, train, dev), seconds_of.get(step.kind)
        due_tokens += tokens
        due_seconds.append(seconds)
        lines.append(f"{step.name:<32} {tokens:>20,} {'?' if seconds is None else f'{seconds:,.0f}':>15}")
    known = [seconds for seconds in due_seconds if seconds is not None]
    lines.append(f"{'still to do':<32} {due_tokens:>20,} {sum(known):>15,.0f}")
    if unknown := len(due_seconds) - len(known):
        lines.append(f"the time of {unknown} steps is unknown: none of their kind is done in this folder")
    return "\n".join([*lines, "tokens are counted at the longest possible samples, seconds are those of earlier steps"])


def _topics(options: RoundsOptions, steps: Sequence[Step], done: Mapping[str, Done]) -> tuple[int, int]:
    """Train and dev topics: counted where there is a collection, else at most those that are to be made."""
    splits, first = (options.train_split, options.dev_split), steps[0]
    if options.collection:
        collection = load_collection(options.collection)
        train, dev = (len(collection.topics(split)) for split in splits)
    elif first.name in done:
        train, dev = (done[first.name].figures.get(f"topics_{split}", 0) for split in splits)
    else:
        block, defaults = first.commands[0].options, SynthesizeOptions(corpus="", output="", without_llm=True)
        # what is typed for a step, such as --synthesize.documents 60, is text until the step itself reads it
        number = int(block.get("documents", defaults.documents)) * int(block.get("queries", defaults.queries))
        share = float(block.get("dev_share", defaults.dev_share))
        train, dev = round(number * (1 - share)), round(number * share)
    return train, dev


def _new_tokens(step: Step, options: RoundsOptions, train: int, dev: int) -> int:
    """Topics x samples x the longest sample."""
    block = step.commands[0].options if step.commands else {}
    texts = {"order": train, "expand": train * options.samples, "measure": dev * options.samples}.get(step.kind, 0)
    generator: Any = options.generator  # whose decoding all later ones have
    if step.kind == "synthesize" and not block.get("without_llm"):
        texts, generator = train + dev, block.get("generator") or generator
    if step.kind == "preferences":
        defaults = CandidateOptions()
        texts = len(block.get("temperatures", defaults.temperatures)) * int(block.get("samples", defaults.samples))
        texts += "self" in block.get("rewards", SelectionOptions().rewards)  # the LLM's answer to query and positive
        texts *= min(train, int(block.get("queries") or train))
    if isinstance(generator, Mapping):
        longest = generator.get("decoding", {}).get("max_new_tokens", Decoding().max_new_tokens)
    else:
        longest = generator_config(generator).decoding.max_new_tokens
    return texts * int(block.get("max_new_tokens") or longest)
