"""DPO: an expander learns to write more like what was chosen and less like what was rejected (arXiv 2305.18290)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig, JsonField, LocalOptions, names
from expandr_ir.errors import InputError
from expandr_ir.generators.chat import chat_template
from expandr_ir.generators.identity import identify
from expandr_ir.manifest import manifest_path
from expandr_ir.train.fit import Fit, Fitted, fit
from expandr_ir.train.heldout import HeldoutOptions
from expandr_ir.train.pairs import part, read_pairs
from expandr_ir.train.preference_files import preferences_path, read_provenance
from expandr_ir.train.preparation import Pair, Preparation, Prepared
from expandr_ir.train.trainable import ModelOptions, load_tokenizer

if TYPE_CHECKING:
    from expandr_ir.prompts import Prompt

logger = logging.getLogger(__name__)

DEFAULT_PROMPT = "passage"


@dataclass(frozen=True, kw_only=True)
class DpoOptions(ModelOptions):
    """Options of DPO.

    Args:
        preferences: what `expandr train preferences` wrote (its folder), or JSONL in TRL's conversational format.
        dev_preferences: held-out preferences, in place of a share of these.
        dev_share: share of the prompts that is held out, by their hash.
        max_prompt_length: most tokens of a prompt, whose last ones are kept; TRL has no such option any more.
        prompt: what held-out topics are asked with; None takes the preferences' own where they say it, else "passage".
        dpo: TRL's DPOConfig, by its own names; what is not there is TRL's default.
        lora: PEFT's LoraConfig, by its own names; null trains all weights.
        heldout: topics that every checkpoint is tried on.
        other_llm: train on preferences that another LLM wrote than the one that is trained.
    """

    preferences: str
    dev_preferences: str | None = None
    dev_share: float = 0.1
    max_prompt_length: int | None = None
    prompt: str | None = None
    dpo: dict[str, JsonField] = field(default_factory=dict)
    lora: dict[str, JsonField] | None = field(default_factory=dict)
    heldout: HeldoutOptions = field(default_factory=HeldoutOptions)
    other_llm: bool = False


@dataclass(frozen=True)
class DpoData:
    """Preferences as they are trained on.

    Args:
        train, dev: token ids; dev is None where nothing is held out.
        prompt: of the held-out topics; None where there are none.
        max_length: of prompt and answer, in tokens.
    """

    train: Prepared
    dev: Prepared | None
    prompt: Prompt | None
    max_length: int | None


def dpo_data(options: DpoOptions, tokenizer: Any, max_length: int | None) -> DpoData:
    """The preferences as token ids, cut to the lengths in force, and counted.

    Raises:
        InputError: rows that do not fit, or a part without a row that is left.
        MissingResourceError: there is no such file.
    """
    check_writer(options)
    pairs = read_pairs(options.preferences)
    if options.dev_preferences:
        train, dev = list(pairs), read_pairs(options.dev_preferences)
        _check_apart(train, dev)
    else:
        train, dev = part(pairs, options.dev_share)
    preparation = Preparation(tokenizer, max_length, options.max_prompt_length)
    prepared = preparation.preferences(train)
    held_out = preparation.preferences(dev) if dev else None
    for what, one in (("training", prepared), ("held-out", held_out)):
        if one is not None and not one.rows:
            raise InputError(
                f"no {what} preference is left: {one.counts['dropped_full_prompts']} prompts fill the whole length",
                expected="prompts shorter than dpo.max_length",
                remedy="--max-prompt-length N, or a larger --dpo.max_length",
            )
    prompt = heldout_prompt(options.prompt, options.preferences) if options.heldout.rows else None
    return DpoData(prepared, held_out, prompt, max_length)


def train_dpo(options: DpoOptions, output: Path, command: Sequence[str]) -> Fitted:
    """Trains, or goes on with training that was broken off, and returns what came of it.

    Args:
        options: of the run.
        output: its folder.
        command: for the manifest.

    Raises:
        InputError: options, rows or a model that do not fit, or a folder that holds another run.
        MissingResourceError: preferences, model or held-out rows are not there.
        NotInstalledError: TRL or PEFT is missing.
    """
    inputs = {"preferences": preferences_path(options.preferences)}
    if options.dev_preferences:
        inputs["dev_preferences"] = preferences_path(options.dev_preferences)
    tokenizer = load_tokenizer(options)
    data = dpo_data(options, tokenizer, max_length_of(options))
    return fit(
        Fit(
            kind="dpo",
            model=options,
            given=options.dpo,
            lora=options.lora,
            heldout=options.heldout,
            prompt=data.prompt,
            train=data.train.rows,
            dev=data.dev.rows if data.dev else None,
            counts=data.train.counts_with(data.dev),
            settings={"max_prompt_length": options.max_prompt_length},
            inputs=inputs,
            provenance=recorded_provenance(options.preferences),
        ),
        tokenizer,
        output,
        command,
    )


def max_length_of(options: DpoOptions) -> int | None:
    """TRL's longest row in tokens: what is given, else its default."""
    from expandr_ir.train.trainer_arguments import trl_option

    length: int | None = trl_option("dpo", options.dpo, "max_length")
    return length


