"""What a release is made of: pyproject.toml, the README's table of extras, Dockerfile and .dockerignore agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.flash

CHECKOUT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, WHEEL = PYPROJECT["project"], PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
EXTRAS = set(PROJECT["optional-dependencies"])
FOR_DEVELOPERS = {"docs", "lint", "test"}


def test_the_readme_says_what_each_extra_is_for():
    rows = re.findall(r"^\|.*\| (.*) \|$", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name for row in rows for names in re.findall(r"\.\[([\w,-]+)\]", row) for name in names.split(",")}
    assert listed == EXTRAS - FOR_DEVELOPERS


def test_the_image_has_extras_that_exist_and_runs_the_command_without_rights():
    lines = re.findall(r"^([A-Z]+) (.*)$", (CHECKOUT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    (extras,) = (value.removeprefix("EXTRAS=") for word, value in lines if value.startswith("EXTRAS="))
    assert set(extras.split(",")) <= EXTRAS
    last = dict(lines)
    assert last["ENTRYPOINT"] == f'["{next(iter(PROJECT["scripts"]))}"]'
    assert int(last["USER"]) > 0
    python = {image.removeprefix("python:").removesuffix("-slim").split()[0] for word, image in lines if word == "FROM"}
    assert {f"Programming Language :: Python :: {version}" for version in python} <= set(PROJECT["classifiers"])


def test_the_image_is_built_from_all_that_the_wheel_needs():
    copied = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *WHEEL["packages"]}
    assert copied == needed | set(WHEEL["force-include"])
    assert all((CHECKOUT / name).exists() for name in copied)
