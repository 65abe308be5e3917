"""The `expandr` command. It may import every other room; none imports it."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence

from expandr_ir import __version__
from expandr_ir.cli.table import GROUPS, VERBS
from expandr_ir.errors import ExpandrError, InputError, unknown_name
from expandr_ir.masking import MaskingFormatter, mask, mask_stderr, printable
from expandr_ir.progress import quiet, shows_bars


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code; errors of this package become one message on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream, replacement in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # characters that its encoding lacks, and halves of surrogate pairs
            stream.reconfigure(errors=replacement)
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter("expandr: %(message)s"))
    handler.addFilter(lambda record: not record.name.startswith("huggingface_hub"))  # it has a handler of its own
    logging.getLogger().addHandler(handler)
    logging.getLogger("expandr_ir").setLevel(logging.INFO)
    if os.environ.get("EXPANDR_VERBOSE"):
        logging.getLogger().setLevel(logging.INFO)
    mask_stderr()
    if not shows_bars():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of transformers and the hub, which a log file does not want
    try:
        return run_verb(words)
    except KeyboardInterrupt:
        print("expandr: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ExpandrError, OSError) as error:
        return _complain(error)
    finally:
        logging.getLogger().removeHandler(handler)


def run_verb(words: list[str]) -> int:
    """Parses the options of the verb that the words begin with, calls its function and prints the result."""
    verb, *rest = words or [""]
    if verb in {"", "-h", "--help", "help"}:
        print(usage())
        return 0 if verb else InputError.exit_code
    if verb == "--version":
        print(f"expandr_ir {__version__}")
        return 0
    name = f"{verb} {rest[0]}" if verb in GROUPS and rest else verb
    if name in VERBS:
        from expandr_ir.cli.parser import parse
        from expandr_ir.io.manifest import running

        function, options_class = VERBS[name].load()
        arguments = words[len(name.split()) :]
        with running(["expandr", *words]), quiet("--quiet" in arguments):
            result = function(parse(name, VERBS[name], options_class, arguments))
        if result is not None and (text := str(result)):
            print(printable(text, bold=sys.stdout.isatty()))
        return int(getattr(result, "exit_code", 0))
    if verb in GROUPS:
        return _group_usage(verb, rest)
    raise unknown_name("verb", verb, [*VERBS, *GROUPS])


def usage() -> str:
    """The text of `expandr --help`."""
    abouts = {name: verb.about for name, verb in VERBS.items() if " " not in name} | GROUPS
    verbs = "\n".join(f"  {verb:<10} {about}" for verb, about in abouts.items())
    return (
        "usage: expandr VERB [--help] [options]\n\n"
        "Retrieval with LLM query expansion, a Pyserini extension.\n\n"
        f"verbs:\n{verbs}\n\n"
        "Every verb takes --config FILE (YAML), --print_config, --quiet (no progress) and --help with examples.\n"
        "EXPANDR_HOME is the folder for indexes and the store; EXPANDR_VERBOSE=1 tells more on stderr.\n"
        "Exit codes: 0 done, 1 a comparison failed, 2 bad arguments or input, 3 not installed,\n"
        "4 a resource is missing, 6 a failure while running, 7 done in part."
    )


def _group_usage(verb: str, rest: list[str]) -> int:
    abouts = {name.split()[1]: known.about for name, known in VERBS.items() if name.startswith(f"{verb} ")}
    if rest and rest[0] in {"-h", "--help"}:
        verbs = "\n".join(f"  {name:<{max(map(len, abouts))}} {about}" for name, about in abouts.items())
        print(f"usage: expandr {verb} VERB [--help] [options]\n\n{GROUPS[verb]}\n\nverbs:\n{verbs}")
        return 0
    if not rest:
        raise InputError(f"expandr {verb} has verbs of its own", expected=f"expandr {verb} {'|'.join(abouts)}")
    raise unknown_name(f"verb of expandr {verb}", rest[0], list(abouts))


def _complain(error: ExpandrError | OSError) -> int:
    if isinstance(error, ExpandrError):
        print(f"expandr: {error}", file=sys.stderr)
        return error.exit_code
    remedy = "Try: make room there, or name another folder (--output, or EXPANDR_HOME for what is cached)"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "Try: a name of at most 255 bytes"
    print(
        printable(mask(f"expandr: {error.filename or 'writing'}: {error.strerror or error}\n{remedy}")), file=sys.stderr
    )
    return ExpandrError.exit_code
