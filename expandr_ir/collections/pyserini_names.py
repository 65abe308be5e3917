"""Topics and qrels by the names that Pyserini gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from expandr_ir import jvm
from expandr_ir.collections import Collection
from expandr_ir.collections.facts import all_facts, match_pyserini
from expandr_ir.errors import InputError, MissingResourceError, unknown_name
from expandr_ir.io.files import sha256_json
from expandr_ir.io.qrels import read_qrels
from expandr_ir.io.topics import add_topic
from expandr_ir.records import Qrels, Topic


class PyseriniCollection(Collection):
    """A collection by its Pyserini name, such as "beir-v1.0.0-scifact-test": topics, qrels and a prebuilt index.

    Its documents are in that index only. The name is its one split.
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
            self._read_documents()
        return sha256_json(["pyserini", self.index_name])

    def _read_topics(self) -> dict[str, Topic]:
        search = jvm.import_pyserini("pyserini.search")
        with self._fetching("topics"):
            try:
                rows = search.get_topics(self._topics)
            except ValueError as error:
                known = {name for facts in all_facts().values() for name in facts.pyserini}
                known |= set(getattr(search._base, "topics_mapping", {}))  # Pyserini 1.6 has the list itself
                raise unknown_name("collection", self.spec, [f"pyserini:{name}" for name in known]) from error
        texts = {str(topic_id): fields.get("title") or "" for topic_id, fields in rows.items()}
        topics: dict[str, Topic] = {}
        # Java hands topics out in no order: this one is by number, other ids by name before them.
        for topic_id in sorted(texts, key=lambda i: (int(i) if i.isdecimal() else -1, i)):
            add_topic(topics, topic_id, texts[topic_id], self.spec)
        return topics

    def _read_qrels(self, split: str) -> Qrels:  # noqa: ARG002 (the name has one split)
        # Pyserini's own reader makes integers of ids that are all digits: "007" would become 7.
        return read_qrels(self._qrels_path())

    def _read_documents(self) -> NoReturn:
        raise InputError(
            f"{self.spec} has topics and qrels, but no documents to read",
            expected="an index that has them",
            remedy=f"--index {self.index_name}" if self.index_name else "--index PATH|NAME",
        )

    def _qrels_path(self) -> str:
        """Pyserini's file of these qrels; FileNotFoundError where it has none of that name."""
        search = jvm.import_pyserini("pyserini.search")
        with self._fetching("qrels"):
            path: str = search.get_qrels_file(self._topics)
        return path

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
                raise MissingResourceError(
                    f"{self.spec}: Pyserini could not fetch its {part}, nor the list of its names",
                    expected="a network: this version of Pyserini reads the list anew each time",
                    remedy="--topics FILE and --qrels FILE, with --index",
                ) from error
            user = jvm.java_class("java.lang.System").getProperty("user.home")
            place = f"{user}/.cache/pyserini/topics-and-qrels/{address[0].rpartition('/')[2]}"
            raise MissingResourceError(
                f"{self.spec}: its {part} are not on this machine, and {address[0]} could not be fetched",
                expected=f"the file {place}",
                remedy=f"fetch it where there is a network, place it at {place}",
            ) from error
