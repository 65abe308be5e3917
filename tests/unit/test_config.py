"""Names of conf/ become files, and files become blocks, strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import pytest

from expandr_ir import config
from expandr_ir.blocks import load_block, parse_mapping, placeholders
from expandr_ir.config import GeneratorConfig, conf_path, generator_block, generator_config, names
from expandr_ir.errors import InputError

pytestmark = pytest.mark.flash


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Block:
    name: str
    inner: Inner = field(default_factory=Inner)
    words: tuple[str, ...] = ()
    kind: Literal["plain", "rich"] = "plain"
    rate: float | None = None


ALIASES = "name: n\nwords:\n- &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"- &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
"""Nine lines that stand for 9^8 texts."""


def written(tmp_path, text):
    path = tmp_path / "block.yaml"
    path.write_text(text)
    return path


def test_names_are_the_files_of_their_folder():
    assert {"passage", "answer"} <= set(names("prompts"))
    assert names("prompts") == sorted(names("prompts"))
    assert names("nothing") == []


def test_an_installed_package_has_its_own_conf(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(config, "__file__", str(tmp_path / "config.py"))
    assert config.conf_dir() == tmp_path / "conf"


def test_a_name_or_the_path_of_a_yaml_file(tmp_path):
    assert conf_path("prompts", "passage").name == "passage.yaml"
    assert conf_path("prompts", str(written(tmp_path, "x: 1"))) == tmp_path / "block.yaml"
    with pytest.raises(InputError, match=r"unknown prompt 'pasage'(.|\n)*Try: passage$"):
        conf_path("prompts", "pasage")
    with pytest.raises(InputError, match=r"nowhere\.yaml is not there"):
        conf_path("prompts", "nowhere.yaml")


def test_a_block_is_read_with_its_inner_ones(tmp_path):
    path = written(tmp_path, "name: n\ninner: {depth: 3}\nwords: [a, b]\n")
    assert load_block(Block, path) == Block("n", Inner(3), ("a", "b"))
    assert load_block(Block, written(tmp_path, "name: n\n")) == Block("n", Inner(1), ())
    assert load_block(Block, written(tmp_path, "name: 2024-01-31\n")).name == "2024-01-31"
    for rate, number in (("2e-5", 2e-5), ("3", 3.0), ("null", None)):
        assert load_block(Block, written(tmp_path, f"name: n\nrate: {rate}\n")).rate == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nme: n\n", "nme"),
        ("inner: {depth: 3}\n", "name"),
        ("name: n\ninner: {depth: deep}\n", "depth"),
        ("name: n\ninner: {dept: 3}\n", "dept"),
        ("name: [\n", "block.yaml"),
        ("", "block.yaml is empty"),
        ("name: n\nname: m\n", "line 2: 'name' a second time; the first is line 1"),
        ("name: n\nwords: [a, 3]\n", "line 2: 'words' is 3"),
        ("name: n\ninner: 3\n", "line 2: 'inner' is 3\nExpected: a mapping"),
        ("name: n\nkind: pla\n", "line 2: unknown kind 'pla'\nExpected: one of plain, rich\nTry: plain"),
        ("name: n\nrate: true\n", "line 2: 'rate' is True"),
        ("name: n\nwords: [!!binary YQ==]\n", "line 2: binary data"),
        ("name: n\nrate: .nan\n", "line 2: 'rate' is nan"),
        (f"name: n\nrate: 1{'0' * 400}\n", "line 2: 'rate' is 10000"),
        (f"name: n\nrate: 1{'0' * 5000}\n", "line 2: '10*' is no int"),
        ("name: n\ninner: null\n", "line 2: 'inner' is None\nExpected: a mapping"),
        ("name: n\nwords:\n", "line 2: 'words' is None\nExpected: a list"),
        ("name: n\ninner: {depth: 99999999999999999999}\n", "line 2: 'depth' is 9999"),
        ("name: n\nrate: !!timestamp x\n", "line 2: 'x' is no timestamp"),
        ("name: n\nrate: !!int x\n", "line 2: 'x' is no int"),
        ("name: n\nrate: 2024-13-45\n", "line 2: '2024-13-45' is no timestamp"),
        ("name: n\nrate: !!bool x\n", "line 2: 'x' is no bool"),
        ("name: !!python/name:os.system n\n", "line 1: could not determine a constructor"),
        ("name: n\n? [a, b]\n: 1\n", "line 2: a key that is a list or a mapping"),
        ("name: n\nwords: &x [*x]\n", r"aliases \(\*NAME\) stand for more than 100,000 values"),
        (ALIASES, r"aliases \(\*NAME\) stand for more than 100,000 values"),
        (f"name: {'[' * 500}{']' * 500}", "nested more than 100 deep"),
        (f"name: {'[' * 100_000}", "nest"),
    ],
)
def test_a_block_that_does_not_fit_is_an_error_with_file_and_key(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_block(Block, written(tmp_path, text))
    assert "block.yaml" in caught.value.found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: [!!int x]}\n", "c.yaml, line 2: 'x' is no int"),
        (ALIASES, "c.yaml: its aliases"),
        ("- a", "c.yaml: holds list"),
        ("a: [", "c.yaml, line [12]: "),
        ("a: \x07", "c.yaml: "),
        (b"\xff\xfea", "c.yaml"),
        ("", "c.yaml: holds NoneType"),
    ],
)
def test_a_mapping_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message):
        parse_mapping(text, "c.yaml")


def test_aliases_and_merged_keys_within_bounds():
    text = "base: &base {depth: 3}\nmore: {<<: *base, when: 2024-01-01}\nlist: [*base, *base]\n"
    depth = {"depth": 3}
    assert parse_mapping(text, "c.yaml") == {
        "base": depth,
        "more": {"depth": 3, "when": date(2024, 1, 1)},
        "list": [depth, depth],
    }


def test_what_a_generator_is_called():
    assert generator_block("api:org/model:latest") == {"engine": "api", "model": "org/model:latest"}
    assert generator_block("echo").name == "echo.yaml"
    assert generator_config("replay:texts.jsonl") == GeneratorConfig("replay", "texts.jsonl")
    with pytest.raises(InputError, match="unknown generator 'nowhere:x'"):
        generator_block("nowhere:x")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{nam}", r"o\.yaml: unknown placeholder '\{nam\}'(?s:.*)Try: \{name\}"),
        ("{name:999999999}", "unknown placeholder '{name...}'"),
        ("{name!r}", "unknown placeholder '{name...}'"),
        ("{name.__class__}", "unknown placeholder '{name.__class__}'"),
        ("{}", "unknown placeholder '{}'"),
        ("{name", "expected '}'"),
        ("name}", "Single '}'"),
    ],
)
def test_placeholders_are_plain_known_names(template, message):
    with pytest.raises(InputError, match=message):
        placeholders(template, ("name", "path"), "o.yaml")
    assert placeholders("{name}/{{x}}/{name}", ("name", "path")) == {"name"}
