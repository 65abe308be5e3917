"""What a base is known by, and which one an adapter belongs to."""

from __future__ import annotations

import pytest

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.train.trainable import (
    BASE_FILE,
    ModelOptions,
    base_identity,
    check_base,
    load_tokenizer,
    read_base,
    write_base,
)


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


@pytest.mark.parametrize(
    ("found", "fits"),
    [
        (("org/model", "abc"), True),
        (("org/model", None), True),
        (("org/model", "def"), False),
        (("org/other", "abc"), False),
    ],
)
def test_a_hub_model_is_known_by_name_and_commit(tmp_path, found, fits):
    recorded = base_identity("org/model", None, "abc")
    other = base_identity(found[0], None, found[1])
    if fits:
        check_base(tmp_path, recorded, other)
    else:
        with pytest.raises(InputError, match="was trained over org/model"):
            check_base(tmp_path, recorded, other)


def test_a_folder_is_no_hub_model(tmp_path):
    with pytest.raises(InputError):
        check_base(tmp_path, base_identity("org/model", None), base_identity(str(model(tmp_path / "m")), None))


def test_the_record_is_read_back(tmp_path):
    identity = base_identity("org/model", "main", "abc")
    write_base(tmp_path, identity)
    assert read_base(tmp_path) == identity
    (tmp_path / BASE_FILE).write_text("{}")
    with pytest.raises(InputError, match=BASE_FILE):
        read_base(tmp_path)
    (tmp_path / BASE_FILE).unlink()
    assert read_base(tmp_path) is None


def test_models_and_templates_that_are_not_there(tmp_path):
    with pytest.raises(MissingResourceError, match="nothing"):
        load_tokenizer(ModelOptions(model=str(tmp_path / "nothing")))
