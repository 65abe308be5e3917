"""`expandr cite`: the papers of CITATION.cff as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from expandr_ir.config import conf_dir, conf_path, names
from expandr_ir.errors import unknown_name

KINDS = ("expanders", "train", "encoders", "generators")
"""Folders of conf/ whose files name papers."""

_ARXIV = re.compile(r"arXiv[ :]((\d{4}\.\d{5})(v\d+)?)")
_TYPES = {"article": "article", "conference-paper": "inproceedings"}


@dataclass(frozen=True)
class CiteOptions:
    """Options of `expandr cite`.

    Args:
        names: papers, such as hyde or bm25, and configurations, such as query2doc-cot or dpo-expandr; none means all.
    """

    names: list[str] = field(default_factory=list)


def cite(options: CiteOptions) -> str:
    """An entry for each paper of the names: the paper of that name, and those that a configuration's file names."""
    references, known = read_references(), papers()
    for name in options.names:
        if name not in known:
            raise unknown_name("paper or configuration", name, known)
    keys = dict.fromkeys(key for name in options.names for key in known[name])
    return "\n\n".join(bibtex(key, references[key]) for key in keys or references)


def read_references() -> dict[str, dict[str, Any]]:
    """The references of CITATION.cff by their abbreviations, in its order."""
    text = (conf_dir().parent / "CITATION.cff").read_text(encoding="utf-8")
    return {reference["abbreviation"]: reference for reference in yaml.safe_load(text)["references"]}


def papers() -> dict[str, list[str]]:
    """The papers' keys by name: of each paper, and of each configuration whose file names one by its arXiv id."""
    references = read_references()
    by_id: dict[str, str] = {}
    for key, reference in references.items():
        if match := _arxiv(reference):
            by_id[match[1]] = key
            by_id.setdefault(match[2], key)  # without a version: the first of the list
    keys = {key: [key] for key in references}
    for kind in KINDS:
        for name in names(kind):
            text = conf_path(kind, name).read_text(encoding="utf-8")
            for match in _ARXIV.finditer(text):
                keys.setdefault(name, []).append(by_id.get(match[1]) or by_id[match[2]])
    return keys


def bibtex(key: str, reference: Mapping[str, Any]) -> str:
    """The BibTeX entry of a reference of CITATION.cff; a paper on arXiv is a @misc with its id."""
    arxiv = _arxiv(reference)
    people = (
        person.get("name") or f"{person['family-names']}, {person['given-names']}" for person in reference["authors"]
    )
    fields = {
        "title": f"{{{reference['title']}}}",
        "author": " and ".join(people),
        "journal": reference.get("journal"),
        "booktitle": reference.get("collection-title"),
        "volume": reference.get("volume"),
        "number": reference.get("issue"),
        "pages": f"{reference['start']}--{reference['end']}" if "start" in reference else None,
        "year": reference["year"],
        "eprint": arxiv and arxiv[1],
        "archiveprefix": arxiv and "arXiv",
        "doi": reference.get("doi"),
        "url": reference.get("url"),
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value is not None)
    return f"@{'misc' if arxiv else _TYPES[reference['type']]}{{{key},\n{lines}}}"


def _arxiv(reference: Mapping[str, Any]) -> re.Match[str] | None:
    """The arXiv id of a reference: with its version, and without."""
    return re.search(r"arxiv\.org/abs/((\d{4}\.\d{5})(?:v\d+)?)$", reference.get("url", ""))
