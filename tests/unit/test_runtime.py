"""What to type for a package that is missing, and how many CPU threads compute."""

import time
from importlib import metadata

import pytest

from expandr_ir import runtime
from expandr_ir.errors import NotInstalledError
from expandr_ir.runtime import cpu_threads, install_command, pick_threads, require

STATED = [
    "torch<2.14,>=2.9",
    "transformers<6,>=5",
    "sentence-transformers<7,>=6",
    'peft>=0.18; extra == "lora"',
    "accelerate>=1.10; extra == 'train'",
    "peft>=0.18; extra == 'train'",
]


@pytest.mark.flash
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("lora", "pip install 'peft>=0.18'"),
        ("train", "pip install 'accelerate>=1.10' 'peft>=0.18'"),
        ("torch", "pip install 'torch<2.14,>=2.9'"),
        ("transformers", "pip install 'transformers<6,>=5'"),
        ("sentence_transformers.modules", "pip install 'sentence-transformers<7,>=6'"),
        ("sentencepiece", "pip install 'sentencepiece'"),
    ],
)
def test_what_is_missing_is_installed_by_its_own_name(monkeypatch, name, command):
    monkeypatch.setattr(metadata, "requires", lambda _: STATED)
    assert install_command(name) == command


@pytest.mark.flash
def test_without_an_installation_the_checkout_is_what_pip_takes(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert install_command("vllm") == "pip install '.[vllm]' in a checkout of expandr_ir"


@pytest.mark.flash
def test_a_missing_part_names_the_extra_and_a_missing_dependency_itself(tmp_path, monkeypatch):
    (tmp_path / "fleas").mkdir()
    (tmp_path / "fleas/jump.py").write_text("import dogs")
    monkeypatch.syspath_prepend(tmp_path)
    for name, missing in {"ticks.core": "ticks", "fleas.core": "fleas.core"}.items():
        with pytest.raises(NotInstalledError, match=f"^{missing} is not installed\nTry: pip install"):
            require(name, "ticks")
    with pytest.raises(ModuleNotFoundError, match="'dogs'"):
        require("fleas.jump")


@pytest.fixture
def torch(monkeypatch):
    """torch with two threads."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime, "MEASURE_S", 0.001)
    yield torch
    torch.set_num_threads(before)


@pytest.mark.parametrize("fastest", [1, 2])
def test_the_fastest_number_of_threads_is_taken_and_put_back(torch, monkeypatch, fastest):
    def multiply(*_):
        time.sleep(0.001 if torch.get_num_threads() == fastest else 0.02)

    monkeypatch.setattr(torch.nn.functional, "linear", multiply)
    assert pick_threads() == fastest
    assert torch.get_num_threads() == 2
    with cpu_threads(None):
        assert torch.get_num_threads() == fastest
    assert torch.get_num_threads() == 2


def test_threads_that_someone_chose_are_kept(torch, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "linear", pytest.fail)
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
        assert pick_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert pick_threads() == 2
