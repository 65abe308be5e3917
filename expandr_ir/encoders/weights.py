"""Where an encoder's files stand, and whether they can be used: safetensors only, nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from expandr_ir.config import EncoderConfig
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import home, sha256_file, sha256_json
from expandr_ir.generators.base import require

PACKAGE = "package:"
FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "*.bpe.model", "sp.model")
PICKLED = "pytorch_model*.bin"


def model_folder(config: EncoderConfig) -> Path:
    """The folder with the encoder's files, fetched from the hub where it is a hub id, and checked.

    Raises:
        NotInstalledError: the package with the weights is not installed.
        MissingResourceError: there is no such folder or model, the hub cannot be reached, or a file is missing.
        InputError: pickled weights, or weights with another SHA-256.
    """
    folder = _locate(config)
    _check_files(folder, config.model)
    if config.weights_sha256 and (found := sha256_file(folder / "model.safetensors")) != config.weights_sha256:
        raise InputError(
            f"{folder / 'model.safetensors'} has the SHA-256 {found}",
            expected=config.weights_sha256,
            remedy="install or fetch the model again",
        )
    return folder


def _locate(config: EncoderConfig) -> Path:
    if config.model.startswith(PACKAGE):
        folder: Path = require(config.model.removeprefix(PACKAGE), "demo").get_model_path()
        return folder
    folder = Path(config.model).expanduser()
    if folder.is_dir():
        return folder
    if config.model.startswith((".", "/", "~")) or config.model.count("/") != 1:
        raise MissingResourceError(
            f"{config.model} is not there", expected="the folder of a model, or a hub id OWNER/NAME"
        )
    converted = converted_folder(config.model, config.revision)
    if converted.is_dir():
        return converted
    code = ("*.py",) if config.options.trust_remote_code else ()
    return _fetch(config.model, config.revision, (*FILES, *code))


def _fetch(model: str, revision: str | None, patterns: tuple[str, ...], target: Path | None = None) -> Path:
    hub = require("huggingface_hub")
    try:
        return Path(hub.snapshot_download(model, revision=revision, allow_patterns=list(patterns), local_dir=target))
    except (OSError, ValueError) as error:
        raise MissingResourceError(
            f"{model} cannot be fetched from the hub: {str(error).splitlines()[0]}",
            expected=f"the model {model}, or a network",
            remedy="name the folder of a copy as the encoder's model; for a gated model, run: hf auth login",
        ) from error


def _check_files(folder: Path, model: str) -> None:
    for pickled in folder.rglob(PICKLED):
        if not any(pickled.parent.glob("*.safetensors")):
            raise InputError(
                f"{model} has pickled weights only: {pickled.name}",
                expected="safetensors, which run no code when they are read",
                remedy=f"python -c \"from expandr_ir.encoders.weights import convert; convert('{model}')\"",
            )
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise MissingResourceError(
            f"{model} has no weights (looked in {folder})",
            expected="model.safetensors",
            remedy="where its repository has only pytorch_model.bin: "
            f"python -c \"from expandr_ir.encoders.weights import convert; convert('{model}')\"",
        )
    if not any(True for name in TOKENIZERS for _ in folder.rglob(name)):
        raise MissingResourceError(
            f"{model} has no tokenizer (looked in {folder})",
            expected=f"one of {', '.join(TOKENIZERS)}",
            remedy="copy the tokenizer's files from the model it was trained from",
        )
    for path in weights:
        parameter_names(path)


def parameter_names(path: Path) -> list[str]:
    """The names of the tensors in a safetensors file, read from its header.

    Raises:
        InputError: it is no whole safetensors file.
    """
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
    """The folder with the model's weights as safetensors; encoders with this model find them there from now on.

    The pickle is read with `weights_only`, which builds tensors and runs no code. A folder is converted in place, a hub
    id under EXPANDR_HOME.

    Args:
        model: a folder or a hub id.
        revision: hub revision.

    Raises:
        MissingResourceError: there are no pickled weights.
        InputError: the file holds more than tensors.
    """
    import torch
    from safetensors.torch import save_file

    folder, target = Path(model).expanduser(), converted_folder(model, revision)
    fetched = not folder.is_dir()
    if fetched and target.is_dir():
        return target
    if fetched:
        folder = _fetch(model, revision, (*FILES, PICKLED), target.with_name(f"{target.name}.partial"))
    if not any(folder.rglob(PICKLED)):
        raise MissingResourceError(f"{model} has no pickled weights", expected=PICKLED)
    for place in sorted({path.parent for path in folder.rglob(PICKLED)}):
        state: dict[str, Any] = {}
        for path in sorted(place.glob(PICKLED)):
            state |= torch.load(path, map_location="cpu", weights_only=True)
        if odd := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
            raise InputError(f"{place} holds more than tensors: {', '.join(odd)}", expected="a model's state")
        own = {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}
        save_file(own, place / "model.partial", {"format": "pt"})
        (place / "model.partial").rename(place / "model.safetensors")
    if not fetched:
        return folder
    for path in folder.rglob(PICKLED):
        path.unlink()
    return folder.rename(target)


def converted_folder(model: str, revision: str | None) -> Path:
    """Where the weights of a hub id stand once they are converted."""
    return home() / "models" / f"{model.replace('/', '--')}@{revision or 'main'}"


def read_json(path: Path) -> Any:
    """What one of a model's configuration files holds; None where there is no such file.

    Raises:
        InputError: malformed JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: {error}", expected="JSON", remedy="fetch the model again") from error
