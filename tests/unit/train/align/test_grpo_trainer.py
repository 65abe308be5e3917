"""Groups of texts: whole ones for each process, and the constant ones counted."""

import pytest

from expandr_ir.errors import InputError
from expandr_ir.train.align.grpo_trainer import check_groups, count_groups
from expandr_ir.train.align.options import trl_config

CPU = {"use_cpu": True, "bf16": False, "num_generations": 4, "per_device_train_batch_size": 4}


def config(tmp_path, **given):
    return trl_config("grpo", CPU | given, tmp_path, evaluates=False)


def test_checkpoints_stand_between_batches_of_texts(tmp_path):
    check_groups(config(tmp_path, save_steps=3), 1)
    longer = {"gradient_accumulation_steps": 2, "steps_per_generation": 8}  # texts for four steps
    check_groups(config(tmp_path, save_steps=8, **longer), 8)
    with pytest.raises(InputError, match=r"(?s)every 6 steps, and texts for 4 steps.*--grpo.save_steps 8"):
        check_groups(config(tmp_path, save_steps=6, **longer), 8)
    with pytest.raises(InputError, match=r"texts for 2 steps"):
        check_groups(config(tmp_path, save_steps=3, num_iterations=2), 1)
    check_groups(config(tmp_path, save_steps=3, save_strategy="no", num_iterations=2), 1)


def test_a_process_has_whole_groups(tmp_path, monkeypatch):
    made = config(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=6)
    check_groups(made, 3)
    monkeypatch.setattr(type(made), "world_size", 2)
    with pytest.raises(InputError, match=r"(?s)6 texts at a time, in groups of 4.*train_batch_size 4"):
        check_groups(made, 3)


def test_rows_fill_a_batch_of_texts(tmp_path):
    with pytest.raises(InputError, match="2 rows, and texts for 3 rows at a time"):
        check_groups(config(tmp_path, gradient_accumulation_steps=3), 2)


def test_constant_groups_by_hand(tmp_path, caplog):
    """Three groups a step; logged after steps 2 and 6, once before an evaluation, and at the end."""
    history = [
        {"step": 2, "frac_reward_zero_std": 0.5},
        {"step": 2, "eval_frac_reward_zero_std": 1.0},
        {"step": 6, "frac_reward_zero_std": 0.25},
        {"step": 7, "frac_reward_zero_std": 0.0, "train_loss": 0.1},
    ]
    made = config(tmp_path, gradient_accumulation_steps=3)
    assert count_groups(history, made) == {"groups": 21, "constant_groups": 6}  # .5 x 6 + .25 x 12
    again = config(tmp_path, gradient_accumulation_steps=3, num_iterations=3)  # texts once for three steps
    assert count_groups(history[:3], again) == {"groups": 6, "constant_groups": 2}
    assert count_groups([], made) == {"groups": 0, "constant_groups": 0}
    assert not caplog.text
    count_groups([{"step": 2, "frac_reward_zero_std": 0.9}], made)
    assert "5 of 6 groups had equal rewards" in caplog.text
