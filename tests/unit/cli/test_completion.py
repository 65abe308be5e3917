"""`expandr completion`: what the scripts complete, asked in bash, zsh and fish where they are installed."""

import shutil
import subprocess

import pytest

from expandr_ir.cli import VERBS, main
from expandr_ir.cli.completion import SHELLS
from expandr_ir.config import names

# What bash sets before it calls the function of `complete -F`.
ASK_BASH = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _expandr; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The script of each shell, as files."""
    folder = tmp_path_factory.mktemp("completion")
    with pytest.MonkeyPatch.context() as patch:
        for shell in SHELLS:
            with (folder / shell).open("w") as stream:
                patch.setattr("sys.stdout", stream)
                assert main(["completion", shell]) == 0
    return {shell: folder / shell for shell in SHELLS}


def run(shell, *arguments):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    return subprocess.run([shell, *map(str, arguments)], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_verb_and_its_shell_reads_it(scripts, shell):
    text = scripts[shell].read_text()
    assert all(f'"{verb}"' in text for verb in VERBS)
    assert run(shell, "-n", scripts[shell]) == []


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["sea"], ["search"]),
        (["--v"], ["--version"]),
        (["store", "ver"], ["verify"]),
        (["search", "--retriever", ""], ["sparse", "dense", "hybrid"]),
        (["search", "--dry-run", "--with"], ["--with-topics-alone"]),
        (["export", "topics", "--aggr"], ["--aggregation"]),
        (["run", "--expander", "h"], ["hyde"]),
        (["train", "dpo", "--config", "sf"], ["sft"]),
        (["run", "--config", "sf"], []),  # a file
        (["run", "--output", "h"], []),
        (["cite", "querygy"], ["querygym"]),
    ],
)
def test_bash_completes(scripts, typed, completed):
    assert [word for word in run("bash", "-c", ASK_BASH, scripts["bash"], "expandr", *typed) if word] == completed


@pytest.mark.parametrize(
    ("typed", "completed"), [("run --expander mug", "mugi"), ("train dp", "dpo"), ("search --retr", "--retriever")]
)
def test_fish_completes(scripts, typed, completed):
    assert run("fish", "-c", f"source {scripts['fish']}; complete -C 'expandr {typed}'") == [completed]


def test_names_are_those_of_conf(scripts):
    assert run("bash", "-c", ASK_BASH, scripts["bash"], "expandr", "run", "--expander", "") == names("expanders")


@pytest.mark.parametrize(("shells", "told"), [([], "no shell is named"), (["tcsh"], "unknown shell 'tcsh'")])
def test_a_shell_that_is_not_known(capsys, shells, told):
    assert main(["completion", *shells]) == 2
    assert told in capsys.readouterr().err
