"""The identity of a base, and the base that an adapter belongs to."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from expandr_ir.errors import InputError
from expandr_ir.train.align.merge import base_identity, check_base


def model(folder, weights=b"weights"):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_is_known_by_its_content(tmp_path):
    one, same = model(tmp_path / "one"), model(tmp_path / "two")
    other = model(tmp_path / "three", b"others")
    first, second, third = (base_identity(str(path), None) for path in (one, same, other))
    assert first["sha256"] == second["sha256"] != third["sha256"]
    check_base(tmp_path, first, second)
    with pytest.raises(InputError, match=f"(?s)was trained over {one}.*--base {one}"):
        check_base(tmp_path, first, third)
    with pytest.raises(InputError, match="was trained over org/model"):
        check_base(tmp_path, base_identity("org/model", None), first)


@pytest.mark.parametrize(
    ("model", "commit", "fits"),
    [("org/model", "abc", True), ("org/model", None, True), ("org/model", "def", False), ("org/other", "abc", False)],
)
def test_a_hub_model_is_known_by_name_and_commit(tmp_path, model, commit, fits):
    recorded, base = base_identity("org/model", None, "abc"), base_identity(model, None, commit)
    with nullcontext() if fits else pytest.raises(InputError, match="was trained over org/model"):
        check_base(tmp_path, recorded, base)
