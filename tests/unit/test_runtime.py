"""What to type for a package that is missing."""

from importlib import metadata

import pytest

from expandr_ir.runtime import install_command

pytestmark = pytest.mark.flash

STATED = [
    "torch<2.14,>=2.9",
    "transformers<6,>=5",
    "sentence-transformers<7,>=6",
    'peft>=0.18; extra == "lora"',
    "accelerate>=1.10; extra == 'train'",
    "peft>=0.18; extra == 'train'",
]


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


def test_without_an_installation_the_checkout_is_what_pip_takes(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert install_command("vllm") == "pip install '.[vllm]' in a checkout of expandr_ir"
