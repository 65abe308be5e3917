"""TRL's and PEFT's configurations from ours: their names, their types, and what follows from where it runs."""

from __future__ import annotations

import pytest
import yaml

from expandr_ir.cli import main
from expandr_ir.config import conf_dir, names
from expandr_ir.errors import InputError
from expandr_ir.train.align.grpo_trainer import check_groups
from expandr_ir.train.align.options import GATE, lora_config, trl_config, trl_option, trl_options

CPU = {"use_cpu": True, "bf16": False}


def arguments(tmp_path, given, kind="dpo", *, evaluates=False):
    return trl_config(kind, CPU | given, tmp_path, evaluates=evaluates)


def test_options_take_their_types_and_nothing_is_added():
    given = {"learning_rate": "2e-5", "loss_type": ["sigmoid", "sft"], "bf16": "true", "max_length": 612}
    expected = {"learning_rate": 2e-5, "loss_type": ["sigmoid", "sft"], "bf16": True, "max_length": 612}
    assert trl_options("dpo", given) == expected
    assert trl_option("dpo", {}, "max_length") == 1024  # TRL's default
    assert trl_option("dpo", {"max_length": "300"}, "max_length") == 300


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"betta": 1}, "Try: beta"),
        ({"beta": "much"}, "--dpo.*beta"),
        ({"max_prompt_length": 100}, "--max-prompt-length"),
        ({"output_dir": "x"}, "--output"),
        ({"push_to_hub": True}, "merge --push-to-hub"),
    ],
)
def test_what_is_no_option_says_what_to_type(given, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        trl_options("dpo", given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reward_weights": [1.0]}, "--rewards"),
        ({"dataloader_num_workers": 2}, "no workers"),
        ({"bta": 1}, "Try: beta"),
    ],
)
def test_what_is_no_option_of_grpo(given, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        trl_options("grpo", given)
    assert trl_options("grpo", {"max_completion_length": "96"}) == {"max_completion_length": 96}


def test_each_checkpoint_is_evaluated_where_there_is_held_out_data(tmp_path):
    made = arguments(tmp_path, {"save_steps": 7, "precompute_ref_log_probs": True, "seed": 7})
    assert (made.eval_strategy.value, made.load_best_model_at_end, made.report_to) == ("no", False, [])
    assert (made.precompute_ref_log_probs, made.seed) == (True, 7)
    made = arguments(tmp_path, {"save_steps": 7, "report_to": ["tensorboard"]}, evaluates=True)
    assert (made.eval_strategy.value, made.eval_steps, made.eval_on_start) == ("steps", 7, True)
    assert (made.load_best_model_at_end, made.metric_for_best_model, made.greater_is_better) == (True, GATE, True)
    assert made.report_to == ["tensorboard"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"eval_strategy": "steps"}, "without anything to evaluate on"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "loss_weights"),
        ({"num_generations": 5}, r"generation_batch_size \(8\) must be divisible by num_generations \(5\)"),
    ],
)
def test_options_that_do_not_fit_together(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        arguments(tmp_path, given, "grpo" if "num_generations" in given else "dpo")


@pytest.mark.parametrize(
    ("computes", "given", "expected"),
    [
        (True, {}, (True, False)),
        (False, {}, (False, False)),
        (True, {"bf16": False}, (False, False)),
        (False, {"bf16": True}, (True, False)),
    ],
)
def test_bfloat16_where_the_cpu_computes_in_it_unless_said(tmp_path, monkeypatch, computes, given, expected):
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: computes)
    made = trl_config("dpo", {"use_cpu": True} | given, tmp_path, evaluates=False)
    assert (made.bf16, made.fp16) == expected


def test_lora():
    made = lora_config({"r": "16", "lora_alpha": 64, "target_modules": "all-linear"})
    assert (made.r, made.lora_alpha, made.target_modules, made.task_type) == (16, 64, "all-linear", "CAUSAL_LM")
    assert lora_config(None) is None
    with pytest.raises(InputError, match="Try: lora_alpha"):
        lora_config({"lora_alfa": 1})