def recorded_provenance(preferences: str) -> dict[str, Any] | None:
    """What the preferences' manifest says of their making; None where there is no manifest.

    Raises:
        InputError: the preferences are not what their manifest was written for.
    """
    return read_provenance(preferences) if manifest_path(preferences_path(preferences)).is_file() else None


def heldout_prompt(named: str | None, preferences: str) -> Prompt:
    """The prompt of held-out topics, which must be the one that the preferences were made with.

    Raises:
        InputError: it is another one.
    """
    from expandr_ir.prompts import load_prompt

    recorded = (recorded_provenance(preferences) or {}).get("prompt")
    own = recorded["id"].partition("@")[0] if recorded else DEFAULT_PROMPT
    if named is None and own not in names("prompts"):
        raise InputError(f"the preferences' prompt {own!r} is none of conf/prompts", remedy="--prompt FILE.yaml")
    prompt = load_prompt(named or own)
    if recorded and recorded["sha256"] != prompt.sha256:
        raise InputError(
            f"the preferences were made with prompt {recorded['id']} ({recorded['sha256'][:12]}), and held-out topics"
            f" would be asked with {prompt.id}@{prompt.version} ({prompt.sha256[:12]})",
            expected="the same prompt",
            remedy=f"--prompt {own}",
        )
    return prompt


def check_writer(options: DpoOptions) -> None:
    """Refuses preferences whose candidates another LLM wrote than the one that is trained.

    DPO holds the model against itself: on texts of another LLM it learns that LLM's manner first. Texts that came from
    a server cannot be held against a model; that is said.

    Raises:
        InputError: another LLM wrote them, and `other_llm` is not given.
    """
    writer = (recorded_provenance(options.preferences) or {}).get("generator")
    if writer is None or options.other_llm:
        return
    if writer["engine"] not in {"local", "vllm"}:
        logger.warning(
            "the candidates came from %s:%s: that it is the model is not checked", writer["engine"], writer["model"]
        )
        return
    local = LocalOptions(chat_template=options.chat_template)
    template = chat_template(GeneratorConfig("local", options.model, local=local))
    config = GeneratorConfig("local", options.model, revision=options.revision)
    mine = asdict(identify(config, {"chat_template": template} if template else None))
    differing = [name for name in ("model", "revision", "adapter") if writer[name] != mine[name]]
    if Path(options.model).is_dir() and differing == ["model"]:
        return  # a folder's name is no part of what it holds
    if differing:
        raise InputError(
            f"{preferences_path(options.preferences)} comes from another LLM: "
            + "; ".join(f"{name} {writer[name]!r}, not {mine[name]!r}" for name in differing),
            expected="preferences that the model wrote itself",
            remedy="--model with that LLM, or --other-llm to train on them all the same",
        )


def _check_apart(train: Sequence[Pair], dev: Sequence[Pair]) -> None:
    """Refuses held-out preferences whose prompts are trained on."""
    known = {one.prompt for one in train}
    if shared := [one for one in dev if one.prompt in known]:
        raise InputError(
            f"{len(shared)} held-out prompts are trained on too, the first in {shared[0].where}",
            expected="preferences of other queries",
            remedy="--dev-share .1, or a file of other queries",
        )
