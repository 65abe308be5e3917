"""Pyserini's QueryEncoder with expansions; importing this module starts Java and imports Pyserini."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from expandr_ir.aggregate import DenseOptions, dense_aggregation, dense_vectors
from expandr_ir.blocks import load_block
from expandr_ir.collections import Collection, load_collection
from expandr_ir.encoders import encoder_config, load_encoder
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.expanders import ExpandOptions, load_expander
from expandr_ir.io.expansions import read_expansions
from expandr_ir.io.topics import read_topics
from expandr_ir.jvm import import_pyserini
from expandr_ir.pyserini.lookup import Live, Lookup
from expandr_ir.records import Topic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from expandr_ir.encoders import Encoder

QueryEncoder: Any = import_pyserini("pyserini.encode").QueryEncoder

logger = logging.getLogger(__name__)

SCHEME = "expandr:"
"""The beginning of `--encoder expandr:FILE.yaml`."""


@dataclass(frozen=True, kw_only=True)
class QueryEncoderConfig:
    """The YAML behind `--encoder expandr:FILE.yaml`; paths in it are taken from the folder that the command runs in.

    Args:
        encoder: a name of conf/encoders, a YAML file, a model's folder or a hub id.
        aggregation: a dense aggregation; "none" is the topic alone and needs no expansions.
        options: the aggregation's numbers.
        topics: the file of the topics that will be searched.
        collection: the topics' collection, in place of a file; its name may choose the encoder's query prefix.
        split: of the collection; None takes its default.
        expansions: the file of the topics' expansions.
        generator: writes expansions in place of a file: a name of conf/generators, a YAML file or engine:model.
            Stored texts are not generated again; topics need not be known beforehand.
        expand: options of the generator's expansions.
    """

    encoder: str
    aggregation: str
    options: DenseOptions = field(default_factory=DenseOptions)
    topics: str | None = None
    collection: str | None = None
    split: str | None = None
    expansions: str | None = None
    generator: str | None = None
    expand: ExpandOptions = field(default_factory=ExpandOptions)


class ExpandRQueryEncoder(QueryEncoder):  # type: ignore[misc]
    """The query encoder of Pyserini's FaissSearcher that makes one vector of a topic and its expansions.

    All known topics are encoded together when the first is needed: their vectors are those of `expandr search`, bit for
    bit.

    Args:
        encoder: an encoder, or its name, see `load_encoder`.
        expansions: a topic's text -> its expansions, or a Lookup.
        aggregation: a dense aggregation.
        options: its numbers.

    Raises:
        InputError: an unknown aggregation, or as in `load_encoder`.
    """

    def __init__(
        self,
        encoder: Encoder | str,
        expansions: Lookup | Mapping[str, Sequence[str]],
        aggregation: str,
        options: DenseOptions | None = None,
    ) -> None:
        super().__init__()
        dense_aggregation(aggregation)  # refused here where it does not exist
        self.has_model = True
        self.encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
        self.lookup = Lookup.of(expansions)
        self.aggregation = aggregation
        self.options = options or DenseOptions()
        self._vectors: dict[str, NDArray[np.float32]] = {}

    @classmethod
    def from_yaml(cls, path: str | Path, device: str | None = None) -> ExpandRQueryEncoder:
        """The encoder that a YAML file describes (see QueryEncoderConfig).

        Args:
            path: the YAML file.
            device: in place of the devices of the encoder's configuration.

        Raises:
            MissingResourceError: a file or model is not there.
            InputError: a file that does not fit, or that names no expansions where the aggregation needs them.
        """
        if not Path(path).is_file():
            raise MissingResourceError(f"{path} is not there", expected="a YAML file with encoder and aggregation")
        config = load_block(QueryEncoderConfig, Path(path))
        collection = load_collection(config.collection) if config.collection else None
        lookup = _lookup(config, collection, Path(path))
        named = encoder_config(config.encoder)
        if device:
            named = replace(named, options=replace(named.options, devices=[device]))
        encoder = load_encoder(named, collection=collection.name if collection else None)
        return cls(encoder, lookup, config.aggregation, config.options)

    def encode(self, query: str) -> NDArray[np.float32]:
        """The vector of a topic's text, float32 array of shape (dim,); a text without expansions is an error."""
        vector: NDArray[np.float32] = self.encode_batch([query])[0]
        return vector

    def encode_batch(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of several topics' texts, float32 array of shape (n, dim); Pyserini's `batch_search` calls it."""
        keys = self.lookup.find(queries)
        new = {key: topic for key, topic in self.lookup.topics.items() if key not in self._vectors}
        if new:
            self._vectors |= zip(*dense_vectors(self.aggregation, new, self.encoder, self.options), strict=True)
            blank = sum(not any(e.text.strip() for e in topic.expansions) for topic in new.values())
            if self.aggregation != "none" and blank:
                logger.warning("%d of %d topics have only empty expansions: searched alone", blank, len(new))
        return np.array([self._vectors[key] for key in keys]).reshape(len(keys), self.encoder.dim)


def register() -> None:
    """Makes `--encoder expandr:FILE.yaml` mean this encoder, in all of Pyserini's commands with dense search."""
    classes: dict[str, Any] = import_pyserini("pyserini.encode").query_encoder_class_map
    others = {keyword: other for keyword, other in classes.items() if keyword != SCHEME}
    # First: Pyserini takes the first class whose keyword is anywhere in the name ("ance" in /data/finance).
    classes.clear()
    classes.update({SCHEME: _from_command_line} | others)


def _from_command_line(
    encoder_dir: str,
    tokenizer_name: str | None = None,
    device: str = "cpu",
    prefix: str | None = None,
    fp16: bool = False,
    **_: Any,  # pooling and the like, which Pyserini reads out of the name
) -> ExpandRQueryEncoder:
    given = {"--tokenizer": tokenizer_name, "--query-prefix": prefix, "--fp16": fp16}
    if passed := [flag for flag, value in given.items() if value]:
        raise InputError(
            f"{' and '.join(passed)} with --encoder {encoder_dir}", expected="the encoder's own YAML to say such things"
        )
    return ExpandRQueryEncoder.from_yaml(encoder_dir.removeprefix(SCHEME), None if device == "cpu" else device)


def _lookup(config: QueryEncoderConfig, collection: Collection | None, path: Path) -> Lookup:
    topics: dict[str, Topic] = {}
    if config.topics:
        topics = read_topics(config.topics)
    elif collection:
        topics = collection.topics(config.split)
    if config.expansions and config.generator:
        raise InputError(f"{path}: expansions and a generator", expected="one of them")
    if config.expansions:
        if not topics:
            raise InputError(f"{path}: expansions without their topics", expected="topics: FILE or collection: C")
        return Lookup(read_expansions(config.expansions, topics).values())
    if config.generator:
        expander = load_expander(
            generator=config.generator, collection=collection, split=config.split, options=config.expand
        )
        return Lookup(write=Live(expander, topics))
    if config.aggregation == "none":
        return Lookup.plain(topics.values())
    raise InputError(
        f"{path}: the aggregation {config.aggregation!r} without expansions",
        expected="expansions: FILE or generator: G",
    )
