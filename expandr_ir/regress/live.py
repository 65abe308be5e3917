"""Conditions whose expansions an LLM writes: written into a file beside the run, once for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandr_ir.collection import Collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.expand import expand, rows
from expandr_ir.expanders import ExpanderConfig
from expandr_ir.expansions_file import write_expansions
from expandr_ir.files import sha256_json
from expandr_ir.manifest import read_manifest, write_manifest
from expandr_ir.pipeline import ExpandOptions, opened, prepare, prompt_of, usable
from expandr_ir.records import Topic
from expandr_ir.regress.hashes import known_sha256


@dataclass(frozen=True)
class Writer:
    """The LLM of all live conditions.

    Args:
        generator: its settings.
        seed: of its decoding.
    """

    generator: GeneratorConfig
    seed: int = 0

    @property
    def identity(self) -> str:
        """Engine, model and revision in one word."""
        return self.spec + (f"@{self.generator.revision}" if self.generator.revision else "")

    @property
    def spec(self) -> str:
        """Engine and model, as --generator takes them."""
        return f"{self.generator.engine}:{self.generator.model}"

    def config(self, expander: ExpanderConfig) -> GeneratorConfig:
        """The generator as the expander decodes with it."""
        own = self.generator
        return replace(own, decoding=replace(expander.decoding(own.decoding), seed=self.seed))


def written(
    path: Path,
    writer: Writer,
    expander: ExpanderConfig,
    collection: Collection,
    split: str | None,
    topics: Mapping[str, Topic],
) -> Path:
    """The file of expansions, written where it is not there yet or was written for something else.

    Args:
        path: the file.
        writer: the LLM.
        expander: what is asked of it.
        collection: whose topics, and whose documents a prompt shows.
        split: whose judged documents a prompt shows.
        topics: what is expanded.

    Raises:
        ExpandrError: the LLM cannot be reached, or wrote nothing.
    """
    config = writer.config(expander)
    asked = ExpandOptions(
        prompt=expander.prompt_for(collection.name),
        samples=expander.samples,
        passages=expander.passages or ExpandOptions.passages,
    )
    wanted = _wanted(config, asked, collection, topics)
    manifest = read_manifest(path) if path.is_file() else None
    if manifest and manifest.details.get("request") == wanted and manifest.output.sha256 == known_sha256(path):
        return path
    started = datetime.now(UTC)
    with opened(config, asked) as (generator, store):
        plan = prepare(topics, collection, split, config, asked, generator, store)
        expanded = expand(plan, generator, store)
    usable(expanded)
    write_expansions(path, rows(expanded))
    write_manifest(
        path,
        command=["expandr", "regress"],
        started=started,
        seeds={"decoding": writer.seed},
        counts={"topics": len(topics), "empty_expansions": expanded.counts.empty},
        seconds={"generate": expanded.counts.seconds},
        tokens={"in": expanded.counts.tokens_in, "out": expanded.counts.tokens_out},
        details={"request": wanted, "generator": asdict(plan.generator), "prompt": plan.prompt},
    )
    return path


def _wanted(
    config: GeneratorConfig, asked: ExpandOptions, collection: Collection, topics: Mapping[str, Topic]
) -> dict[str, Any]:
    """All that the texts depend on, as plain data."""
    settings = {name: asdict(config)[name] for name in ("engine", "model", "revision", "adapter", "decoding")}
    return {
        "generator": sha256_json(settings),
        "prompt": prompt_of(config, asked).sha256,
        "samples": asked.samples,
        "passages": asked.passages,
        "documents": collection.fingerprint(),
        "topics": sha256_json([[topic.topic_id, topic.text] for topic in topics.values()]),
    }
