"""Adapters that fit their base, and those that do not: by name, shape, values and effect."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_adapter, tiny_llama

from expandr_ir.config import GeneratorConfig, LocalOptions
from expandr_ir.errors import InputError
from expandr_ir.generators import load_generator
from expandr_ir.generators.adapters import check_adapter, check_model, is_zero
from expandr_ir.train.align.merge import MergeOptions, merge

SECOND_LAYER = "base_model.model.model.layers.1."


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def changed(folder, change=lambda tensors: tensors, **config):
    """The adapter of this folder with other tensors and other fields of its configuration."""
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(weights)).items()}, weights)
    settings.write_text(json.dumps(json.loads(settings.read_text()) | config))
    return folder


def renamed(tensors, part="model.layers"):
    return {name.replace(part, part.replace("layers", "language_model.layers")): t for name, t in tensors.items()}


def scaled(tensors, factor, part="lora_B"):
    return {name: tensor * factor if part in name else tensor for name, tensor in tensors.items()}


MISFITS = {
    "names": (renamed, {}, r"base_model\.model\.model\.language_model\.layers\.0\..*and 5 more .* fit nothing"),
    "some_names": (lambda ts: renamed(ts, "layers.1"), {}, r"language_model\.layers\.1\..* fit nothing"),
    "a_head": (lambda ts: ts | {"base_model.model.score.weight": torch.ones(2, 128)}, {}, "score.weight.* fit nothing"),
    "lacking": (lambda ts: {n: t for n, t in ts.items() if not n.startswith(SECOND_LAYER)}, {}, r"lacks .*layers\.1\."),
    "empty": (lambda _: {}, {}, r"lacks .*layers\.0\..* and 5 more"),
    "embeddings": (
        lambda ts: ts | {"base_model.model.model.embed_tokens.weight": torch.ones(450, 128)},
        {},
        r"size mismatch for .*embed_tokens",
    ),
    "width": (lambda ts: {n: t[:, :64] if "lora_A" in n else t for n, t in ts.items()}, {}, "size mismatch.*lora_A"),
    "rank": (lambda ts: ts, {"r": 8}, "size mismatch"),
    "dora": (lambda ts: ts, {"use_dora": True}, "lacks .*magnitude"),
    "modules": (lambda ts: ts, {"target_modules": ["c_attn"]}, "c_attn"),
    "kind": (lambda ts: ts, {"peft_type": "NOVEL"}, "NOVEL"),
    "no_numbers": (lambda ts: scaled(ts, float("nan")), {}, "is broken: .*lora_B"),
    "no_scale": (lambda ts: ts, {"lora_alpha": 0}, "changes no weight.*lora_alpha"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_adapter_that_does_not_fit_is_refused_everywhere(base, tmp_path, name):
    """By the engine local, over the base's configuration alone (vllm, starts of training), and by merging."""
    change, config, words = MISFITS[name]
    adapter = changed(tiny_adapter(base, tmp_path / "adapter"), change, **config)
    options = LocalOptions(device="cpu", dtype="float32")
    generator = load_generator(GeneratorConfig("local", str(base), adapter=str(adapter), local=options))
    with pytest.raises(InputError, match=f"(?s){words}"):
        generator._model  # noqa: B018
    with pytest.raises(InputError, match=f"(?s){words}"):
        check_adapter(adapter, str(base), revision=None, trust_remote_code=False)
    with pytest.raises(InputError, match=f"(?s){words}"):
        check_model(str(adapter), trust_remote_code=False)
    with pytest.raises(InputError, match=f"(?s){words}"):
        merge(MergeOptions(adapter=str(adapter), base=str(base), output=str(tmp_path / "merged")))
    assert not (tmp_path / "merged").exists()


def test_an_adapter_that_is_cut_short(base, tmp_path):
    weights = tiny_adapter(base, tmp_path) / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="not fully covered"):
        check_adapter(tmp_path, str(base), revision=None, trust_remote_code=False)


FITTING = {
    "lora": {},
    "dora": {"use_dora": True},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"modules_to_save": ["lm_head"]},
    "tokens": {"trainable_token_indices": [3, 4]},
    "ranks": {"rank_pattern": {"v_proj": 16}},
}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize("name", FITTING)
def test_an_adapter_that_fits_changes_the_weights(base, tmp_path, name, caplog):
    adapter = tiny_adapter(base, tmp_path / "adapter", **FITTING[name])
    check_adapter(adapter, str(base), revision=None, trust_remote_code=False)
    merge(MergeOptions(adapter=str(adapter), base=str(base), output=str(tmp_path / "merged")))
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "merged"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert "all zeros" not in caplog.text


def test_an_adapter_of_zeros_is_said(base, tmp_path, caplog):
    adapter = changed(tiny_adapter(base, tmp_path / "adapter"), lambda tensors: scaled(tensors, 0))
    assert is_zero(adapter)
    with caplog.at_level(logging.WARNING):
        merge(MergeOptions(adapter=str(adapter), base=str(base), output=str(tmp_path / "merged")))
    assert "is all zeros" in caplog.text
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "merged"))
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1e-12), ("bfloat16", 1e-10)])
def test_a_merge_that_changes_no_weight_is_an_error(base, tmp_path, dtype, factor):
    """The sum with it is rounded to the base's own weights."""
    adapter = changed(tiny_adapter(base, tmp_path / "adapter"), lambda tensors: scaled(tensors, factor))
    with pytest.raises(InputError, match=f"has the weights that it had before.*{dtype}"):
        merge(MergeOptions(adapter=str(adapter), base=str(base), dtype=dtype, output=str(tmp_path / "merged")))
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "IA3Config"])
def test_other_kinds_of_adapters(base, tmp_path, kind):
    """Prompt tuning is no part of the weights and cannot be merged; IA3 is LoRA's equal here."""
    import peft
    from transformers import AutoModelForCausalLM

    is_prompt = kind == "PromptTuningConfig"
    options = {"num_virtual_tokens": 4} if is_prompt else {"target_modules": ["q_proj"], "feedforward_modules": []}
    config = getattr(peft, kind)(task_type="CAUSAL_LM", **options)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "adapter")
    check_adapter(tmp_path / "adapter", str(base), revision=None, trust_remote_code=False)
    options = MergeOptions(adapter=str(tmp_path / "adapter"), base=str(base), output=str(tmp_path / "merged"))
    if is_prompt:
        with pytest.raises(InputError, match="of type PROMPT_TUNING, which is no part of the weights"):
            merge(options)
    else:
        merge(options)
        assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_check_model_leaves_whole_models_alone(base):
    check_model(str(base), trust_remote_code=False)
    check_model("org/model", trust_remote_code=False)
