"""What names an LLM in a generation's key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig
from expandr_ir.files import sha256_file, sha256_json
from expandr_ir.records import GeneratorId

MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def identify(config: GeneratorConfig, options: Mapping[str, Any] | None = None) -> GeneratorId:
    """The GeneratorId of a configuration.

    A folder is known by its name and a digest of its files: new weights in an old folder are another model, and the
    same weights in another place are the same one. Hub ids and served names are taken as they are.

    Args:
        config: the generator.
        options: what else changes the text it writes, such as a chat template's text; part of `revision`.
    """
    model, revision = _name(config.model, config.revision)
    if options:
        revision = f"{revision or ''}+{sha256_json(options)[:16]}"
    if config.adapter is None:
        return GeneratorId(config.engine, model, revision)
    adapter, digest = _name(config.adapter, config.adapter_revision)
    return GeneratorId(config.engine, model, revision, f"{adapter}@{digest}" if digest else adapter)


def _name(model: str, revision: str | None) -> tuple[str, str | None]:
    folder = Path(model)
    if not folder.is_dir():
        return model, revision
    found = (path for pattern in MODEL_FILES for path in folder.glob(pattern))
    files = sorted(path for path in found if not path.name.endswith(".manifest.json"))  # it has times in it
    return folder.resolve().name, sha256_json([[path.name, sha256_file(path)] for path in files])[:16]
