"""Where a regression's collection, expansions and models are on this machine, or why they are not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import ExpandrError
from expandr_ir.files import sha256_json
from expandr_ir.regress.hashes import known_sha256
from expandr_ir.regress.spec import Condition, Spec

Source: TypeAlias = Literal["folder", "irds", "pyserini"]
"""How collections are loaded: from --data, through ir_datasets, or from Pyserini's prebuilt indexes."""


class NotHereError(ExpandrError):
    """Something that a condition needs is not on this machine: the condition is skipped, and `found` says why."""

    exit_code = 4


@dataclass(frozen=True)
class Places:
    """Where to look.

    Args:
        data: folders with collections in BEIR's layout.
        expansions: folders with recorded expansions.
        source: how collections are loaded.
    """

    data: Sequence[Path] = ()
    expansions: Sequence[Path] = ()
    source: Source = "folder"

    def collection(self, spec: Spec) -> str:
        """What `load_collection` takes for the regression's collection.

        Raises:
            NotHereError: it has none that is here.
        """
        if spec.embedded:
            return "demo"
        if self.source == "irds" and spec.irds:
            return f"irds:{spec.irds}"
        if self.source == "pyserini" and spec.pyserini:
            return f"pyserini:{spec.pyserini}"
        if found := self.folder(spec):
            return str(found)
        raise NotHereError(_why_not(spec, self))

    def split(self, spec: Spec, collection: str) -> str | None:
        """The split to load: a folder has several, and the names of ir_datasets and Pyserini are of one."""
        return spec.split if not collection.startswith(("irds:", "pyserini:")) else None

    def recorded(self, spec: Spec, condition: Condition) -> Path | None:
        """The file with a condition's recorded expansions; None for a condition without.

        Raises:
            NotHereError: it has some, and they are not here.
        """
        if condition.expansions is None:
            return None
        if spec.embedded:
            from expandr_ir.demo import expansions_path

            return expansions_path()
        if found := self.expansions_file(spec, condition):
            return found
        where = " or ".join(map(str, self.expansions)) or "--expansions DIR"
        raise NotHereError(f"expansions not here: {spec.expansions or spec.name}/{condition.expansions} in {where}")

    def folder(self, spec: Spec) -> Path | None:
        """The collection's folder, if it is in one of `data`."""
        if spec.folder is None:
            return None
        group = spec.group.partition("/")[0]
        places = [place for folder in self.data for place in (folder / spec.folder, folder / group / spec.folder)]
        places += [folder for folder in self.data if folder.resolve().name == spec.folder]
        return next((place for place in places if _is_collection(place)), None)

    def expansions_file(self, spec: Spec, condition: Condition) -> Path | None:
        """The file of recorded expansions, plain or .gz, if it is in one of `expansions`."""
        names = (f"{condition.expansions}", f"{condition.expansions}.gz")
        places = [place for folder in self.expansions for place in (folder / (spec.expansions or spec.name), folder)]
        return next((place / name for place in places for name in names if (place / name).is_file()), None)


def model_identity(config: EncoderConfig) -> dict[str, Any]:
    """What identifies an encoder's model on this machine, found without loading or fetching anything.

    Raises:
        NotHereError: the model is not here.
    """
    folder = _model_folder(config)
    files = sorted(path for pattern in ("*.safetensors", "*.json", "*.txt") for path in folder.rglob(pattern))
    if not any(path.suffix == ".safetensors" for path in files):
        raise NotHereError(f"model not here: {config.model}")
    hashes = [[path.relative_to(folder).as_posix(), known_sha256(path)] for path in files]
    return {"model": config.model, "files": sha256_json(hashes)}


def _model_folder(config: EncoderConfig) -> Path:
    scheme, colon, package = config.model.partition(":")
    if colon and scheme == "package":
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise NotHereError(f"model not here: the package {package} is not installed")
        return Path(next(iter(spec.submodule_search_locations)))
    if (folder := Path(config.model).expanduser()).is_dir():
        return folder
    from expandr_ir.encoders.weights import converted_folder

    converted = converted_folder(config.model, config.revision)
    if converted.is_dir():
        return converted
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub")
    snapshots = hub.expanduser() / f"models--{config.model.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.glob(config.revision or "*"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise NotHereError(f"model not here: {config.model}")
    return found[-1]


def _is_collection(folder: Path) -> bool:
    return any((folder / f"corpus.jsonl{ending}").is_file() for ending in ("", ".gz"))


def _why_not(spec: Spec, places: Places) -> str:
    if spec.folder:
        where = " or ".join(map(str, places.data)) or "--data DIR"
        also = f" (or: --source irds, {spec.irds})" if spec.irds and places.source == "folder" else ""
        return f"data not here: {spec.folder} in {where}{also}"
    ways = [f"--source {name}, {value}" for name, value in (("irds", spec.irds), ("pyserini", spec.pyserini)) if value]
    return f"data not here: {' or '.join(ways)}"
