"""The files of an encoder: found, fetched, checked, converted. Safetensors only: nothing is unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.io.files import home, read_json, sha256_file, sha256_json
from expandr_ir.runtime import require

PACKAGE = "package:"
FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "*.bpe.model", "sp.model")
PICKLED = "pytorch_model*.bin"


def model_folder(config: EncoderConfig) -> Path:
    """The folder with the encoder's files, fetched from the hub where it is a hub id, and checked."""
    folder, model = locate_model(config), config.model
    conversion = f"python -c \"from expandr_ir.encoders.weights import convert; convert('{model}')\""
    for pickled in folder.rglob(PICKLED):
        if not any(pickled.parent.glob("*.safetensors")):
            safe = "safetensors, which run no code when they are read"
            raise InputError(f"{model} has pickled weights only: {pickled.name}", expected=safe, remedy=conversion)
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        remedy = f"where its repository has only pytorch_model.bin: {conversion}"
        raise MissingResourceError(f"{model} has no weights (looked in {folder})", remedy=remedy)
    if not any(True for name in TOKENIZERS for _ in folder.rglob(name)):
        expected = f"one of {', '.join(TOKENIZERS)}"
        remedy = "copy the tokenizer's files from the model it was trained from"
        raise MissingResourceError(f"{model} has no tokenizer (looked in {folder})", expected=expected, remedy=remedy)
    for path in weights:
        parameter_names(path)
    if config.weights_sha256 and (sha256 := sha256_file(folder / "model.safetensors")) != config.weights_sha256:
        problem, remedy = f"{folder / 'model.safetensors'} has the SHA-256 {sha256}", "install or fetch the model again"
        raise InputError(problem, expected=config.weights_sha256, remedy=remedy)
    return folder


def parameter_names(path: Path) -> list[str]:
    """The names of the tensors in a safetensors file, read from its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as tensors:
            return list(tensors.keys())
    except SafetensorError as error:
        raise InputError(f"{path}: {error}", expected="a whole safetensors file", remedy="fetch it again") from error


def fingerprint(folder: Path) -> str:
    """The SHA-256 over everything in a model's folder that makes its vectors: weights, tokenizer, configuration."""
    files = sorted({path for pattern in FILES for path in folder.rglob(pattern)})
    return sha256_json([[path.relative_to(folder).as_posix(), sha256_file(path)] for path in files])


def convert(model: str, revision: str | None = None) -> Path:
    """The folder with the weights of a model (a folder or a hub id) as safetensors, where encoders find them.

    The pickle is read with `weights_only`, which builds tensors and runs no code. A folder is converted in place, a hub
    id under EXPANDR_HOME.
    """
    import torch
    from safetensors.torch import save_file

    folder, target = Path(model).expanduser(), converted_folder(model, revision)
    is_hub_id = not os.path.isdir(folder)
    if is_hub_id and target.is_dir():
        return target
    if is_hub_id:
        folder = _fetch(model, revision, (*FILES, PICKLED), local_dir=target.with_name(f"{target.name}.partial"))
    pickles = sorted(folder.rglob(PICKLED))
    if not pickles:
        raise MissingResourceError(f"{model} has no pickled weights", expected=PICKLED)
    for part in sorted({path.parent for path in pickles}):
        state: dict[str, Any] = {}
        for path in sorted(part.glob(PICKLED)):
            state |= torch.load(path, map_location="cpu", weights_only=True)
        if others := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
            raise InputError(f"{part} holds more than tensors: {', '.join(others)}", expected="a model's state")
        copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}
        save_file(copies, part / "model.partial", {"format": "pt"})
        (part / "model.partial").rename(part / "model.safetensors")
    if not is_hub_id:
        return folder
    for path in pickles:
        path.unlink()
    return folder.rename(target)


def converted_folder(model: str, revision: str | None) -> Path:
    """The folder for the converted weights of a hub id."""
    return home() / "models" / f"{model.replace('/', '--')}@{revision or 'main'}"


def read_settings(path: Path) -> Any:
    """The content of one of a model's configuration files; {} where there is no such file."""
    return read_json(path, "fetch the model again") if path.is_file() else {}


def locate_model(config: EncoderConfig, *, fetch: bool = True) -> Path:
    """The folder with the encoder's files, unchecked; without `fetch`, one that is on this machine already."""
    if config.model.startswith(PACKAGE):
        return Path(require(config.model.removeprefix(PACKAGE), "demo").get_model_path())
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return folder
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        expected = "the folder of a model, or a hub id OWNER/NAME"
        raise MissingResourceError(f"{config.model} is not there", expected=expected)
    converted = converted_folder(config.model, config.revision)
    if converted.is_dir():
        return converted
    patterns = (*FILES, "*.py") if config.options.trust_remote_code else FILES
    return _fetch(config.model, config.revision, patterns, local_files_only=not fetch)


def _fetch(model: str, revision: str | None, patterns: tuple[str, ...], **options: Any) -> Path:
    hub = require("huggingface_hub")
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=list(patterns), **options))
    except (OSError, ValueError) as error:
        problem = f"{model} cannot be fetched from the hub: {str(error).splitlines()[0]}"
        remedy = (
            "name the folder of a copy as the encoder's model; for a gated model, run: hf auth login;"
            " --encoder all-MiniLM-L6-v2 comes with pip"
        )
        raise MissingResourceError(problem, expected=f"the model {model}, or a network", remedy=remedy) from error
