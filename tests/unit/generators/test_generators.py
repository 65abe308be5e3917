"""Every engine is found by name, imported late, and says what to type when its package is missing."""

import subprocess
import sys
import typing

import pytest

from expandr_ir.config import ApiOptions, GeneratorConfig, LocalOptions
from expandr_ir.errors import InputError, NotInstalledError
from expandr_ir.generators import ENGINES, load_generator
from expandr_ir.generators.base import cut_at_stop, failure, require
from expandr_ir.records import Decoding

pytestmark = pytest.mark.flash


def test_an_unknown_engine_suggests_the_nearest():
    with pytest.raises(InputError, match="unknown engine 'vlm'") as caught:
        load_generator(GeneratorConfig("vlm", "m"))
    assert caught.value.remedy == "vllm"


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


def test_every_engine_of_the_configuration_has_a_module():
    assert set(ENGINES) == set(typing.get_args(typing.get_type_hints(GeneratorConfig)["engine"]))


def test_a_missing_engine_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(NotInstalledError, match="vllm is not installed") as caught:
        load_generator(GeneratorConfig("vllm", "m"))
    assert caught.value.remedy == "pip install 'expandr-ir[vllm]'"


def test_a_plain_dependency_has_no_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(NotInstalledError) as caught:
        require("openai")
    assert caught.value.remedy == "pip install 'expandr-ir'"


def test_a_package_that_lacks_something_itself_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        require("half_installed", "lora")


def test_a_failure_has_no_text():
    failed = failure("key", "why", "engine 1", seconds=2.0)
    assert (failed.text, failed.finish_reason, failed.error, failed.tokens_out) == ("", "error", "why", None)


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
