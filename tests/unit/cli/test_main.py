"""The `expandr` command: exit codes, light imports."""

import errno
import os
import subprocess
import sys

import pytest

from expandr_ir import cli
from expandr_ir.errors import MissingResourceError
from expandr_ir.masking import printable

pytestmark = pytest.mark.flash


def test_help_and_version(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb.split()[0] in text for verb in cli.VERBS)
    assert cli.main([]) == 2
    capsys.readouterr()
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("expandr_ir 0.")


@pytest.mark.parametrize("group", cli.GROUPS)
def test_a_group_describes_its_verbs(capsys, group):
    assert cli.main([group, "--help"]) == 0
    text = capsys.readouterr().out
    verbs = {name: verb for name, verb in cli.VERBS.items() if name.startswith(f"{group} ")}
    assert verbs
    for name, verb in verbs.items():
        assert f"  {name.split()[1]}" in text
        assert verb.about in text


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MissingResourceError("no index"), 4, "no index"),
        (OSError(errno.ENOSPC, "No space left on device", "x.run"), 6, "x.run: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "x.run"), 6, "x.run: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x.run"), 6, "x.run: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_messages_and_exit_codes(monkeypatch, capsys, error, code, message):
    def fail(words):
        raise error

    monkeypatch.setattr(cli, "run_verb", fail)
    assert cli.main(["search"]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "an id caf? ?"), ("ascii:strict", "an id caf? ?"), ("utf-8", "an id café ?")]
)
def test_characters_that_a_stream_cannot_hold_are_replaced(encoding, shown):
    code = (
        "from expandr_ir import cli; from expandr_ir.errors import InputError\n"
        "def verb(words): print('an id caf\\xe9 \\udce9'); raise InputError('no caf\\xe9')\n"
        "cli.run_verb = verb; raise SystemExit(cli.main(['evaluate']))"
    )
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=env)
    assert done.stdout.decode() == f"{shown}\n"
    assert done.stderr.decode() == f"expandr: no caf{'é' if encoding == 'utf-8' else chr(92) + 'xe9'}\n"
    assert done.returncode == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_foreign_text_cannot_drive_the_terminal(monkeypatch, capsys, tmp_path, terminal):
    monkeypatch.chdir(tmp_path)
    hostile = tmp_path / "evil\x1b[2J\x9b31m.yaml"
    hostile.write_text('{id: x, version: 1, source: "s\\e]0;title\\a", user: "a {topic} \\x9b31m \\u202e"}')
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert cli.main(["prompts", "show", hostile.name]) == 0
    assert cli.main(["prompts", "show", f"no{hostile.name}"]) == 2
    monkeypatch.setattr(cli, "run_verb", lambda words: (tmp_path / "no" / hostile.name).read_text())
    assert cli.main(["search"]) == 6
    shown = capsys.readouterr()
    assert "source: s ]0;title" in shown.out
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(shown.out + shown.err)
    assert (printable("\x1b[1mbold\x1b[0m\x1b[2J", bold=terminal) == "\x1b[1mbold\x1b[0m [2J") == terminal


@pytest.mark.parametrize("statement", ["import expandr_ir", "from expandr_ir import cli; cli.main(['--help'])"])
def test_nothing_heavy_is_imported(statement):
    heavy = {"torch", "jnius", "pyserini", "transformers", "numpy"}
    check = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
