"""The `expandr` command: verbs only; the one that was asked for is the only one whose parser is built."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from expandr_ir import __version__
from expandr_ir.errors import ExpandrError, InputError, unknown_name

VERBS = {
    "demo": "the whole path on an embedded collection: index, search, expand, compare",
    "doctor": "what is installed and what to type for what is missing",
    "expand": "write expansions of topics with an LLM",
    "index": "build a collection's Lucene index",
    "encode": "encode a collection's documents for dense search",
    "search": "search topics, plain or with expansions, into a TREC run",
    "fuse": "several runs become one",
    "run": "a named expander end to end: prompt, generate, search",
    "evaluate": "measures of runs, by topic and in the mean",
    "compare": "runs against a baseline, with tests of significance",
    "regress": "published and recorded figures: run, checked",
    "report": "what regressions came to: a page, Markdown, LaTeX, CSV",
    "export": "expanded topics and query vectors for stock Pyserini commands",
    "store": "what LLMs wrote: ls, show, export, import, verify",
    "prompts": "the prompts: ls, show",
    "train": "align the expander and train the retriever: split, preferences, ...",
}

DISK_FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the disk is read-only",
}


def usage() -> str:
    """The text of `expandr --help`."""
    verbs = "\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items())
    return (
        "usage: expandr VERB [--help] [options]\n\n"
        "Retrieval with LLM query expansion, a Pyserini extension.\n\n"
        f"verbs:\n{verbs}\n\n"
        "Every verb takes --config FILE (YAML), --print_config and --help with examples.\n"
        "EXPANDR_HOME is the folder for indexes and the store; EXPANDR_VERBOSE=1 tells more on stderr.\n"
        "Exit codes: 0 done, 1 a comparison failed, 2 bad arguments or input, 3 not installed,\n"
        "4 a resource is missing, 6 a failure while running, 7 done in part."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code; errors of this package become one message on stderr."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    level = logging.INFO if os.environ.get("EXPANDR_VERBOSE") else logging.WARNING
    logging.basicConfig(format="expandr: %(message)s", level=level)
    if not sys.stderr.isatty():
        os.environ.setdefault(
            "TQDM_DISABLE", "1"
        )  # the bars of transformers and the hub, which a log file does not want
    try:
        return run_verb(verb, rest)
    except KeyboardInterrupt:
        print("expandr: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ExpandrError, OSError) as error:
        return complain(error)


def complain(error: ExpandrError | OSError) -> int:
    """Prints an error on stderr and returns its exit code."""
    if isinstance(error, ExpandrError):
        print(f"expandr: {error}", file=sys.stderr)
        return error.exit_code
    what = DISK_FAULTS.get(error.errno or 0, error.strerror or str(error))
    remedy = "Try: make room there, or name another folder (--output, or EXPANDR_HOME for what is cached)"
    print(f"expandr: {error.filename or 'writing'}: {what}\n{remedy}", file=sys.stderr)
    return ExpandrError.exit_code


def run_verb(verb: str, argv: list[str]) -> int:
    """Imports the verb's module and runs it.

    Raises:
        InputError: there is no such verb.
    """
    if verb in {"", "-h", "--help", "help"}:
        print(usage())
        return 0 if verb else InputError.exit_code
    if verb == "--version":
        print(f"expandr_ir {__version__}")
        return 0
    if verb not in VERBS:
        raise unknown_name("verb", verb, VERBS)
    code: int = importlib.import_module(f"expandr_ir.cli.{verb}").run(argv)
    return code
