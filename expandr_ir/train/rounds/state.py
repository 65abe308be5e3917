"""What is done of the rounds: one file, written whole after each step; a killed run goes on after the last one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write

STATE = "state.json"
MAY_CHANGE = ("rounds", "patience")
"""Options that a folder may be taken up again with others of: what is done stays as it is."""


@dataclass(frozen=True)
class Done:
    """A step that is done.

    Args:
        seconds: wall time of the runs that finished it, those that were killed in it left out.
        tokens: of the LLM, "in" and "out".
        figures: what the report shows of it.
        finished: UTC, ISO 8601.
    """

    seconds: float
    tokens: Mapping[str, int]
    figures: Mapping[str, Any]
    finished: str


@dataclass
class State:
    """What is done.

    Args:
        path: its file.
        options: of the rounds, as plain data.
        done: the finished steps by name.
        stopped: why there are no more rounds; None while there are.
    """

    path: Path
    options: dict[str, Any]
    done: dict[str, Done] = field(default_factory=dict)
    stopped: str | None = None

    @classmethod
    def open(cls, folder: Path, options: Mapping[str, Any]) -> State:
        """The state of a folder: the one that is there, held against the options, or a new one.

        Raises:
            InputError: the folder was begun with other options; the message shows the differences.
        """
        path = folder / STATE
        plain: dict[str, Any] = json.loads(json.dumps(options, default=str))
        if not path.is_file():
            return cls(path, plain)
        found = json.loads(path.read_text(encoding="utf-8"))
        differences = [
            f"{name}: {_short(before)}, now {_short(now)}"
            for name, before, now in differing(found["options"], plain)
            if name not in MAY_CHANGE
        ]
        if differences:
            raise InputError(
                f"{folder} was begun with other options:\n  " + "\n  ".join(differences),
                expected="the same options; only " + " and ".join(MAY_CHANGE) + " may change",
                remedy="the options as they were, or another --output",
            )
        changed = [name for name in MAY_CHANGE if found["options"].get(name) != plain.get(name)]
        done = {name: Done(**one) for name, one in found["done"].items()}
        return cls(path, plain, done, None if changed else found["stopped"])

    def claim(self) -> None:
        """Writes the file, so that the folder is these options' from now on."""
        self._write(self.done, self.stopped)

    def finish(self, name: str, done: Done) -> None:
        """Keeps that a step is done.

        Raises:
            OSError: the file cannot be written; the step counts as not done.
        """
        self._write({**self.done, name: done}, self.stopped)
        self.done[name] = done

    def stop(self, reason: str) -> None:
        """Keeps why there are no more rounds."""
        self._write(self.done, reason)
        self.stopped = reason

    def _write(self, done: Mapping[str, Done], stopped: str | None) -> None:
        plain = {"options": self.options, "done": {name: asdict(one) for name, one in done.items()}, "stopped": stopped}
        with atomic_write(self.path) as stream:
            json.dump(plain, stream, indent=2, ensure_ascii=False)
            stream.write("\n")


def differing(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted names of the values that differ, with both values; one that is not there is None."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differing(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}", old, new


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
