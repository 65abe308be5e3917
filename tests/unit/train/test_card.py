"""The model card says what was trained, on what, and what came of it."""

from __future__ import annotations

from expandr_ir.train.card import evaluations, expander_card, markdown_table

CURVES = [
    {"step": 0, "eval_loss": 0.6931, "eval_rewards/margins": 0.0},
    {"step": 0, "eval_heldout_reward": 0.4, "eval_gate": 0.4},
    {"step": 2, "loss": 0.6, "grad_norm": 1.25, "learning_rate": 2e-5},
    {"step": 2, "eval_loss": 0.5, "eval_rewards/margins": 0.3},
    {"step": 2, "eval_heldout_reward": 0.45, "eval_gate": 0.45},
]
MANIFEST = {
    "config": {"dpo": {"beta": 0.1}},
    "inputs": {"preferences": {"path": "p.jsonl", "sha256": "ab" * 32}},
    "seeds": {"seed": 42},
    "counts": {"rows": 27000, "steps": 2, "best_step": 2},
    "versions": {"trl": "1.16.0"},
    "details": {
        "kind": "dpo",
        "base": {"model": "org/base"},
        "prompt": {"id": "passage"},
        "start": {"loss": 0.6931, "heldout_reward": 0.4},
        "best": {"loss": 0.5, "heldout_reward": 0.45},
        "last": {"loss": 0.5, "heldout_reward": 0.45},
    },
}


def test_evaluations_of_a_step_are_put_together():
    expected = {
        0: {"loss": 0.6931, "rewards/margins": 0.0, "heldout_reward": 0.4, "gate": 0.4},
        2: {"loss": 0.5, "rewards/margins": 0.3, "heldout_reward": 0.45, "gate": 0.45},
    }
    assert evaluations(CURVES) == expected


def test_foreign_names_lose_their_control_characters():
    hostile = MANIFEST | {"details": MANIFEST["details"] | {"base": {"model": "org/\x1b[2Jbase\x9b"}}}
    card = expander_card("mine\x07", hostile, CURVES, merged=True) + markdown_table(["a"], [["\x1b[31mred"]])
    assert not {"\x1b", "\x9b", "\x07"} & set(card)
    assert "# mine" in card


def test_the_card_has_scores_curves_data_and_settings():
    card = expander_card("mine", MANIFEST, CURVES, merged=True)
    assert card.startswith("---\nbase_model: org/base\nlibrary_name: transformers\n")
    for line in (
        "| 0 | 0.6931 | 0.0000 | 0.4000 | 0.4000 |",
        "| 2 | 0.5000 | 0.3000 | 0.4500 | 0.4500 |",
        "On held-out rows and topics. The checkpoint with the highest gate, that of step 2, was kept.",
        "| 2 | 0.6000 | 1.2500 | 2.00e-05 |",
        f"- preferences: `p.jsonl` (SHA-256 {'ab' * 32})",
        "- rows: 27,000",
        '    "beta": 0.1',
        "Seeds: seed 42. Versions: trl 1.16.0.",
        "expandr expand --collection C --generator local:FOLDER --prompt passage --output E.jsonl",
    ):
        assert line in card.split("\n"), line


def test_a_base_in_a_folder_is_shown_by_its_name_alone():
    manifest = MANIFEST | {"details": MANIFEST["details"] | {"base": {"model": "/home/someone/base"}}}
    card = expander_card("mine", manifest, CURVES, merged=False)
    assert "/home/someone" not in card
    assert "library_name: peft" in card


def test_without_held_out_data_the_card_says_so():
    manifest = MANIFEST | {"details": MANIFEST["details"] | {"start": {}, "best": {}, "last": {}}}
    assert "no score was measured" in expander_card("mine", manifest, [], merged=True)


def test_an_adapter_of_unknown_training_has_a_card():
    assert "unrecorded training" in expander_card("mine", {}, [], merged=True)
