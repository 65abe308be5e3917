"""The command lines of README, docs and --help, as they stood before the redesign, still parse; so do all options."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
COMMANDS = (HERE / "commands.txt").read_text().splitlines()
VERBS = list(json.loads((HERE / "options.json").read_text()))


def flat(options, prefix=""):
    """Dotted names and their values."""
    for name, value in options.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_commands_parse(expandr, line):
    words = shlex.split(line)[1:]
    assert isinstance(yaml.safe_load(expandr(*words, "--print_config").out), dict)


@pytest.mark.parametrize("verb", VERBS)
def test_options_keep_their_names_and_defaults(expandr, golden, verb):
    now = dict(flat(yaml.safe_load(expandr(*verb.split(), "--print_config").out)))
    before = golden.recorded("options", verb, now)
    assert {name: now.get(name, "no such option") for name in before} == before


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(expandr, verb):
    assert f"expandr {verb}" in expandr(*verb.split(), "--help").out


def test_a_list_is_a_repeated_flag(expandr):
    told = expandr("evaluate", "-m", "nDCG@10", "--measure", "R@100", "RUN", "--print_config").out
    assert yaml.safe_load(told)["measures"] == ["nDCG@10", "R@100"]
