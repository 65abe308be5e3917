"""What rounds are made of: steps, each with the commands it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "synthesize", "small-expander", "preferences", "dpo", "merge", "expand", "mine", "order", "retriever", "measure"
]


@dataclass(frozen=True)
class Command:
    """One verb with its options.

    Args:
        verb: such as ("train", "dpo").
        options: as its --config takes them.
        output: what its manifest stands beside: it is complete where that is there.
        arguments: bare ones, such as runs to fuse.
        launched: by the options' launcher.
        partly: whether exit code 7 (done in part) will do.
    """

    verb: tuple[str, ...]
    options: Mapping[str, Any]
    output: Path
    arguments: tuple[str, ...] = ()
    launched: bool = False
    partly: bool = False


@dataclass(frozen=True)
class Step:
    """A step of a round.

    Args:
        name: its folder below the output, such as "round-1/02-dpo".
        kind: what it does.
        round: 0 is what comes before the first one.
        commands: one after the other.
        models: of a "merge" the base's generator and the merged one's file; of a "measure" the models that are
            measured, and the runs by figure.
    """

    name: str
    kind: Kind
    round: int
    commands: tuple[Command, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[str, Path] = field(default_factory=dict)
