"""`expandr demo`."""

from __future__ import annotations

import sys
import textwrap
import time
from dataclasses import dataclass, fields

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.progress import counting
from expandr_ir.config import GeneratorConfig
from expandr_ir.demo.tour import Answer, ask, tour
from expandr_ir.errors import InputError
from expandr_ir.pipeline import ExpandOptions
from expandr_ir.report import render

VERB = Verb(
    "demo",
    "The whole path on an embedded collection: questions about the Python standard library.",
    """
expandr demo
expandr demo --dense false
expandr demo --ask "keep only the last n lines of a log while reading it"
expandr demo --ask "merge two sorted lists" --generator openai
""",
)


@dataclass(frozen=True)
class Options(ExpandOptions):
    """Options of `expandr demo`.

    Args:
        output: folder for the runs.
        dense: dense and hybrid searches as well, with all-MiniLM-L6-v2; the first time, a minute goes into encoding.
        ask: one question, answered from the index.
        generator: an LLM that expands the question first: a name, a YAML file, or engine:model.
        hits: documents shown for a question.
    """

    output: str = "runs/demo"
    dense: bool = True
    ask: str | None = None
    generator: GeneratorConfig | None = None
    hits: int = 5


def run(argv: list[str]) -> int:
    """Prints the comparison, or the answer to one question."""
    started = time.perf_counter()
    options = parse(VERB, Options, argv)
    if options.ask is not None:
        _check_llm(options)
        _show(ask(options.ask, options.generator, options, options.hits))
        return 0
    comparison = tour(output_folder(options.output), _say, dense=options.dense, counting=counting)
    print(render(comparison, "text", colour=sys.stdout.isatty()))
    print(f"{time.perf_counter() - started:.0f} s in all; the runs are in {options.output}", file=sys.stderr)
    return 0


def _check_llm(options: Options) -> None:
    if options.generator is not None:
        return
    asked = [field.name for field in fields(ExpandOptions) if getattr(options, field.name) != field.default]
    if asked:
        raise InputError(
            f"--{asked[0].replace('_', '-')} says something to an LLM, and none is named",
            remedy="--generator NAME, or leave it out",
        )


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def _show(answer: Answer) -> None:
    for expansion in answer.expanded.expansions:
        print(textwrap.fill(expansion.text, 100, initial_indent="  | ", subsequent_indent="  | ") + "\n")
    for hit, document in answer.hits:
        print(f"{hit.rank}. {document.doc_id}  ({hit.score:.2f})")
        print(f"   {textwrap.shorten(document.text, 160, placeholder=' ...')}")
    if not answer.hits:
        print("nothing was found")
