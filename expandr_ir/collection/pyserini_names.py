"""Topics and qrels by the names that Pyserini gives them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NoReturn

from expandr_ir import jvm
from expandr_ir.collection import Collection
from expandr_ir.collection.facts import all_facts, match_pyserini
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import sha256_json
from expandr_ir.qrels import read_qrels
from expandr_ir.records import Qrels, Topic
from expandr_ir.topics import add_topic


class PyseriniCollection(Collection):
    """What Pyserini calls by one name, such as "beir-v1.0.0-scifact-test": topics, qrels and a prebuilt index.

    Its documents are in that index only. The name is its one split.

    Args:
        topics: Pyserini's name of the topics.
    """

    def __init__(self, topics: str) -> None:
        name, facts = match_pyserini(topics)
        super().__init__(f"pyserini:{topics}", name, facts, facts.index)
        self._topics = topics

    def splits(self) -> list[str]:
        """The name itself, where Pyserini has qrels of that name."""
        try:
            self._qrels_path()
        except FileNotFoundError:
            return []
        return [self._topics]

    def fingerprint(self) -> str:
        """A SHA-256 of the prebuilt index's name."""
        if self.index_name is None:
            raise self._without_documents()
        return sha256_json(["pyserini", self.index_name])

    def _read_topics(self) -> dict[str, Topic]:
        search = _pyserini_search()
        with self._fetching("topics"):
            try:
                rows = search.get_topics(self._topics)
            except ValueError as error:
                raise self._unknown(search) from error
        texts = {str(topic_id): fields.get("title") or "" for topic_id, fields in rows.items()}
        topics: dict[str, Topic] = {}
        for topic_id in sorted(texts, key=_by_number):
            add_topic(topics, topic_id, texts[topic_id], self.spec)
        return topics

    def _read_qrels(self, split: str) -> Qrels:  # noqa: ARG002 (the name has one split)
        # Pyserini's own reader makes integers of ids that are all digits: "007" would become 7.
        return read_qrels(self._qrels_path())

    def _read_documents(self) -> NoReturn:
        raise self._without_documents()

    def _qrels_path(self) -> str:
        """Pyserini's file of these qrels; FileNotFoundError where it has none of that name."""
        search = _pyserini_search()
        with self._fetching("qrels"):
            path: str = search.get_qrels_file(self._topics)
        return path

    def _without_documents(self) -> InputError:
        return InputError(
            f"{self.spec} has topics and qrels, but no documents to read",
            expected="an index that has them",
            remedy=f"--index {self.index_name}" if self.index_name else "--index PATH|NAME",
        )

    def _unknown(self, search: ModuleType) -> InputError:
        known = sorted({name for facts in all_facts().values() for name in facts.pyserini} | set(_names(search)))
        near = difflib.get_close_matches(self._topics, known, n=5, cutoff=0.5)
        return InputError(
            f"Pyserini has no topics {self._topics!r}",
            expected=f"one of its names, such as {', '.join(near or known[:3])}",
            remedy=f"pyserini:{near[0]}" if near else None,
        )

    @contextmanager
    def _fetching(self, part: str) -> Iterator[None]:
        """Holds Java's lock, and says which file to place where when Pyserini cannot download it."""
        from jnius import JavaException

        try:
            with jvm.LOCK:
                yield
        except FileNotFoundError:
            raise
        except (JavaException, OSError) as error:
            address = re.search(r"https?://\S+", str(error))
            if address is None:
                raise self._offline(part) from error
            user = jvm.java_class("java.lang.System").getProperty("user.home")
            place = f"{user}/.cache/pyserini/topics-and-qrels/{address[0].rpartition('/')[2]}"
            raise MissingResourceError(
                f"{self.spec}: its {part} are not on this machine, and {address[0]} could not be fetched",
                expected=f"the file {place}",
                remedy=f"fetch it where there is a network, place it at {place}",
            ) from error

    def _offline(self, part: str) -> MissingResourceError:
        return MissingResourceError(
            f"{self.spec}: Pyserini could not fetch its {part}, nor the list of its names",
            expected="a network: this version of Pyserini reads the list anew each time",
            remedy="--topics FILE and --qrels FILE, with --index",
        )


def _by_number(topic_id: str) -> tuple[int, str]:
    """Java hands topics out in no order: this one is by number, other ids by name before them."""
    return (int(topic_id) if topic_id.isdecimal() else -1, topic_id)


def _names(search: ModuleType) -> list[str]:
    """All names of topics, where this version of Pyserini has the list itself (1.6 does)."""
    return list(getattr(search._base, "topics_mapping", {}))


def _pyserini_search() -> ModuleType:
    jvm.start()
    import pyserini.search

    search: ModuleType = pyserini.search
    return search
