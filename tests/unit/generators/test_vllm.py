"""The vLLM engine's logic against a stand-in for the package, with the real tokenizer of a tiny model."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from requests_for_tests import request
from tiny_models import tiny_adapter, tiny_llama

from expandr_ir.config import GeneratorConfig, VllmOptions
from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.generators import chat, load_generator
from expandr_ir.generators.vllm import max_lora_rank
from expandr_ir.records import Decoding


class FakeLLM:
    """Remembers what it was built and asked with; writes the seed of each request."""

    built: dict
    fail = None
    reason = "stop"

    def __init__(self, **options):
        if FakeLLM.fail:
            raise FakeLLM.fail
        FakeLLM.built = options
        context = options["max_model_len"] or 512
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=context))

    def generate(self, prompts, sampling_params, *, use_tqdm, lora_request):
        FakeLLM.asked = (prompts, sampling_params, lora_request)
        assert use_tqdm is False
        return [
            SimpleNamespace(
                prompt_token_ids=prompt["prompt_token_ids"],
                outputs=[SimpleNamespace(text=f"seed {p.seed}", token_ids=[1, 2, 3], finish_reason=FakeLLM.reason)],
            )
            for prompt, p in zip(prompts, sampling_params, strict=True)
        ]


@pytest.fixture(autouse=True)
def fake_vllm(monkeypatch):
    vllm, lora, lora_request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    vllm.__version__, vllm.LLM, vllm.SamplingParams = "9.9", FakeLLM, SimpleNamespace
    lora_request.LoRARequest = lambda *fields: fields
    for module in (vllm, lora, lora_request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(FakeLLM, "fail", None)
    monkeypatch.setattr(FakeLLM, "reason", "stop")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def engine(model, **fields):
    return load_generator(GeneratorConfig("vllm", str(model), **fields))


def test_every_sample_is_a_request_with_its_own_seed(model):
    generator = engine(model)
    decoding = Decoding(temperature=0.7, top_p=0.8, max_new_tokens=9, stop=("\n",), repetition_penalty=1.1)
    asked = [request("1", "flea", samples=2, decoding=decoding), request("2", "log", decoding=decoding)]
    done = {generation.key: generation for generation in generator.generate(asked)}
    texts = {key: generation.text for key, generation in done.items()}
    assert texts == {"1-0": "seed 1000", "1-1": "seed 1001", "2-0": "seed 2000"}
    prompts, samplings, lora_request = FakeLLM.asked
    tokenizer = chat.load_tokenizer(GeneratorConfig("local", str(model)))
    assert prompts[0] == prompts[1] == {"prompt_token_ids": chat.prompt_ids(tokenizer, asked[0].messages)}
    sent = {"temperature": 0.7, "top_p": 0.8, "max_tokens": 9, "stop": ["\n"], "repetition_penalty": 1.1}
    assert vars(samplings[1]) == sent | {"seed": 1001}
    assert lora_request is None
    one = done["1-0"]
    assert (one.finish_reason, one.tokens_out, one.engine_version) == ("stop", 3, "vllm 9.9")
    assert one.tokens_in == generator.count_tokens(asked[0].messages)


def test_every_option_reaches_vllm(model):
    options = {"dtype": "bfloat16", "tensor_parallel_size": 2, "gpu_memory_utilization": 0.5, "max_model_len": 100}
    options |= {"enable_prefix_caching": False, "enforce_eager": True, "trust_remote_code": False}
    generator = engine(model, vllm=VllmOptions(**options), revision="main")
    list(generator.generate([request("1", "flea")]))
    model_options = {"model": str(model), "revision": "main", "tokenizer_revision": "main"}
    assert FakeLLM.built == options | model_options | {"load_format": "safetensors"}


def test_a_prompt_that_does_not_fit_is_an_error_of_its_own(model):
    generator = engine(model, vllm=VllmOptions(max_model_len=60))
    done = {g.key: g for g in generator.generate([request("1", "flea " * 60), request("2", "log")])}
    assert "context of 60" in done["1-0"].error
    assert done["2-0"].error is None
    (alone,) = generator.generate([request("1", "flea " * 60)])
    assert alone.error == done["1-0"].error


@pytest.mark.parametrize(
    ("rank", "pattern", "reserved"),
    [(1, {}, 1), (4, {}, 8), (24, {}, 32), (33, {}, 64), (4, {"v_proj": 24}, 32), (24, {"v_proj": 4}, 32)],
)
def test_an_adapter_goes_with_every_request(model, tmp_path, rank, pattern, reserved):
    tiny_adapter(model, tmp_path, rank=rank, rank_pattern=pattern)
    generator = engine(model, adapter=str(tmp_path))
    list(generator.generate([request("1", "flea")]))
    assert (FakeLLM.built["enable_lora"], FakeLLM.built["max_lora_rank"]) == (True, reserved)
    assert FakeLLM.asked[2] == ("adapter", 1, str(tmp_path))
    assert generator.id.adapter.startswith(tmp_path.name)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ([], "an adapter of type None"),
        ({"peft_type": "LORA"}, r"its ranks are \[None\]"),
        ({"peft_type": "LORA", "r": "8"}, r"its ranks are \['8'\]"),
        ({"peft_type": "LORA", "r": 8, "rank_pattern": {"q": 1.5}}, r"its ranks are \[8, 1\.5\]"),
        ({"peft_type": "LORA", "r": 8, "rank_pattern": "x"}, r"its ranks are \[8, 'x'\]"),
    ],
)
def test_settings_of_an_adapter_without_ranks(tmp_path, settings, fault):
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=fault):
        max_lora_rank(tmp_path)


def test_an_adapter_that_does_not_fit_starts_no_engine(model, tmp_path, monkeypatch):
    adapter = tiny_adapter(tiny_llama(tmp_path / "wider", width=192), tmp_path / "adapter")
    monkeypatch.setattr(FakeLLM, "fail", AssertionError("vLLM was started"))
    with pytest.raises(InputError, match="size mismatch"):
        next(engine(model, adapter=str(adapter)).generate([request("1", "flea")]))


@pytest.mark.parametrize(
    ("reason", "finish_reason"), [("length", "length"), ("abort", "error"), ("error", "error"), (None, "error")]
)
def test_finish_reasons(model, monkeypatch, reason, finish_reason):
    monkeypatch.setattr(FakeLLM, "reason", reason)
    (done,) = engine(model).generate([request("1", "flea")])
    assert done.finish_reason == finish_reason
    assert (done.text == "") == (finish_reason == "error")


def test_what_vllm_cannot_load_says_what_to_try(model, monkeypatch):
    monkeypatch.setattr(FakeLLM, "fail", ValueError("no room for the KV cache"))
    with pytest.raises(MissingResourceError, match="no room for the KV cache") as caught:
        next(engine(model).generate([request("1", "flea")]))
    assert "--generator.engine local" in caught.value.remedy


def test_the_engine_starts_late_and_ends(model):
    generator = engine(model)
    generator.count_tokens(request("1", "flea").messages)
    generator.close()
    assert "_engine" not in vars(generator)
    list(generator.generate([request("1", "flea")]))
    generator.close()
    assert "_engine" not in vars(generator)
