"""Finding Pyserini's commands; running them is tests/integration/test_pyserini_launcher.py."""

from __future__ import annotations

import pytest

from expandr_ir import pyserini
from expandr_ir.errors import InputError


def test_commands_are_found_in_the_installed_pyserini():
    commands = pyserini.commands()
    assert commands["search.lucene"] == "pyserini.search.lucene"
    assert commands["eval.trec_eval"] == "pyserini.eval"
    assert commands["encode.query"] == commands["encode"] == "pyserini.encode"
    assert commands["2cr.beir"] == "pyserini.2cr"
    assert "search.lucene.querybuilder" not in commands


def test_help_no_command_and_a_wrong_one(capsys):
    assert pyserini.main(["--help"]) == 0
    assert "    search.faiss\n" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"Try: search.lucene"):
        pyserini.run("pyserini.search.lucen", [])
    assert pyserini.main([]) == 2
    assert pyserini.main(["fussion"]) == 2
    assert "Try: fusion" in capsys.readouterr().err
