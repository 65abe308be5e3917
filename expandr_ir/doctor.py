"""The installation: packages, devices and folders, with the remedy for each fault."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from expandr_ir import __version__
from expandr_ir.errors import ExpandrError, NotInstalledError
from expandr_ir.io.files import home
from expandr_ir.runtime import install_command, pick_threads


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one thing: "ok", "absent" (optional) or "broken" (needed and faulty)."""

    name: str
    state: str
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class DoctorOptions:
    """Options of `expandr doctor`.

    Args:
        format: a table for people, or JSON.
    """

    format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class Diagnosis:
    """Findings; exit code 3 where one of them is broken."""

    findings: list[Finding]
    format: str

    @property
    def exit_code(self) -> int:
        """0, or 3."""
        return NotInstalledError.exit_code if any(finding.state == "broken" for finding in self.findings) else 0

    def __str__(self) -> str:
        if self.format == "json":
            return json.dumps([asdict(finding) for finding in self.findings], indent=2)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.state:<7} {finding.name:<9} {finding.found}")
            lines += [f"{'':<17} {finding.remedy}"] if finding.remedy else []
        return "\n".join(lines)


def doctor(options: DoctorOptions) -> Diagnosis:
    """Looks at Python, Java, the packages, devices, the cache folder and the expansion store, in that order."""
    findings = [
        Finding("python", "ok", f"{platform.python_version()} ({sys.executable}), expandr_ir {__version__}"),
        _java(),
        _package("pyserini", "pip install 'pyserini>=1.6,<3'"),
        _torch(),
        _faiss(),
        _package("peft", install_command("lora"), purpose="LoRA adapters"),
        _smollm2(),
        _package("vllm", install_command("vllm"), purpose="vLLM's engine"),
        _cache(),
        _store(),
    ]
    return Diagnosis(findings, options.format)


def _package(name: str, remedy: str, *, purpose: str = "") -> Finding:
    """The version of a package; one with a purpose is optional."""
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        if purpose:
            return Finding(name, "absent", f"not installed ({purpose})", remedy)
        return Finding(name, "broken", "not installed", remedy)


def _java() -> Finding:
    from expandr_ir import jvm

    try:
        java = jvm.find_java()
    except ExpandrError as error:
        return Finding("java", "broken", error.found, error.remedy or "")
    vector = "with" if "jdk.incubator.vector" in java.modules else "without"
    return Finding("java", "ok", f"{java.version} from {java.source} ({java.home}), {vector} jdk.incubator.vector")


def _torch() -> Finding:
    finding = _package("torch", "pip install 'torch>=2.9,<2.14'")
    if finding.state != "ok":
        return finding
    import torch

    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("MPS")
    threads = f"{torch.get_num_threads()} CPU threads, fastest now with {pick_threads()}"
    return Finding("torch", "ok", f"{finding.found}, {', '.join(devices) or 'no GPU'}, {threads}")


def _faiss() -> Finding:
    if importlib.util.find_spec("faiss") is None:
        remedy = f"{install_command('cpu')}, or for CUDA 12 {install_command('gpu')}"
        return Finding("faiss", "absent", "not installed (dense search)", remedy)
    packages = [_package(name, "") for name in ("faiss-cpu", "faiss-gpu-cu12")]
    owners = [f"{package.name} {package.found}" for package in packages if package.state == "ok"]
    if len(owners) > 1:
        return Finding("faiss", "broken", f"{' and '.join(owners)} overwrite each other", "pip uninstall faiss-cpu")
    return Finding("faiss", "ok", owners[0] if owners else "installed, by an unknown package")


def _smollm2() -> Finding:
    """The small LLM of the demo."""
    from expandr_ir.config import generator_config
    from expandr_ir.generators.gguf import find_gguf, require_readers

    config = generator_config("smollm2")
    try:
        path = find_gguf(config)
        require_readers()
        return Finding("smollm2", "ok", str(path))
    except NotInstalledError as error:
        return Finding("smollm2", "absent", f"{error.found} (an LLM for the demo)", error.remedy or "")
    except ExpandrError as error:
        return Finding("smollm2", "broken", error.found, error.remedy or "")


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
