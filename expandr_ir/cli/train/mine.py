"""`expandr train mine`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_file
from expandr_ir.cli.progress import counting
from expandr_ir.cli.sources import say
from expandr_ir.manifest import write_manifest
from expandr_ir.train.mine import MineOptions, mine

VERB = Verb(
    "train mine",
    "Hard negatives of a collection's topics as training rows; what was killed goes on.",
    """
expandr train mine --collection beir/scifact --output rows.jsonl
expandr train mine --collection beir/scifact --sources dense --encoder contriever --output rows.jsonl
expandr train mine --collection beir/scifact --sources bm25 --sources dense --encoder contriever --output rows.jsonl
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(MineOptions):
    """Options of `expandr train mine`.

    Args:
        output: the rows, JSONL or .jsonl.gz.
    """

    output: str


def run(argv: list[str]) -> int:
    """Writes the rows and a manifest beside them."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    output = output_file(options.output)
    mined = mine(
        MineOptions(**{name: getattr(options, name) for name in MineOptions.__dataclass_fields__}), output, counting
    )
    write_manifest(
        output,
        command=["expandr", "train", "mine", *argv],
        started=started,
        config=resolved(options),
        counts=asdict(mined),
    )
    if not options.encoder:
        say("without an encoder no margin is kept to a positive's score; --encoder judges what BM25 found")
    for name, count in asdict(mined).items():
        print(f"{name.replace('_', ' '):<20} {count:,}")
    print(output)
    return 0
