"""Every block of conf/generators reads strictly and says where its facts come from."""

import json

import pytest

from expandr_ir.config import GeneratorConfig, conf_path, load_block, names
from expandr_ir.generators import load_generator


@pytest.mark.parametrize("name", names("generators"))
def test_every_block_reads(name):
    config = load_block(GeneratorConfig, conf_path("generators", name))
    assert config.notes.strip()
    hash(config.decoding)
    assert isinstance(config.decoding.stop, tuple)


def test_the_named_generators_are_there():
    assert {"echo", "llama-3-8b-instruct", "expandr-llm", "llm-qe-dpo", "openai", "vllm-server"} <= set(
        names("generators")
    )


@pytest.mark.parametrize("name", ["expandr-llm", "llm-qe-dpo"])
def test_an_adapter_brings_the_prompt_it_was_trained_with(name):
    config = load_block(GeneratorConfig, conf_path("generators", name))
    assert config.prompt == name
    assert config.model == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert load_generator(config).id.adapter == config.adapter


def test_transformers_serve_is_told_to_sample():
    config = load_block(GeneratorConfig, conf_path("generators", "transformers-serve"))
    asked = json.loads(config.api.extra_body["generation_config"])
    assert asked == {"do_sample": True, "top_k": 0, "repetition_penalty": 1.0}
    assert config.api.api_key_env is None
    assert load_generator(config).id.revision
