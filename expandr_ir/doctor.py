"""What is installed here, and what to type for what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from expandr_ir import __version__
from expandr_ir.errors import ExpandrError
from expandr_ir.files import home


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what it is.
        state: "ok", "absent" (optional, not there) or "broken" (needed, not usable).
        found: what was found.
        remedy: what to type; "" where nothing is to be done.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Findings about Python, Java, the packages, devices, the cache folder and the expansion store, in that order."""
    checks: list[Callable[[], Finding]] = [_python, _java, _pyserini, _torch, _faiss]
    findings = [check() for check in checks]
    findings += [_optional("peft", "peft", "lora", "LoRA adapters"), _optional("vllm", "vllm", "vllm", "vLLM's engine")]
    return [*findings, _cache(), _store()]


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable}), expandr_ir {__version__}"
    return Finding("python", "ok", found)


def _java() -> Finding:
    from expandr_ir import jvm

    try:
        java = jvm.find_java()
    except ExpandrError as error:
        return Finding("java", "broken", error.found, error.remedy or "")
    vector = "with" if "jdk.incubator.vector" in java.modules else "without"
    return Finding("java", "ok", f"{java.version} from {java.source} ({java.home}), {vector} jdk.incubator.vector")


def _pyserini() -> Finding:
    found = _installed("pyserini")
    if found is None:
        return Finding("pyserini", "broken", "not installed", "pip install 'pyserini>=1.6,<3'")
    return Finding("pyserini", "ok", found)


def _torch() -> Finding:
    found = _installed("torch")
    if found is None:
        return Finding("torch", "broken", "not installed", "pip install 'torch>=2.9,<2.14'")
    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("MPS")
    return Finding("torch", "ok", f"{found}, {', '.join(devices) or 'no GPU'}, {torch.get_num_threads()} CPU threads")


def _faiss() -> Finding:
    if importlib.util.find_spec("faiss") is None:
        return Finding(
            "faiss", "absent", "not installed (dense search)", "pip install 'expandr-ir[cpu]' or 'expandr-ir[gpu]'"
        )
    owners = [f"{name} {found}" for name in ("faiss-cpu", "faiss-gpu-cu12") if (found := _installed(name))]
    if len(owners) > 1:
        return Finding("faiss", "broken", f"{' and '.join(owners)} overwrite each other", "pip uninstall faiss-cpu")
    return Finding("faiss", "ok", owners[0] if owners else "installed, by an unknown package")


def _optional(name: str, distribution: str, extra: str, what: str) -> Finding:
    found = _installed(distribution)
    if found is None:
        return Finding(name, "absent", f"not installed ({what})", f"pip install 'expandr-ir[{extra}]'")
    return Finding(name, "ok", found)


def _cache() -> Finding:
    folder = home()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free / 2**30
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding("cache", "broken", f"{folder} cannot be written", "export EXPANDR_HOME=/a/folder/of/yours")
    return Finding("cache", "ok", f"{folder}, {free:.0f} GiB free")


def _store() -> Finding:
    from expandr_ir.store import Store, store_path

    path = Path(store_path())
    if not path.exists():
        return Finding("store", "ok", f"{path}, not there yet: the first `expandr expand` makes it")
    try:
        with Store.open(path) as store:
            return Finding("store", "ok", f"{path}, {len(store):,} texts")
    except ExpandrError as error:
        return Finding("store", "broken", error.found, error.remedy or "")
