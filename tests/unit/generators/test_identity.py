"""A model in a folder is known by what is in it."""

import json
import shutil

import pytest

from expandr_ir.config import GeneratorConfig
from expandr_ir.generators.identity import identify
from expandr_ir.records import GeneratorId

pytestmark = pytest.mark.flash


def folder(path, weights=b"w"):
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(weights)
    (path / "config.json").write_text(json.dumps({"layers": 2}))
    (path / "training.log").write_text("not part of a model")
    return path


def test_hub_ids_are_taken_as_they_are():
    config = GeneratorConfig("local", "org/model", "main", adapter="org/lora", adapter_revision="v2")
    assert identify(config) == GeneratorId("local", "org/model", "main", "org/lora@v2")
    assert identify(GeneratorConfig("api", "m")) == GeneratorId("api", "m")
    assert identify(GeneratorConfig("vllm", "m", adapter="a")).adapter == "a"


def test_the_same_weights_elsewhere_are_the_same_model(tmp_path):
    first = folder(tmp_path / "a" / "round-1")
    second = tmp_path / "b" / "round-1"
    shutil.copytree(first, second)
    (second / "training.log").write_text("another place")
    (second / "model.safetensors.manifest.json").write_text('{"started": "later"}')
    one, two = (identify(GeneratorConfig("local", str(path))) for path in (first, second))
    assert one == two
    assert (one.model, len(one.revision)) == ("round-1", 16)


def test_new_weights_in_an_old_folder_are_another_model(tmp_path):
    path = folder(tmp_path / "m")
    config = GeneratorConfig("local", "org/model", adapter=str(path))
    before = identify(config)
    (path / "model.safetensors").write_bytes(b"v")
    assert identify(config).adapter != before.adapter
    assert identify(config).adapter.startswith("m@")


def test_options_that_change_the_text_are_part_of_the_revision():
    config = GeneratorConfig("api", "m")
    ids = {identify(config, options).revision for options in (None, {"do_sample": True}, {"do_sample": False})}
    assert len(ids) == 3
    assert identify(config, {}).revision is None
