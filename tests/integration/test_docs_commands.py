"""Every command of README and docs parses; it runs here, in the order of its page, or NEEDS says what it needs."""

from __future__ import annotations

import gzip
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from fake_llm_server import FakeServer
from small_scifact import small_data

from expandr_ir.cli import GROUPS, VERBS, main

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PLACEHOLDER = re.compile(r"\||[A-Z]+(\.\.\.)?|\.\.\.|\w+(\|\w+)+|\[.*|.*\]")

NEEDS = {
    r"expandr download": "a network",
    r"contriever|--expander hyde": "weights of Contriever from the hub",
    r"Qwen/|meta-llama/|local:my-model": "weights of an LLM",
    r"--config (dpo|preferences|rounds)-(expandr|reinforced-ir)|small|merged|--adapter": "LLMs and hours, or what "
    "tests/small_expander.py trains (tests/integration/test_cli_train_dpo.py and test_cli_rounds.py run the verbs)",
    r"smollm2|--ask": "minutes of an LLM on a CPU (tests/integration/test_smollm2.py)",
    r"vllm-server|http://": "a server at that address (tests/integration/test_cli_expand.py has one)",
    r"irds:msmarco-passage": "a gigabyte of MS MARCO",
    r"regress|report runs": "BEIR's SciFact or CACM themselves (tests/integration/test_cli_regress.py)",
    r"store show": "a key of a store",
    r"expandr serve": "a client, and somebody who ends it (tests/unit/serve)",
    r"demo$": "minutes of encoding (tests/unit/cli/test_cli_demo.py runs it without)",
    r"synthesize.* --generator": "an LLM whose queries find documents (tests/integration/test_cli_synthesize.py)",
}
"""What a command needs that is not here, by a pattern of the command."""


def commands(page):
    """The commands of the page's blocks, one line each, without remarks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [re.split(r"\s+#", line)[0] for line in lines if re.match(r"\w+ ", line)]


def ours(page):
    """The commands of the page that are this package's, the words behind `expandr` or `-m expandr_ir`."""
    found = (re.match(r"(?:expandr|.* -m expandr_ir) (.*)", command) for command in commands(page))
    return [match[1] for match in found if match]


def inline(page):
    """The commands in the page's prose."""
    return re.findall(
        r"`expandr ([^`\n]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    )


def written_out(command):
    """The command with all options of its form, the first of alternatives, and a generator that is there."""
    command = re.sub(r"(?<=[ \[])(\w+)(\|\w+)+", r"\1", re.sub(r"\[(--[^\]]*)\]", r"\1", command))
    command = re.sub(r"\[(-m [^\]]*)\]", r"\1", command)
    command = re.sub(r"(?<=--samples )N|(?<=--limit )K", "3", command)
    return re.sub(r"(?<=--generator )(NAME|G|\S+\.yaml)(?= )", "echo", command).replace(
        "--expander NAME", "--expander hyde"
    )


def is_form(command):
    """Whether the command has placeholders, so that it is a form of commands and no command."""
    return any(PLACEHOLDER.fullmatch(word) for word in shlex.split(command))


def need(command):
    return next((what for pattern, what in NEEDS.items() if re.search(pattern, f"expandr {command}")), None)


ALL = list(dict.fromkeys(command for page in PAGES for command in (*ours(page), *inline(page))))
RUN = {page.name: [line for line in ours(page) if not is_form(line) and not need(line)] for page in PAGES}


@pytest.mark.parametrize("command", ALL)
def test_commands_and_forms_parse(command, capsys):
    words = [word for word in shlex.split(written_out(command)) if word not in {"|", "..."}]
    verb = " ".join(words[: 1 + (words[0] in GROUPS)])
    if words[-1] == "--help" and verb in VERBS:
        with pytest.raises(SystemExit):
            main(words)
        assert f"expandr {verb}" in capsys.readouterr().out
    elif verb in VERBS and " | " not in command:
        with pytest.raises(SystemExit) as stop:
            main([*words, "--print_config"])
        assert stop.value.code == 0
        assert isinstance(yaml.safe_load(capsys.readouterr().out), dict)
    else:  # a group, or some of its verbs
        assert verb in {*GROUPS, "VERB", "--help"} or {f"{words[0]} {word}" for word in words[1:]} <= VERBS.keys()


def test_what_is_needed_is_needed_by_some_command():
    concrete = [line for page in PAGES for line in ours(page) if not is_form(line)]
    for pattern in NEEDS:
        assert any(re.search(pattern, f"expandr {line}") for line in concrete), pattern
    assert sum(map(len, RUN.values())) >= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_targets_are_there(page):
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "python" and words[1].endswith(".py"):
            assert (CHECKOUT / words[1]).is_file()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture
def prepared(expandr, workplace, monkeypatch):
    """A folder with what the pages take for granted: SciFact's layout, an LLM behind `openai`, expansions and runs."""
    small_data(workplace)
    shutil.copytree("beir/scifact", "my-beir-folder")
    with FakeServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
        collection = ("--collection", "beir/scifact")
        expandr("expand", *collection, "--generator", "openai", "--output", "q2d.jsonl")
        expandr("search", *collection, "--output", "bm25.run")
        shutil.copy("bm25.run", "dense.run")
        Path("corpus.jsonl").write_bytes(gzip.decompress(Path("beir/scifact/corpus.jsonl.gz").read_bytes()))
        expandr("expand", "--collection", "demo", "--generator", "echo", "--output", "mine.jsonl")
        expandr("store", "export", "--output", "store.jsonl.gz")
        yield expandr


@pytest.mark.java
@pytest.mark.parametrize("page", [name for name, lines in RUN.items() if lines])
def test_commands_run(prepared, page):
    for command in RUN[page]:
        prepared(*shlex.split(command))
