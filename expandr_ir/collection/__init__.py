"""A collection: documents, topics and judgements behind one name."""

from __future__ import annotations

import difflib
import logging
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path

from expandr_ir.collection.facts import CollectionFacts, all_facts
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.qrels import SplitReport, split_report
from expandr_ir.records import Document, Qrels, Topic

logger = logging.getLogger(__name__)


class Collection(ABC):
    """Documents, topics and judgements, wherever they come from.

    Args:
        spec: what `load_collection` was given.
        name: short, fit for a file name.
        facts: what is published about it.
        index_name: Pyserini's prebuilt index of its documents, for a collection that is loaded by Pyserini's name.
    """

    def __init__(self, spec: str, name: str, facts: CollectionFacts, index_name: str | None = None) -> None:
        self.spec, self.name, self.facts, self.index_name = spec, name, facts, index_name

    @property
    def remove_own_document(self) -> bool:
        """Whether its published figures leave out the document whose id is the topic's (BEIR's do)."""
        return self.facts.remove_own_document

    @abstractmethod
    def splits(self) -> list[str]:
        """The splits that have judgements, sorted; none where nothing is judged."""

    @property
    def default_split(self) -> str | None:
        """The split that is meant where none is named: the published one, else test, else the only one.

        None where nothing is judged.

        Raises:
            InputError: there are several splits and none of them is the default.
        """
        splits = self.splits()
        for split in (self.facts.default_split, "test"):
            if split in splits:
                return split
        if len(splits) > 1:
            raise InputError(
                f"{self.spec} has the splits {', '.join(splits)}, and none of them is its default",
                expected="the split's name",
                remedy=f"--split {splits[0]}",
            )
        return splits[0] if splits else None

    def topics(self, split: str | None = None) -> dict[str, Topic]:
        """The topics that have judgements in a split, by topic_id, in the order of their source.

        Args:
            split: the split; None is the default one, and all topics where nothing is judged.

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
            raise InputError(
                f"{self.spec}, split {split}: no topic has judgements; topics are {_examples(topics)}, "
                f"judged are {_examples(qrels)}",
                expected="topics and qrels of one collection",
            )
        return judged

    def all_topics(self) -> dict[str, Topic]:
        """All topics by topic_id, judged or not, in the order of their source."""
        return self._read_topics()

    def qrels(self, split: str | None = None) -> Qrels:
        """The judgements of a split, those of topics without a text included; None is the default split.

        Raises:
            InputError: no such split, or nothing is judged.
        """
        split = self._resolve(split)
        if split is None:
            raise self._without_qrels()
        return self._read_qrels(split)

    def report(self, split: str | None = None) -> SplitReport:
        """How the topics and the judgements of a split fit together; None is the default split."""
        split = self._resolve(split)
        return split_report(self._read_topics(), {} if split is None else self._read_qrels(split), split)

    def documents(self) -> Iterator[Document]:
        """Each document once, streamed in the order of its source; 8 bytes a document are kept to find twins.

        A count that differs from the published one is logged as a warning.

        Raises:
            InputError: an id that is missing or occurs twice (found at the end of the stream), or no document at all.
        """
        hashes = array("q")
        for _, document in self._read_documents():
            hashes.append(hash(document.doc_id))
            yield document
        if not hashes:
            raise InputError(f"{self.spec}: no documents", expected="at least one document")
        if repeated := _repeated(hashes):
            self._refuse_twins(repeated)
        if self.facts.documents not in {None, len(hashes)}:
            logger.warning(
                "%s: %d documents, but %s is published with %d", self.spec, len(hashes), self.name, self.facts.documents
            )

    @abstractmethod
    def fingerprint(self) -> str:
        """A SHA-256 that identifies the documents: what was built from others has another one."""

    @abstractmethod
    def _read_topics(self) -> dict[str, Topic]:
        """All topics."""

    @abstractmethod
    def _read_qrels(self, split: str) -> Qrels:
        """The judgements of a split that exists."""

    @abstractmethod
    def _read_documents(self) -> Iterator[tuple[int, Document]]:
        """The documents, each id checked by itself, with the number that `_place` understands."""

    def _place(self, number: int) -> str:
        """Where a document stands, for an error."""
        return f"{self.spec}, document {number}"

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

    def _refuse_twins(self, repeated: set[int]) -> None:
        """Raises an InputError that names the first id that really occurs twice (equal hashes are only suspects)."""
        first: dict[str, int] = {}
        for number, document in self._read_documents():
            if document.doc_id in first:
                raise InputError(
                    f"{self._place(number)}: document {document.doc_id!r} a second time; "
                    f"the first is {self._place(first[document.doc_id])}",
                    expected="each document id once",
                )
            if hash(document.doc_id) in repeated:
                first[document.doc_id] = number


def load_collection(spec: str | Path) -> Collection:
    """The collection that a `--collection` value names.

    Args:
        spec: a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/*.tsv, each plain or .gz),
            `irds:<ir_datasets id>`, `pyserini:<Pyserini's name of topics>`, or `demo`.

    Raises:
        InputError: it names none of these; the message says what was tried and what is nearest.
        MissingResourceError: a part of it is not there.
    """
    spec = str(spec)
    scheme, colon, name = spec.partition(":")
    if colon and scheme == "irds":
        from expandr_ir.collection.irds import IrdsCollection

        return IrdsCollection(name)
    if colon and scheme == "pyserini":
        from expandr_ir.collection.pyserini_names import PyseriniCollection

        return PyseriniCollection(name)
    if spec == "demo":
        from expandr_ir.demo.collection import DemoCollection

        return DemoCollection()
    folder = Path(spec).expanduser()
    if folder.is_dir():
        from expandr_ir.collection.beir import BeirFolder

        return BeirFolder(folder)
    raise InputError(
        f"{spec!r} is no collection: it is {'a file' if folder.is_file() else 'no folder'}, not demo, and starts "
        "neither with irds: nor with pyserini:",
        expected="a folder with corpus.jsonl, queries.jsonl and qrels/, irds:ID, pyserini:NAME or demo",
        remedy="--topics FILE and --qrels FILE, with --index" if folder.is_file() else _nearest(spec),
    )


def _nearest(spec: str) -> str | None:
    """The collection that was most likely meant, as it is spelled."""
    folder = Path(spec).expanduser()
    known = {name: f"irds:{facts.irds}" for name, facts in all_facts().items() if facts.irds}
    known |= {facts.irds: f"irds:{facts.irds}" for facts in all_facts().values() if facts.irds}
    known["demo"] = "demo"
    if folder.parent.is_dir():
        known |= {str(folder.parent / child.name): str(child) for child in folder.parent.iterdir() if child.is_dir()}
    near = difflib.get_close_matches(spec, known, n=1)
    return known[near[0]] if near else None


def _examples(ids: dict[str, Topic] | Qrels) -> str:
    return ", ".join(list(ids)[:3]) + (", ..." if len(ids) > 3 else "")


def _repeated(hashes: array[int]) -> set[int]:
    import numpy as np

    values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    return set(values[counts > 1].tolist())
