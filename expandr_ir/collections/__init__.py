"""A collection: documents, topics and judgements behind one name.

Imports records, errors, config, registry and io.
"""

from __future__ import annotations

import difflib
import logging
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expandr_ir import registry
from expandr_ir.collections.facts import CollectionFacts, all_facts
from expandr_ir.errors import InputError, some, unknown_name
from expandr_ir.records import Document, Qrels, Topic

logger = logging.getLogger(__name__)

GROUP = "expandr_ir.collections"
SCHEMES = {
    "irds": "expandr_ir.collections.irds:IrdsCollection",
    "pyserini": "expandr_ir.collections.pyserini_names:PyseriniCollection",
    "demo": "expandr_ir.demo:DemoCollection",
}
"""Classes by scheme, called with the text behind the colon; installed packages add theirs by entry points of GROUP."""


@dataclass(frozen=True)
class SplitReport:
    """Counts of topics with judgements (those that are searched) and without, of judged ids without a topic, of pairs.

    `split` is None where nothing is judged.
    """

    split: str | None
    topics: int
    topics_without_qrels: int
    qrels_without_topic: int
    judgements: int


class Collection(ABC):
    """Documents, topics and judgements, wherever they come from.

    Args:
        spec: the argument of `load_collection`.
        name: short, fit for a file name.
        facts: what is published about it.
        index_name: Pyserini's prebuilt index of its documents, for a collection that is loaded by Pyserini's name.
    """

    def __init__(self, spec: str, name: str, facts: CollectionFacts, index_name: str | None = None) -> None:
        self.spec, self.name, self.facts, self.index_name = spec, name, facts, index_name

    def identity(self) -> dict[str, str]:
        """Name and spec, for a manifest."""
        return {"name": self.name, "spec": self.spec}

    def __repr__(self) -> str:
        documents = f", {self.facts.documents:,} documents" if self.facts.documents else ""
        return f"<{type(self).__name__} {self.name}: {self.spec}{documents}>"

    @property
    def remove_own_document(self) -> bool:
        """True where its published figures leave out the document whose id is the topic's (BEIR's do)."""
        return self.facts.remove_own_document

    @property
    def default_split(self) -> str | None:
        """The split that is meant where none is named: the published one, else test, else the only one.

        None where nothing is judged; an InputError where there are several and none of them is the default.
        """
        splits = self.splits()
        for split in (self.facts.default_split, "test"):
            if split in splits:
                return split
        if len(splits) > 1:
            has = f"{self.spec} has the splits {', '.join(splits)}, and none of them is its default"
            raise InputError(has, expected="the split's name", remedy=f"--split {splits[0]}")
        return splits[0] if splits else None

    def topics(self, split: str | None = None) -> dict[str, Topic]:
        """The topics that have judgements in a split, by topic_id, in the order of their source.

        Args:
            split: None is the default one, and all topics where nothing is judged.

        Raises:
            InputError: no such split, or none of its judged topics has a text.
        """
        split = self._resolve(split)
        topics = self._read_topics()
        if split is None:
            return topics
        qrels = self._read_qrels(split)
        judged = {topic_id: topic for topic_id, topic in topics.items() if topic_id in qrels}
        if not judged:
            differ = f"no topic has judgements; topics are {some(topics)}, judged are {some(qrels)}"
            raise InputError(f"{self.spec}, split {split}: {differ}", expected="topics and qrels of one collection")
        return judged

    def all_topics(self) -> dict[str, Topic]:
        """All topics by topic_id, judged or not, in the order of their source."""
        return self._read_topics()

    def qrels(self, split: str | None = None) -> Qrels:
        """The judgements of a split, those of topics without a text included; None is the default split."""
        split = self._resolve(split)
        if split is None:
            raise self._without_qrels()
        return self._read_qrels(split)

    def report(self, split: str | None = None) -> SplitReport:
        """The fit of the topics and the judgements of a split; None is the default split."""
        split = self._resolve(split)
        topics, qrels = self._read_topics(), {} if split is None else self._read_qrels(split)
        judged = len(topics.keys() & qrels.keys())
        judgements = sum(map(len, qrels.values()))
        return SplitReport(split, judged, len(topics) - judged, len(qrels) - judged, judgements)

    def documents(self) -> Iterator[Document]:
        """Each document once, streamed in the order of its source; 8 bytes a document are kept to find twins.

        A count that differs from the published one is logged as a warning.

        Raises:
            InputError: an id that is missing or occurs twice (found at the end of the stream), or no document at all.
        """
        import numpy as np

        hashes = array("q")
        for _, document in self._read_documents():
            hashes.append(hash(document.doc_id))
            yield document
        if not hashes:
            raise InputError(f"{self.spec}: no documents", expected="at least one document")
        values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
        if suspects := set(values[counts > 1].tolist()):
            self._refuse_twins(suspects)
        if (published := self.facts.documents) not in {None, len(hashes)}:
            logger.warning(
                "%s: %d documents, but %s is published with %d", self.spec, len(hashes), self.name, published
            )

    @abstractmethod
    def splits(self) -> list[str]:
        """The splits that have judgements, sorted; none where nothing is judged."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A SHA-256 that identifies the documents: indexes and vectors are kept by it."""

    @abstractmethod
    def _read_topics(self) -> dict[str, Topic]:
        """All topics."""

    @abstractmethod
    def _read_qrels(self, split: str) -> Qrels:
        """The judgements of a split that exists."""

    @abstractmethod
    def _read_documents(self) -> Iterator[tuple[str, Document]]:
        """The documents, each id checked by itself, with their places for errors."""

    def _without_qrels(self) -> InputError:
        return InputError(f"{self.spec} has no judgements", expected="qrels", remedy="--qrels FILE")

    def _resolve(self, split: str | None) -> str | None:
        if split is None:
            return self.default_split
        splits = self.splits()
        if not splits:
            raise self._without_qrels()
        if split not in splits:
            raise unknown_name(f"split of {self.spec}", split, splits)
        return split

    def _refuse_twins(self, suspects: set[int]) -> None:
        """Names the first id that really occurs twice: equal hashes may be of two ids."""
        first: dict[str, str] = {}
        for where, document in self._read_documents():
            if document.doc_id in first:
                twice = f"document {document.doc_id!r} a second time; the first is {first[document.doc_id]}"
                raise InputError(f"{where}: {twice}", expected="each document id once")
            if hash(document.doc_id) in suspects:
                first[document.doc_id] = where


