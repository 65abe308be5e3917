"""`expandr train order`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import generating
from expandr_ir.cli.sources import files_of, say
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, PartlyDoneError
from expandr_ir.manifest import write_manifest
from expandr_ir.train.listwise import OrderOptions, put_in_order

VERB = Verb(
    "train order",
    "An LLM puts each row's positive and hard negatives in order, which `train retriever` learns (objective.listwise).",
    """
expandr train order --rows rows.jsonl --generator vllm-server --output ordered.jsonl
expandr train order --rows rows.jsonl --generator local:my-model --negatives 7 --max-words 60 --output ordered.jsonl
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(OrderOptions):
    """Options of `expandr train order`.

    Args:
        generator: a name of conf/generators, a YAML file, or engine:model.
        output: the rows, JSONL or .jsonl.gz.
    """

    generator: GeneratorConfig
    output: str


def run(argv: list[str]) -> int:
    """Writes the rows and their manifest; 7 where some replies failed."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    output = output_file(options.output, [options.rows])
    try:
        with generating() as on_progress:
            done = put_in_order(options, options.generator, output, on_progress)
    except (ExpandrError, KeyboardInterrupt):
        say("what was generated is stored; the same command goes on from there")
        raise
    write_manifest(
        output,
        command=["expandr", "train", "order", *argv],
        started=started,
        config=resolved(options),
        inputs=files_of(rows=options.rows),
        seeds={"shown": options.seed, "decoding": options.generator.decoding.seed},
        counts=dict(done.counts),
        seconds={"generate": done.seconds},
        tokens=done.tokens,
    )
    for name, count in done.counts.items():
        print(f"{name.replace('_', ' '):<20} {count:,}")
    if unreadable := done.counts["unreadable"]:
        say(f"{unreadable} replies name no document; their rows keep the order they had")
    print(output)
    return PartlyDoneError.exit_code if done.counts["failed"] else 0
