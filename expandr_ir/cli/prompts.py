"""`expandr prompts ls | show`."""

from __future__ import annotations

from dataclasses import dataclass

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.verbs import dispatch
from expandr_ir.config import names
from expandr_ir.errors import InputError
from expandr_ir.prompts import load_prompt

LS = Verb("prompts ls", "The prompts, and what each needs besides the topic.", "expandr prompts ls")
SHOW = Verb(
    "prompts show",
    "One prompt as it is written.",
    "expandr prompts show passage\nexpandr prompts show mine.yaml",
    positional="names",
)


@dataclass(frozen=True)
class Nothing:
    """`expandr prompts ls` has no options."""


@dataclass(frozen=True)
class Shown:
    """Options of `expandr prompts show`.

    Args:
        names: names of conf/prompts, or YAML files.
    """

    names: list[str]


def run(argv: list[str]) -> int:
    """Runs the verb's verb."""
    return dispatch("prompts", {"ls": _ls, "show": _show}, argv)


def _ls(argv: list[str]) -> int:
    parse(LS, Nothing, argv)
    for name in names("prompts"):
        prompt = load_prompt(name)
        needs = f" (needs {', '.join(prompt.needs)})" if prompt.needs else ""
        print(f"{name:<26} {' '.join(prompt.notes.split())}{needs}")
    return 0


def _show(argv: list[str]) -> int:
    options = parse(SHOW, Shown, argv)
    if not options.names:
        raise InputError("no prompt is named", expected="expandr prompts show NAME")
    for name in options.names:
        prompt = load_prompt(name)
        print(f"{prompt.id}, version {prompt.version}, sha256 {prompt.sha256[:12]}\nsource: {prompt.source}")
        if prompt.system:
            print(f"system:\n{prompt.system}")
        print(f"user:\n{prompt.user}")
    return 0
