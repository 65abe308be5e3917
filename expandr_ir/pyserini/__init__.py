"""`python -m expandr_ir.pyserini MODULE ...`: Pyserini's own commands, run with the Java that this package finds."""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from expandr_ir.errors import ExpandrError, NotInstalledError, unknown_name
from expandr_ir.jvm import import_pyserini

USAGE = """usage: python -m expandr_ir.pyserini MODULE [options of that module]

Runs `python -m pyserini.MODULE` with the Java that this package finds, such as
    python -m expandr_ir.pyserini search.lucene --index INDEX --topics TOPICS.json --output RUN --batch-size 64
    python -m expandr_ir.pyserini eval.trec_eval -c -m ndcg_cut.10 QRELS RUN
Commands with dense search take the encoder and the expansions that a YAML file names:
    python -m expandr_ir.pyserini search.faiss --encoder expandr:FILE.yaml --index INDEX --topics TOPICS --output RUN

modules:
    {modules}
"""


def commands() -> dict[str, str]:
    """The commands of the installed Pyserini, such as "search.lucene", each with the package that it belongs to."""
    spec = importlib.util.find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalledError("pyserini is not installed", remedy="pip install pyserini")
    root = Path(spec.submodule_search_locations[0])
    runs = re.compile(r"""^if __name__ == ['"]__main__['"]""", re.MULTILINE)
    packages = {path.parent: path.parent for path in root.rglob("__main__.py")}
    scripts = (path for path in root.rglob("[!_]*.py") if runs.search(path.read_text(encoding="utf-8")))
    packages |= {path.with_suffix(""): path.parent for path in scripts}
    return {
        ".".join(command.relative_to(root).parts): ".".join(package.relative_to(root.parent).parts)
        for command, package in packages.items()
    }


def run(module: str, arguments: Sequence[str]) -> None:
    """Runs a command of Pyserini in this process, as `python -m pyserini.MODULE` would."""
    module = module.removeprefix("pyserini.")
    known = commands()
    if module not in known:
        raise unknown_name("Pyserini command", module, known)
    import_pyserini(known[module])  # with what it imports in turn, so that the command itself starts no such import
    if any("expandr:" in argument for argument in arguments):
        from expandr_ir.pyserini.query_encoder import register

        register()
    sys.argv = [f"pyserini.{module}", *arguments]
    runpy.run_module(f"pyserini.{module}", run_name="__main__", alter_sys=True)


def main(argv: Sequence[str]) -> int:
    """Runs the command that these arguments name, and returns the exit code of a failure before it."""
    try:
        if not argv or argv[0] in {"-h", "--help"}:
            sys.stdout.write(USAGE.format(modules="\n    ".join(sorted(commands()))))
            return 0 if argv else 2
        run(argv[0], argv[1:])
    except ExpandrError as error:
        sys.stderr.write(f"expandr: {error}\n")
        return error.exit_code
    return 0
