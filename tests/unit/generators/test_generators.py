"""Every engine is found by name, imported late, and says what to type when its package is missing."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from expandr_ir.config import ApiOptions, GeneratorConfig, LocalOptions, generator_config, names
from expandr_ir.errors import InputError, NotInstalledError
from expandr_ir.generators import load_generator
from expandr_ir.generators.base import identify
from expandr_ir.generators.replies import cut_at_stop
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Decoding, GeneratorId
from expandr_ir.runtime import require

pytestmark = pytest.mark.flash


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"decoding": Decoding(temperature=-1.0)}, "decoding.temperature is -1.0"),
        ({"decoding": Decoding(temperature=float("nan"))}, "decoding.temperature is nan"),
        ({"decoding": Decoding(top_p=0.0)}, "decoding.top_p is 0.0"),
        ({"decoding": Decoding(top_p=1.1)}, "decoding.top_p is 1.1"),
        ({"decoding": Decoding(max_new_tokens=0)}, "decoding.max_new_tokens is 0"),
        ({"decoding": Decoding(repetition_penalty=0.0)}, "decoding.repetition_penalty is 0.0"),
        ({"local": LocalOptions(batch_size=0)}, "local.batch_size is 0"),
        ({"api": ApiOptions(max_in_flight=0)}, "api.max_in_flight is 0"),
        ({"api": ApiOptions(max_attempts=0)}, "api.max_attempts is 0"),
        ({"api": ApiOptions(samples_per_request=0)}, "api.samples_per_request is 0"),
        ({"api": ApiOptions(timeout_s=0)}, "api.timeout_s is 0"),
    ],
)
def test_numbers_that_no_engine_can_use_are_refused(fields, name):
    with pytest.raises(InputError, match=name):
        load_generator(GeneratorConfig("echo", "m", **fields))


def test_the_package_imports_no_engine():
    heavy = ["torch", "transformers", "openai", "vllm", "peft", "jsonargparse"]
    code = f"import expandr_ir.generators, sys; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_generator_is_loaded_by_its_name_its_file_its_engine_or_its_configuration(tmp_path):
    (tmp_path / "mine.yaml").write_text("engine: echo\nmodel: mine\n")
    given = ["echo", str(tmp_path / "mine.yaml"), "echo:org/model:latest", GeneratorConfig("echo", "m")]
    assert [load_generator(one).id.model for one in given] == ["echo", "mine", "org/model:latest", "m"]
    with pytest.raises(InputError, match="unknown generator 'ecko'"):
        load_generator("ecko")


class UpperCase:
    """An engine of another package."""

    def __init__(self, config):
        self.id = GeneratorId("upper", config.model)


def test_an_engine_of_another_package_is_an_entry_point(monkeypatch):
    point = EntryPoint("upper", f"{__name__}:UpperCase", "expandr_ir.generators")
    monkeypatch.setattr("expandr_ir.registry.entry_points", lambda group: [point] if group == point.group else [])
    assert load_generator("upper:m").id == GeneratorId("upper", "m")
    with pytest.raises(InputError, match=r"unknown engine 'vlm'\nExpected: one of api, echo, .*, vllm\nTry: vllm"):
        load_generator(GeneratorConfig("vlm", "m"))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(NotInstalledError, match=r"vllm is not installed[\s\S]*pip install .*'vllm>="):
        load_generator(GeneratorConfig("vllm", "m"))
    with pytest.raises(NotInstalledError, match="pip install 'openai<4,>=2'"):  # a plain dependency
        require("openai")


def test_a_package_that_lacks_something_itself_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("half_installed", "lora")


@pytest.mark.parametrize(
    ("text", "stop", "cut"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("three", "one"), ""),
        ("one two", ("x",), "one two"),
        ("one", (), "one"),
        ("", ("x",), ""),
    ],
)
def test_text_is_cut_at_the_first_stop(text, stop, cut):
    assert cut_at_stop(text, stop) == cut


# Identity


def folder(path, weights=b"w"):
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(weights)
    (path / "config.json").write_text(json.dumps({"layers": 2}))
    (path / "training.log").write_text("not part of a model")
    return path


@pytest.mark.parametrize("name", names("generators"))
def test_every_block_of_conf_loads(name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setattr("expandr_ir.generators.gguf.with_weights", lambda config: config)
    config = generator_config(name)
    if config.engine == "api":
        pytest.importorskip("openai")  # not there in the first stage of .ci/run
    assert config.notes.strip()
    assert load_generator(config).id.model == config.model
    if name in {"expandr-llm", "llm-qe-dpo"}:
        assert (config.prompt, config.model) == (name, "meta-llama/Meta-Llama-3-8B-Instruct")
        assert load_generator(config).id.adapter == config.adapter
    if config.prompt:
        load_prompt(config.prompt)


def test_transformers_serve_is_told_to_sample():
    pytest.importorskip("openai")
    config = generator_config("transformers-serve")
    asked = json.loads(config.api.extra_body["generation_config"])
    assert asked == {"do_sample": True, "top_k": 0, "repetition_penalty": 1.0}
    assert config.api.api_key_env is None
    assert load_generator(config).id.revision


def test_hub_ids_are_taken_as_they_are():
    config = GeneratorConfig("local", "org/model", "main", adapter="org/lora", adapter_revision="v2")
    assert identify(config) == GeneratorId("local", "org/model", "main", "org/lora@v2")
    assert identify(GeneratorConfig("api", "m")) == GeneratorId("api", "m")
    assert identify(GeneratorConfig("api", "m" * 999)).model == "m" * 999  # longer than a file's name can be
    assert identify(GeneratorConfig("vllm", "m", adapter="a")).adapter == "a"


def test_a_folder_is_known_by_its_weights(tmp_path):
    first, second = folder(tmp_path / "a" / "round-1"), tmp_path / "b" / "round-1"
    shutil.copytree(first, second)
    (second / "training.log").write_text("another place")
    (second / "model.safetensors.manifest.json").write_text('{"started": "later"}')
    for path in (first, second):
        identity = identify(GeneratorConfig("local", str(path)))
        assert (identity.model, identity.revision) == ("round-1", "0995aa5bfc5ca7fd")  # stored texts are found by it
    config = GeneratorConfig("local", "org/model", adapter=str(first))
    assert identify(config).adapter == "round-1@0995aa5bfc5ca7fd"
    (first / "model.safetensors").write_bytes(b"v")
    assert identify(config).adapter.startswith("round-1@")
    assert identify(config).adapter != "round-1@0995aa5bfc5ca7fd"


def test_options_that_change_the_text_are_part_of_the_revision(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    template = str(tmp_path / "t.jinja")
    revisions = [
        identify(GeneratorConfig("api", "m", api=ApiOptions(extra_body={"do_sample": True}))).revision,
        identify(GeneratorConfig("api", "m", "r", api=ApiOptions(extra_body={"do_sample": False}))).revision,
        identify(GeneratorConfig("local", "m", local=LocalOptions(chat_template=template))).revision,
    ]
    assert revisions == ["+06973e07b8d9df3d", "r+d7ccdc09793c3223", "+4be2620b2bd37691"]  # stored texts are found by it
    assert identify(GeneratorConfig("api", "m", local=LocalOptions(chat_template=template))).revision is None
    arguments = {"enable_thinking": False}
    as_field = ApiOptions(extra_body={"chat_template_kwargs": arguments})
    by_option = identify(GeneratorConfig("api", "m", chat_template_kwargs=arguments))
    assert by_option == identify(GeneratorConfig("api", "m", api=as_field))
    assert identify(GeneratorConfig("local", "m", chat_template_kwargs=arguments)).revision
