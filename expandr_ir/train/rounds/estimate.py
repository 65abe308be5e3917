"""What the steps that are not done would take: tokens from counts, seconds from what was measured; estimates all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expandr_ir.collection import load_collection
from expandr_ir.config import generator_config
from expandr_ir.errors import InputError
from expandr_ir.records import Decoding
from expandr_ir.train.prefer_options import PreferOptions
from expandr_ir.train.rounds.config import RoundsOptions, block_options
from expandr_ir.train.rounds.state import State
from expandr_ir.train.rounds.steps import Step
from expandr_ir.train.small_options import SmallOptions
from expandr_ir.train.synthesize.options import SynthesizeOptions

GENERATING = ("synthesize", "preferences", "expand", "order", "measure")
"""Kinds of steps whose time is mostly the LLM's."""


@dataclass(frozen=True)
class Estimate:
    """What a step would take.

    Args:
        step: the step.
        is_done: whether it is done; its seconds are then measured.
        new_tokens: tokens that the LLM would write at most; None where that is not known.
        seconds: about; None where no step of its kind was measured.
    """

    step: Step
    is_done: bool
    new_tokens: int | None
    seconds: float | None


def estimates(steps: Sequence[Step], options: RoundsOptions, state: State) -> list[Estimate]:
    """An estimate of each step.

    Tokens are topics x samples x the longest sample. Seconds are those of the last step of the same kind that is done;
    for one that generates, at the speed at which the done ones wrote.

    Args:
        steps: the plan.
        options: of the rounds.
        state: what is done.
    """
    topics = _topics(options, steps, state)
    seconds = {step.kind: state.done[step.name].seconds for step in steps if step.name in state.done}
    speed = _tokens_per_second(steps, state)
    found = []
    for step in steps:
        if step.name in state.done:
            done = state.done[step.name]
            found.append(Estimate(step, True, done.tokens.get("out", 0), done.seconds))
            continue
        tokens = _new_tokens(step, options, topics)
        own = seconds.get(step.kind)
        if own is None and step.kind in GENERATING and speed and tokens:
            own = tokens / speed
        found.append(Estimate(step, False, tokens, own))
    return found


def _topics(options: RoundsOptions, steps: Sequence[Step], state: State) -> dict[str, int] | None:
    """Train and dev topics: counted where there is a collection, else at most those that are asked for."""
    made = next(
        (state.done[step.name] for step in steps if step.kind == "synthesize" and step.name in state.done), None
    )
    if made is not None:
        return {split: made.figures.get(f"topics_{split}", 0) for split in (options.train_split, options.dev_split)}
    if options.collection:
        collection = load_collection(options.collection)
        return {split: len(collection.topics(split)) for split in (options.train_split, options.dev_split)}
    block = next(step for step in steps if step.kind == "synthesize").commands[0].options
    defaults = SynthesizeOptions()
    number = block.get("documents", defaults.documents) * block.get("queries", defaults.queries)
    share = block.get("dev_share", defaults.dev_share)
    return {options.train_split: round(number * (1 - share)), options.dev_split: round(number * share)}


def _new_tokens(step: Step, options: RoundsOptions, topics: Mapping[str, int] | None) -> int | None:
    if step.kind not in GENERATING:
        return 0
    longest = _longest(step.commands[0].options.get("generator"), options)
    if topics is None or longest is None:
        return 0 if step.kind == "synthesize" and options.synthesize.get("without_llm") else None
    block: Mapping[str, Any] = step.commands[0].options
    if step.kind == "synthesize":
        return 0 if block.get("without_llm") else sum(topics.values()) * longest
    if step.kind == "order":
        return topics[options.train_split] * longest
    if step.kind == "preferences":
        queries = min(topics[options.train_split], block.get("queries") or topics[options.train_split])
        defaults = PreferOptions(encoder=options.encoder)
        candidates = len(block.get("temperatures", defaults.temperatures)) * block.get("samples", defaults.samples)
        answers = "self" in block.get("rewards", defaults.rewards)
        return int(queries * (candidates + answers) * (block.get("max_new_tokens") or longest))
    split = options.train_split if step.kind == "expand" else options.dev_split
    return int(topics[split] * options.samples * longest)


def _longest(spec: Any, options: RoundsOptions) -> int | None:
    """The most tokens of a sample: those of the generator, or, where it is still to be made, of the first one."""
    if isinstance(spec, Mapping):
        return int(spec.get("decoding", {}).get("max_new_tokens", Decoding().max_new_tokens))
    for name in (spec, options.generator):
        if isinstance(name, str):
            try:
                return generator_config(name).decoding.max_new_tokens
            except InputError:
                continue  # a generator of a later round, which is not there yet
    if options.small_expander is None:
        return None
    words = block_options(options.small_expander, {}).get("passage_words", SmallOptions(collection="").passage_words)
    return 2 * int(words)


def _tokens_per_second(steps: Sequence[Step], state: State) -> float | None:
    done = [state.done[step.name] for step in steps if step.kind in GENERATING and step.name in state.done]
    written = [(one.tokens["out"], one.seconds) for one in done if one.tokens.get("out")]
    seconds = sum(own for _, own in written)
    return sum(tokens for tokens, _ in written) / seconds if seconds else None