@pytest.mark.parametrize("name", [name for name in names("train") if name.startswith(("dpo-", "grpo-", "sft"))])
def test_the_configurations_of_conf_fit_trl_and_peft(tmp_path, name):
    block = yaml.safe_load((conf_dir() / "train" / f"{name}.yaml").read_text())
    for kind in {"dpo", "grpo", "sft"} & block.keys():
        made = arguments(tmp_path, block[kind], kind, evaluates=True)
        assert made.save_steps > 0
        if kind == "grpo":
            check_groups(made, 1_000)
    lora_config(block.get("lora"))


DPO = ("beta", "learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps")


@pytest.mark.parametrize(
    ("name", "dpo", "lengths", "norm", "lora", "no_dropout"),
    [
        ("dpo-expandr", (0.1, 2e-5, 2, 2, 8), (612, 100), 10.0, (8, 32, 0.1), False),
        ("dpo-llm-qe", (0.1, 2e-5, 2, 2, 8), (612, 100), 10.0, (8, 32, 0.1), False),
        ("dpo-reinforced-ir", (0.1, 1e-5, 1, 4, 1), (4096, None), 1.0, (32, 64, 0.0), True),
    ],
)
def test_the_published_settings(name, dpo, lengths, norm, lora, no_dropout):
    """ExpandR's and LLM-QE's training script, and Reinforced-IR's; see the sources in the files."""
    block = yaml.safe_load((conf_dir() / "train" / f"{name}.yaml").read_text())
    assert tuple(block["dpo"][key] for key in DPO) == dpo
    assert (block["dpo"]["max_length"], block.get("max_prompt_length")) == lengths
    assert block["dpo"].get("max_grad_norm", 1.0) == norm
    assert (block["lora"]["r"], block["lora"]["lora_alpha"], block["lora"].get("lora_dropout", 0.0)) == lora
    assert trl_option("dpo", block["dpo"], "disable_dropout") is no_dropout


def test_the_published_settings_of_coaugretriever_and_leret(tmp_path):
    """Their training scripts; see the sources in the files."""
    coaug, leret = (
        yaml.safe_load((conf_dir() / "train" / f"{n}.yaml").read_text()) for n in ("grpo-coaug", "dpo-leret")
    )
    made = arguments(tmp_path, coaug["grpo"], "grpo")
    assert (made.num_generations, made.temperature, made.repetition_penalty, made.learning_rate) == (5, 1.2, 1.2, 1e-6)
    assert (made.beta, made.entropy_coef, made.max_completion_length, made.num_train_epochs) == (1e-3, 1e-3, 2048, 5)
    on_eight = 8 * made.generation_batch_size, 8 * made.per_device_train_batch_size * made.gradient_accumulation_steps
    assert on_eight == (512 * 5, 128 * 5)
    assert (coaug["reward"], coaug["corpus"]["k1"], coaug["corpus"]["b"]) == (
        {"measure": "ndcg", "cutoff": 10},
        1.2,
        0.75,
    )
    made = arguments(tmp_path, leret["dpo"])
    assert (made.loss_type, made.beta, made.learning_rate, made.num_train_epochs) == (["ipo"], 0.05, 1e-7, 2)
    assert (coaug["lora"], leret["lora"]) == (None, None)


@pytest.mark.parametrize("name", [n for n in names("train") if n.startswith(("dpo-", "grpo-", "preferences-", "sft"))])
def test_the_configurations_of_conf_fit_their_verbs(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", name.partition("-")[0], "--config", name, "--print_config"])
    assert not ended.value.code
    block = yaml.safe_load((conf_dir() / "train" / f"{name}.yaml").read_text())
    shown = yaml.safe_load(capsys.readouterr().out)
    assert {key: shown[key] for key in block if not isinstance(block[key], dict | str)} == {
        key: value for key, value in block.items() if not isinstance(value, dict | str)
    }


@pytest.mark.parametrize(("name", "kind"), [("zero2", "DEEPSPEED"), ("ddp", "MULTI_GPU")])
def test_the_launch_configurations_are_accelerate_s(name, kind):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(conf_dir() / "accelerate" / f"{name}.yaml"))
    assert found.distributed_type == kind
    assert found.mixed_precision == "bf16"
    if name == "zero2":
        assert found.deepspeed_config["zero_stage"] == 2
