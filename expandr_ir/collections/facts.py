"""Facts of known collections, as they are published: conf/collections/, matched by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from expandr_ir.config import conf_dir, names


@dataclass(frozen=True)
class CollectionFacts:
    """Published facts of one collection; None is not known.

    Args:
        documents: how many documents it has.
        default_split: the split that is meant where none is named; else test, else the only one.
        remove_own_document: its published figures leave out the document whose id is the topic's.
        k1, b: BM25's parameters in its published figures, where they are not Pyserini's defaults.
        irds: the ir_datasets id of its documents, or the longer id of one of its sets of topics.
        pyserini: Pyserini's names of its topics and qrels; they all mean the same.
        index: Pyserini's prebuilt index of its documents.
    """

    documents: int | None = None
    default_split: str | None = None
    remove_own_document: bool = False
    k1: float | None = None
    b: float | None = None
    irds: str | None = None
    pyserini: list[str] = field(default_factory=list)
    index: str | None = None


_AROUND_A_NAME = re.compile(r"^beir-(v1\.0\.0-)?|-(test|dev|train)$")


@cache
def load_facts(name: str) -> CollectionFacts:
    """The facts of a name of conf/collections/."""
    return CollectionFacts(**yaml.safe_load((conf_dir() / "collections" / f"{name}.yaml").read_text(encoding="utf-8")))


def all_facts() -> dict[str, CollectionFacts]:
    """The facts of all known collections by name."""
    return {name: load_facts(name) for name in names("collections")}


def match_folder(folder: Path) -> tuple[str, CollectionFacts]:
    """Name and facts of a folder: its own name, or its parent's and its own as in cqadupstack/android.

    Neither case nor underscores matter, nor BEIR before the name and a split behind it ("BEIR_ArguAna-test"). A folder
    that is not known has its own name and no facts.
    """
    known = names("collections")
    for name in (f"{folder.parent.name}-{folder.name}", folder.name):
        spelled = name.lower().replace("_", "-")
        for form in (spelled, _AROUND_A_NAME.sub("", spelled)):
            if form in known:
                return form, load_facts(form)
    return folder.name, CollectionFacts()


def match_irds(dataset_id: str) -> tuple[str, CollectionFacts]:
    """Name and facts of an ir_datasets id: the known id that is the longest beginning of it, path part by path part."""
    known = {facts.irds: (name, facts) for name, facts in all_facts().items() if facts.irds}
    parts = dataset_id.split("/")
    beginnings = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((known[i] for i in beginnings if i in known), (dataset_id.replace("/", "-"), CollectionFacts()))


def match_pyserini(topics: str) -> tuple[str, CollectionFacts]:
    """Name and facts of what Pyserini calls a set of topics."""
    matches = ((name, facts) for name, facts in all_facts().items() if topics in facts.pyserini)
    return next(matches, (topics, CollectionFacts()))
