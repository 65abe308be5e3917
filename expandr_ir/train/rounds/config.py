"""Options of the rounds: the first models, the order of the phases, and each verb's own options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.blocks import parse_mapping, placeholders
from expandr_ir.config import JsonField, conf_path
from expandr_ir.errors import InputError
from expandr_ir.io.files import read_json, write_json

Phase: TypeAlias = Literal["expander", "retriever"]
Block: TypeAlias = dict[str, JsonField]

FIGURES = tuple(
    f"{retriever}{expanded}" for retriever in ("sparse", "dense", "hybrid") for expanded in ("", "+expansions")
)
"""The searches of dev after each round: each retriever with the topics alone, and with their expansions."""

MAY_CHANGE = ("rounds", "patience", "output", "dry_run")
"""Options that a folder may be taken up again with others of."""


@dataclass(frozen=True, kw_only=True)
class RoundsOptions:
    """Options of `expandr train rounds`.

    A block holds options of one verb, by the verb's own names; its key `config` names a file of conf/train that goes
    before them. What the rounds decide themselves (where things are, which model is the last one) goes over both.

    Args:
        collection: topics and judgements with the splits below; not with `corpus`.
        corpus: documents alone: `expandr train synthesize` makes train and dev queries of them first.
        train_split, dev_split: what is learned from, and what rounds are judged by.
        generator: the first expander, a name of conf/generators, a YAML file or engine:model.
        model: the weights that DPO starts from; None is the generator's own model.
        encoder: the first retriever: a name of conf/encoders, a YAML file, a folder or a hub id.
        prompt: of all expansions; None is the generator's own, else "passage".
        phases: in the order of a round: ExpandR's is retriever, expander; LLM-QE's and Reinforced-IR's expander,
            retriever. One alone is a loop of that one.
        rounds: most rounds; a folder may be taken up again with more.
        patience: rounds without a better dev figure after which it ends; a folder may be taken up again with another.
        watch: the dev figure that is looked at.
        measure: of dev, a name of ir_measures.
        min_pairs: fewest preferences of a round that are trained on; with fewer the rounds end.
        samples: expansions of each topic, of train (for the retriever) and of dev.
        skip_missing: go on where some topics got no expansion (a prompt that is too long, a refusal): searches of dev
            leave them out, so that they count 0 there, and the retriever learns their queries alone.
        synthesize: options of `train synthesize`, with `corpus`.
        preferences, dpo, merge, expand, mine, listwise, retriever, search: options of these verbs. `listwise` null
            leaves the ordering by the LLM out; `expand` is of all expansions, `search` of all searches on dev.
        launcher: words before "train dpo" and "train retriever", such as accelerate launch ... -m expandr_ir.
        after_merge: a command that puts a merged model behind its server, where the generator is one; {folder} and
            {name} in its words are the model's.
        store: the expansion store's file.
        output: folder of all rounds; what is done there is passed over.
        dry_run: show the steps, and about how many tokens and seconds each would take, and stop.
    """

    collection: str | None = None
    corpus: str | None = None
    train_split: str = "train"
    dev_split: str = "dev"
    generator: str
    model: str | None = None
    encoder: str
    prompt: str | None = None
    phases: list[Phase] = field(default_factory=lambda: ["expander", "retriever"])
    rounds: int = 2
    patience: int = 1
    watch: str = "hybrid+expansions"
    measure: str = "nDCG@10"
    min_pairs: int = 8
    samples: int = 1
    skip_missing: bool = False
    synthesize: Block = field(default_factory=dict)
    preferences: Block = field(default_factory=dict)
    dpo: Block = field(default_factory=dict)
    merge: Block = field(default_factory=dict)
    expand: Block = field(default_factory=dict)
    mine: Block = field(default_factory=dict)
    listwise: Block | None = None
    retriever: Block = field(default_factory=dict)
    search: Block = field(default_factory=dict)
    launcher: list[str] = field(default_factory=list)
    after_merge: list[str] = field(default_factory=list)
    store: str | None = None
    output: str
    dry_run: bool = False

    def __post_init__(self) -> None:
        if (self.collection is None) == (self.corpus is None):
            sources = "both collection and corpus" if self.corpus else "neither collection nor corpus"
            raise InputError(sources, expected="--collection C with train and dev topics, or --corpus C without topics")
        if not self.phases or len(set(self.phases)) < len(self.phases):
            raise InputError(f"phases are {self.phases}", expected="expander, retriever or both, each once")
        for name in ("rounds", "patience", "min_pairs", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", expected="1 or more")
        for word in self.after_merge:
            placeholders(word, ("folder", "name"), "after_merge")
        if self.watch not in FIGURES:
            raise InputError(f"watch is {self.watch!r}", expected=f"one of {', '.join(FIGURES)}")


def claim_folder(folder: Path, options: RoundsOptions) -> None:
    """Writes the options into a new folder, but for a dry run, or refuses others than those that it was begun with."""
    path = folder / "options.json"
    now = {name: value for name, value in asdict(options).items() if name not in MAY_CHANGE}
    if path.is_file():
        begun_with, flat = _flat(read_json(path)), _flat(now)
        differences = [
            f"{name}: {json.dumps(begun_with.get(name))[:80]}, now {json.dumps(flat.get(name))[:80]}"
            for name in sorted({*begun_with, *flat})
            if begun_with.get(name) != flat.get(name)
        ]
        if differences:
            raise InputError(
                "\n  ".join([f"{folder} was begun with other options:", *differences]),
                expected="the same options; only rounds and patience may change",
                remedy="the options as they were, or another --output",
            )
    elif not options.dry_run:
        write_json(path, now)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values by dotted names; an empty mapping is a value."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        values |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return values


def block_options(block: Block, fixed: dict[str, Any]) -> dict[str, Any]:
    """A verb's options: those of the file that `config` names, under the block's own, under what is decided here."""
    options = dict(block)
    name = options.pop("config", None)
    path = None if name is None else conf_path("train", str(name))
    base = {} if path is None else parse_mapping(path.read_bytes(), str(path))
    return laid_over(laid_over(base, options), fixed)


def laid_over(base: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """The base with the values of the upper mapping, nulls too, mappings put together key by key."""
    both = {**base, **upper}
    for name in base.keys() & upper.keys():
        if isinstance(base[name], dict) and isinstance(upper[name], dict):
            both[name] = laid_over(base[name], upper[name])
    return both
