"""A training run's folder: one set of settings, taken up again where it was broken off, complete with its manifest."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, sha256_file, sha256_json
from expandr_ir.manifest import manifest_path, read_manifest, write_manifest
from expandr_ir.train.card import CARD, model_card
from expandr_ir.train.checkpoints import find_checkpoints

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
CURVES = "curves.jsonl"
WEIGHTS = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")

UNSETTLED = ("report_to", "run_name", "project", "logging_dir", "disable_tqdm", "dataloader_num_workers", "log_level")
"""TRL's options that change nothing that is trained: a run may be taken up again with others."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Args:
        path: the folder.
        settings: what decides the outcome, as plain data.
    """

    path: Path
    settings: Mapping[str, Any]

    def claim(self) -> None:
        """Writes the settings into an empty folder, or holds them against those that are there.

        Raises:
            InputError: another run's settings are there; the message names what differs.
        """
        file = self.path / SETTINGS
        if not file.is_file():
            with atomic_write(file) as stream:
                json.dump(self.settings, stream, indent=2, sort_keys=True)
                stream.write("\n")
            return
        there = json.loads(file.read_text(encoding="utf-8"))
        mine = json.loads(json.dumps(self.settings))
        if differing := sorted(name for name in there.keys() | mine.keys() if there.get(name) != mine.get(name)):
            first = differing[0]
            raise InputError(
                f"{self.path} holds a run with other settings: {', '.join(differing)}"
                f" ({first} was {_short(there.get(first))} and is {_short(mine.get(first))})",
                expected="the settings that it was begun with, to go on with it",
                remedy="another --output, or delete the folder",
            )

    def finished(self) -> Path | None:
        """The weights of a run that is complete; None where there is work left."""
        for name in WEIGHTS:
            weights = self.path / name
            if weights.is_file() and (manifest := read_manifest(weights)) and manifest.describes(weights):
                return weights
        return None

    def last_checkpoint(self) -> Path | None:
        """The checkpoint to go on from; what is not whole is passed over, with a warning."""
        found = find_checkpoints(self.path)
        for checkpoint, fault in found.skipped:
            logger.warning("%s is passed over: %s", checkpoint, fault)
        if found.last is not None:
            logger.warning("going on from %s", found.last)
        return found.last

    def complete(
        self,
        *,
        command: Sequence[str],
        started: datetime,
        inputs: Mapping[str, Path],
        seeds: Mapping[str, int],
        counts: Mapping[str, int],
        seconds: Mapping[str, float],
        details: Mapping[str, Any],
        curves: Sequence[Mapping[str, Any]],
    ) -> Path:
        """Writes the card, the curves and, last, the manifest beside the weights; returns the weights.

        Raises:
            InputError: there are no weights.
        """
        facts = {"config": self.settings, "counts": counts, "seeds": seeds, "details": details}
        files = {
            role: {"path": path.name, "sha256": sha256_file(path)} for role, path in inputs.items() if path.is_file()
        }
        with atomic_write(self.path / CARD) as stream:
            stream.write(model_card(self.path.name, facts | {"inputs": files}, curves, merged=False))
        with atomic_write(self.path / CURVES) as stream:
            stream.writelines(json.dumps(point) + "\n" for point in curves)
        weights = next((self.path / name for name in WEIGHTS if (self.path / name).is_file()), None)
        if weights is None:
            raise InputError(f"{self.path} has no weights", expected=" or ".join(WEIGHTS))
        write_manifest(
            weights,
            command=command,
            started=started,
            config=self.settings,
            inputs=inputs,
            seeds=seeds,
            counts=counts,
            seconds=seconds,
            details=details,
        )
        return weights


def settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's options without those that change nothing that is trained."""
    return {name: value for name, value in given.items() if name not in UNSETTLED}


def texts_hash(texts: Sequence[Any]) -> str:
    """The SHA-256 of training data as they are prepared."""
    return sha256_json(list(texts))


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """The logged points of a complete run, oldest first; none where there are none."""
    path = folder / CURVES
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def weights_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run's weights as plain data; None where there is none."""
    path = next((manifest_path(folder / name) for name in WEIGHTS if manifest_path(folder / name).is_file()), None)
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path else None
    return found


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."
