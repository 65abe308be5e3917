"""DPO: an expander learns to write more like what was chosen and less like what was rejected (arXiv 2305.18290)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expandr_ir.config import JsonField, names
from expandr_ir.errors import InputError
from expandr_ir.generators.base import identify
from expandr_ir.generators.chat import load_tokenizer
from expandr_ir.io.manifest import Summary, manifest_path
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Message
from expandr_ir.train.align.options import AlignOptions
from expandr_ir.train.align.preference_files import check_same, preferences_path, read_preferences, read_provenance
from expandr_ir.train.align.tokenization import Example, TokenRows, part, tokenize_parts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DpoOptions(AlignOptions):
    """Options of DPO.

    Args:
        preferences: what `expandr train preferences` wrote (its folder), or JSONL in TRL's conversational format.
        dev_preferences: held-out preferences, in place of a share of these.
        dev_share: share of the prompts that is held out, by their hash.
        prompt: what held-out topics are asked with; None takes the preferences' own where they say it, else "passage".
        dpo: TRL's DPOConfig, by its own names; what is not there is TRL's default.
        other_llm: train on preferences that another LLM wrote than the one that is trained.
    """

    preferences: str
    dev_preferences: str | None = None
    dev_share: float = 0.1
    prompt: str | None = None
    dpo: dict[str, JsonField] = field(default_factory=dict)
    other_llm: bool = False


def train_dpo(options: DpoOptions) -> Summary | None:
    """Trains, or goes on with training that was broken off; with `dry_run` the size of the run.

    Raises:
        InputError: options, rows or a model that do not fit, or a folder that holds another run.
    """
    from expandr_ir.train.align.fit import fit, forecast

    tokenizer, path = load_tokenizer(options.generator), preferences_path(options.preferences)
    provenance = read_provenance(path) if manifest_path(path).is_file() else None
    check_writer(options, provenance)
    train, dev = tokenized_preferences(options, tokenizer)
    if options.dry_run:
        return forecast("dpo", options.dpo, train, dev)
    dev_preferences = str(preferences_path(options.dev_preferences)) if options.dev_preferences else None
    return fit(
        "dpo",
        options,
        tokenizer,
        train,
        dev,
        prompt=heldout_prompt(options, provenance) if options.heldout.rows else None,
        inputs={"preferences": str(path), "dev_preferences": dev_preferences},
        provenance=provenance,
    )


def tokenized_preferences(options: DpoOptions, tokenizer: Any) -> tuple[TokenRows, TokenRows | None]:
    """The rows to train on and the held-out ones, if there are any."""
    examples = read_examples(options.preferences)
    if options.dev_preferences:
        train, dev = examples, read_examples(options.dev_preferences)
        train_prompts = {example.prompt for example in train}
        if repeated := [example for example in dev if example.prompt in train_prompts]:
            raise InputError(
                f"{len(repeated)} held-out prompts are trained on too, the first in {repeated[0].where}",
                expected="preferences of other queries",
                remedy="--dev-share .1, or a file of other queries",
            )
    else:
        train, dev = part(examples, options.dev_share, lambda example: "\n".join(m.content for m in example.prompt))
    return tokenize_parts("dpo", options, train, dev, tokenizer)


def read_examples(source: str) -> list[Example]:
    """The preferences of a file, or of the folder that `expandr train preferences` wrote, in their order."""
    path = preferences_path(source)
    return [
        Example(
            f"{path}, row {number}",
            tuple(Message(message["role"], message["content"]) for message in row["prompt"]),
            (row["chosen"][0]["content"], row["rejected"][0]["content"]),
        )
        for number, row in enumerate(read_preferences(path), start=1)
    ]


def heldout_prompt(options: DpoOptions, provenance: Mapping[str, Any] | None) -> Prompt:
    """The prompt of held-out topics, which must be the one that the preferences were made with."""
    recorded = provenance and provenance.get("prompt")
    name = recorded["id"].partition("@")[0] if recorded else "passage"
    if options.prompt is None and name not in names("prompts"):
        raise InputError(f"the preferences' prompt {name!r} is none of conf/prompts", remedy="--prompt FILE.yaml")
    prompt = load_prompt(options.prompt or name)
    if recorded:
        now = {"id": f"{prompt.id}@{prompt.version}", "sha256": prompt.sha256}
        differing = ["id", "sha256"] if recorded["sha256"] != prompt.sha256 else []
        check_same(options.preferences, "prompt", recorded, now, differing, f"--prompt {name}")
    return prompt


def check_writer(options: DpoOptions, provenance: Mapping[str, Any] | None) -> None:
    """Refuses preferences whose candidates another LLM wrote than the one that is trained.

    DPO holds the model against itself: on texts of another LLM it learns that LLM's manner first. Texts that came from
    a server cannot be held against a model; a warning says so.
    """
    if provenance is None or options.other_llm:
        return
    writer, base = provenance["generator"], options.generator
    model = asdict(identify(base))
    if writer["engine"] not in {"local", "vllm"}:
        logger.warning(
            "the candidates came from %s:%s: that it is the model is not checked", writer["engine"], writer["model"]
        )
        return
    fields = ["model", "revision", "adapter"]
    if Path(base.model).is_dir() and all(writer.get(name) == model[name] for name in fields[1:]):
        return  # a folder's name is no part of what it holds
    remedy = "--model with that LLM, or --other-llm to train on them all the same"
    check_same(options.preferences, "LLM", writer, model, fields, remedy)
