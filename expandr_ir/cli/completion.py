"""`expandr completion`: the scripts by which bash, zsh and fish complete verbs, options and names.

A script is the table of verbs, and what may follow what. shtab would need one parser of all verbs and list every
option of TRL's and sentence-transformers' configurations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from expandr_ir.cli.cite import papers
from expandr_ir.cli.parser import values_by_flag
from expandr_ir.cli.table import GROUPS, VERBS
from expandr_ir.config import names
from expandr_ir.errors import InputError, unknown_name

NAMES = {
    "train * --config": "train",
    "* --encoder": "encoders",
    "* --expander": "expanders",
    "* --generator": "generators",
    "* --prompt": "prompts",
}
"""Options whose values are names, behind any verb (*), each with the folder of conf/."""

# zsh reads bash's script, with its own bashcompinit.
_BASH = r"""_expandr() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" verb="" words=""
    [ "$COMP_CWORD" -gt 1 ] && verb="${{COMP_WORDS[1]}}"
    case "$verb" in
        {groups}) [ "$COMP_CWORD" -gt 2 ] && verb="$verb ${{COMP_WORDS[2]}}" ;;
    esac
    case "$current" in -*) previous="" ;; esac
    case "$verb $previous" in
{values}
        *" --"*) ;;
        *) case "$verb" in
{words}
        esac ;;
    esac
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
}}
complete -o default -F _expandr expandr
"""
_FISH = r"""function __expandr_words
    set -l typed (commandline -opc) (commandline -ct)
    set -l current $typed[-1]
    set -l previous $typed[-2]
    set -l verb ""
    test (count $typed) -gt 2; and set verb $typed[2]
    contains -- "$verb" {groups}; and test (count $typed) -gt 3; and set verb "$verb $typed[3]"
    string match -q -- "-*" "$current"; and set previous ""
    set -l words ""
    switch "$verb $previous"
{values}
        case "* --*"
            return
        case "*"
            switch "$verb"
{words}
            end
    end
    string split -n " " -- "$words"
end
complete -c expandr -a "(__expandr_words)"
"""
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class CompletionOptions:
    """Options of `expandr completion`.

    Args:
        shells: bash, zsh or fish.
    """

    shells: list[str] = field(default_factory=list)


def completion(options: CompletionOptions) -> str:
    """The scripts of the shells."""
    if not options.shells:
        raise InputError("no shell is named", expected=f"expandr completion {'|'.join(SHELLS)}")
    return "\n".join(map(script, options.shells))


def script(shell: str) -> str:
    """The script of one shell."""
    if shell not in SHELLS:
        raise unknown_name("shell", shell, SHELLS)
    template, branch = (_FISH, _fish_branch) if shell == "fish" else (_BASH, _bash_branch)
    text = template.format(
        groups=(" " if shell == "fish" else "|").join(GROUPS),
        values="\n".join(itertools.starmap(branch, values())),
        words="\n".join(itertools.starmap(branch, words())),
    )
    return f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{text}" if shell == "zsh" else text


def words() -> Iterator[tuple[str, list[str]]]:
    """The words that may follow the command, a group and a verb."""
    yield "", [*(name for name in VERBS if " " not in name), *GROUPS, "--help", "--version"]
    for group in GROUPS:
        yield group, [name.split()[1] for name in VERBS if name.startswith(f"{group} ")]
    bare = {"cite": sorted(papers()), "completion": list(SHELLS), "prompts show": names("prompts")}
    for name, verb in VERBS.items():
        flags = [flag for flag in values_by_flag(verb.load()[1]) if flag != f"--{verb.positional}"]
        yield name, [*bare.get(name, []), *flags, "--config", "--help", "--print_config", "--quiet"]


def values() -> Iterator[tuple[str, list[str]]]:
    """The options that take a few values or names, each behind its verb, with these."""
    for name, verb in VERBS.items():
        for flag, known in values_by_flag(verb.load()[1]).items():
            if known:
                yield f"{name} {flag}", known
    for pattern, kind in NAMES.items():
        yield pattern, names(kind)


def _bash_branch(pattern: str, words: list[str]) -> str:
    quoted = pattern.replace("*", '"*"')
    return f'        "{quoted}") words="{" ".join(words)}" ;;'


def _fish_branch(pattern: str, words: list[str]) -> str:
    return f'        case "{pattern}"\n            set words "{" ".join(words)}"'
