"""Collections of ir_datasets, by its ids."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path
from tarfile import TarError
from typing import Any
from zipfile import BadZipFile

from expandr_ir.collections import Collection
from expandr_ir.collections.facts import match_irds
from expandr_ir.errors import InputError, MissingResourceError, unknown_name
from expandr_ir.io.files import sha256_file, sha256_json
from expandr_ir.io.qrels import add_judgement
from expandr_ir.io.topics import add_topic, check_id
from expandr_ir.records import Document, Qrels, Topic

DAMAGE = (ValueError, KeyError, RuntimeError, AssertionError, EOFError, BadZipFile, BadGzipFile, TarError, zlib.error)
"""Errors of ir_datasets on a broken or foreign file."""

SMALL_BYTES = 5_000_000
"""ir_datasets keeps no copy of a smaller download, and looks for none."""


class IrdsCollection(Collection):
    """A collection of ir_datasets. Its id names the split: beir/scifact/test has the one split "test"."""

    def __init__(self, dataset_id: str) -> None:
        import ir_datasets

        name, facts = match_irds(dataset_id)
        super().__init__(f"irds:{dataset_id}", name, facts)
        _refuse_deletion(dataset_id)
        try:
            self._dataset: Any = ir_datasets.load(dataset_id)
        except KeyError as error:
            raise unknown_name("collection", self.spec, [f"irds:{i}" for i in ir_datasets.registry]) from error
        self._id, self._group = dataset_id, dataset_id.partition("/")[0]
        self._documents_id: str = ir_datasets.docs_parent_id(dataset_id) if self._dataset.has_docs() else dataset_id

    def splits(self) -> list[str]:
        """The rest of the id behind the id of the documents; the whole id where there is none."""
        return [self._id.removeprefix(f"{self._documents_id}/")] if self._dataset.has_qrels() else []

    def fingerprint(self) -> str:
        """A SHA-256 of the documents' id and description in this version of ir_datasets.

        Of a data set that ir_datasets does not know, but that was registered with it, the documents' file is hashed.
        """
        import ir_datasets

        identity = [ir_datasets.__version__, self._documents_id, self._dataset.docs_metadata()]
        if not self._dataset.docs_metadata():
            identity.append(sha256_file(Path(self._dataset.docs_path())))
        return sha256_json(identity)

    def _read_topics(self) -> dict[str, Topic]:
        if not self._dataset.has_queries():
            raise self._without("topics", "queries")
        topics: dict[str, Topic] = {}
        with self._reading("topics"):
            for query in self._dataset.queries_iter():
                add_topic(topics, query.query_id, query.default_text(), self.spec)
        return topics

    def _read_qrels(self, split: str) -> Qrels:  # noqa: ARG002 (the id has one split)
        qrels: Qrels = {}
        with self._reading("qrels"):
            for row in self._dataset.qrels_iter():
                add_judgement(qrels, row.query_id, row.doc_id, int(row.relevance), self.spec)
        return qrels

    def _read_documents(self) -> Iterator[tuple[str, Document]]:
        if not self._dataset.has_docs():
            raise self._without("documents", "docs")
        fields = self._dataset.docs_cls()._fields
        with self._reading("documents"):
            for number, document in enumerate(self._dataset.docs_iter(), start=1):
                where = f"{self.spec}, document {number}"
                check_id(document.doc_id, "document", where)
                title = (document.title or "") if "title" in fields else ""
                text = document.text if "text" in fields else document.default_text()
                yield where, Document(document.doc_id, title, text)

    def _without_qrels(self) -> InputError:
        return self._without("judgements", "qrels")

    def _without(self, part: str, entity: str) -> InputError:
        """The error that a part is not there, with the ids below this one that have it."""
        import ir_datasets

        below = [i for i in ir_datasets.registry if i.startswith(f"{self._id}/") and ir_datasets.load(i).has(entity)]
        if not below:
            return InputError(f"{self.spec} has no {part}", remedy="--topics FILE" if part == "topics" else None)
        expected = f"an id that has them: {', '.join(sorted(below)[:10])}"
        return InputError(f"{self.spec} has no {part}", expected=expected, remedy=f"irds:{min(below, key=len)}")

    @contextmanager
    def _reading(self, part: str) -> Iterator[None]:
        """Adds a remedy where ir_datasets can neither find nor fetch a file, or cannot read it."""
        try:
            yield
        except (OSError, *DAMAGE) as error:
            if address := _address(error):
                place, md5, is_small = _place_of(address, self._group)
                setting = " and set IR_DATASETS_SMALL_FILE_SIZE=0" if is_small else ""
                raise MissingResourceError(
                    f"{self.spec}: its {part} are not on this machine, and {address} could not be fetched",
                    expected=f"the file {place}" + (f" (md5 {md5})" if md5 else ""),
                    remedy=f"fetch {address} where there is a network, place it at {place}{setting}",
                ) from error
            if isinstance(error, FileNotFoundError):
                raise MissingResourceError(
                    f"{self.spec}: its {part} are not there",
                    expected=f"the file or folder {error.filename or error}",
                    remedy=f"read how to get it: https://ir-datasets.com/{self._group}.html",
                ) from error
            if not isinstance(error, DAMAGE):
                raise
            raise InputError(
                f"{self.spec}: ir_datasets cannot read its {part} ({type(error).__name__}: {error})",
                expected="complete files in ir_datasets' own formats",
                remedy=f"look at {_irds_home() / self._group}; take a broken file away and fetch it again",
            ) from error


def _irds_home() -> Path:
    import ir_datasets

    return Path(ir_datasets.util.home_path())


def _address(error: BaseException) -> str | None:
    """The address of the download that failed, if a download is what went wrong."""
    if (request := getattr(error, "request", None)) is not None:
        return str(request.url)
    if len(error.args) == 2 and error.args[0] == "All download sources failed":
        return next((str(source.url) for source, _ in error.args[1] if hasattr(source, "url")), None)
    return None


def _place_of(address: str, group: str) -> tuple[Path, str | None, bool]:
    """The file that may stand in for a download, its md5, and True where ir_datasets does not look for so small a file.

    One address may belong to several groups of data sets: the collection's own goes first.
    """
    import ir_datasets

    groups = ir_datasets.util.DownloadConfig.contents()
    entries = ((name, entry) for name in sorted(groups, key=lambda n: n != group) for entry in groups[name].values())
    missing: tuple[str, dict[str, Any]] = "", {}
    name, entry = next((pair for pair in entries if pair[1].get("url") == address), missing)
    md5 = entry.get("expected_md5")
    if "cache_path" in entry:
        return _irds_home() / name / entry["cache_path"], md5, False
    if entry:
        return _irds_home() / "downloads" / str(md5), md5, entry.get("size_hint", 0) < SMALL_BYTES
    return _irds_home(), None, False


def _refuse_deletion(dataset_id: str) -> None:
    """ir_datasets would delete MS MARCO's passages that lack the version file, which says that they are repaired."""
    folder = _irds_home() / "msmarco-passage"
    passages, version = folder / "collection.tsv", folder / "irds_version.txt"
    if dataset_id.partition("/")[0] == folder.name and passages.is_file() and not version.is_file():
        raise InputError(
            f"{passages} stands there without {version.name}, and ir_datasets would delete it",
            expected=f"{version.name} with the text v2 beside a file that ir_datasets wrote",
            remedy=f"printf v2 > {version}; or, where it is MS MARCO's own file, place collectionandqueries.tar.gz in "
            f"{folder} instead: ir_datasets repairs its characters",
        )