def load_collection(spec: str | Path) -> Collection:
    """The collection that a `--collection` value names.

    Args:
        spec: a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/*.tsv or *.jsonl, each plain or .gz),
            `irds:<ir_datasets id>`, `pyserini:<Pyserini's name of topics>`, `demo`, or the scheme of an installed
            package.

    Raises:
        InputError: it names none of these; the message says what was tried and what is nearest.
        MissingResourceError: a part of it is not there.
    """
    spec = str(spec)
    scheme, colon, name = spec.partition(":")
    folder = Path(spec).expanduser()
    if scheme in registry.names(GROUP, SCHEMES) and (colon or spec == "demo" or not folder.exists()):
        collection: Collection = registry.find(GROUP, scheme, SCHEMES)(name)
        return collection
    if folder.is_dir():
        from expandr_ir.collections.beir import BeirFolder

        return BeirFolder(folder)
    kind = "a file" if folder.is_file() else "no folder"
    raise InputError(
        f"{spec!r} is no collection: it is {kind}, not demo, and starts neither with irds: nor with pyserini:",
        expected="a folder with corpus.jsonl, queries.jsonl and qrels/, irds:ID, pyserini:NAME or demo",
        remedy="--topics FILE and --qrels FILE, with --index" if folder.is_file() else _nearest(folder),
    )


def check_collection(collection: object) -> None:
    """Refuses a collection's name where the collection itself is expected."""
    if isinstance(collection, str | Path):
        shown = repr(str(collection))
        raise InputError(
            f"the collection is the text {shown}", expected="a Collection", remedy=f"load_collection({shown})"
        )


def _nearest(folder: Path) -> str | None:
    """The collection that was most likely meant, as it is spelled."""
    spellings = {"demo": "demo"}
    for name, facts in all_facts().items():
        if facts.irds:
            spellings |= dict.fromkeys((name, facts.irds), f"irds:{facts.irds}")
    if folder.parent.is_dir():
        spellings |= {str(child): str(child) for child in folder.parent.iterdir() if child.is_dir()}
    if spellings.get(str(folder)) == f"irds:{folder}" and folder.parent == Path("beir"):
        return f"expandr download {folder}, or irds:{folder}"
    near = difflib.get_close_matches(str(folder), spellings, n=1)
    return spellings[near[0]] if near else None
