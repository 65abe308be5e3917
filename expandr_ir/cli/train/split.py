"""`expandr train split`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.sources import files_of, say
from expandr_ir.errors import InputError
from expandr_ir.manifest import manifest_path, write_manifest
from expandr_ir.train.split import all_rows, parse_shares, write_split

VERB = Verb(
    "train split",
    "Cut training rows into parts by their queries: for the expander, for the retriever, to hold out.",
    """
expandr train split --rows rows.jsonl.gz --output split dpo=.5 retriever=.4 dev=.1
expandr train split --rows beir/scifact --split train --output split dpo=.5 retriever=.5
expandr train split --rows echo/nq.jsonl --rows echo/squad.jsonl --seed 7 --output split dpo=.12 retriever=.8 dev=.08
""",
    positional="parts",
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `expandr train split`.

    Args:
        parts: NAME=SHARE, such as dpo=.5; shares that add up to less than 1 leave rows out.
        rows: JSONL file or folder of them, collection, or hub:ID; may be repeated.
        split: of a collection or a data set; None is train.
        output: folder of the parts, NAME.jsonl each.
        seed: another seed is another split.
        duplicates: keep or drop further rows of a query; kept ones are in the same part.
    """

    parts: list[str] = field(default_factory=list)
    rows: list[str]
    split: str | None = None
    output: str
    seed: int = 42
    duplicates: Literal["keep", "drop"] = "keep"


def run(argv: list[str]) -> int:
    """Writes the parts, and a manifest beside each."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    shares = parse_shares(options.parts)
    folder = output_folder(options.output)
    paths = {name: folder / f"{name}.jsonl" for name in shares}
    for path in paths.values():
        if any(path.resolve() == Path(source).expanduser().resolve() for source in options.rows):
            raise InputError(f"{path} is also read", expected="another folder, or other names of the parts")
        manifest_path(path).unlink(missing_ok=True)
    counts = write_split(all_rows(options.rows, options.split), shares, options.seed, folder, options.duplicates)
    for name, path in paths.items():
        own = {"rows": counts.parts[name], "queries": counts.part_queries[name]}
        write_manifest(
            path,
            command=["expandr", "train", "split", *argv],
            started=started,
            config=resolved(options),
            inputs=files_of(**{f"rows {number}": source for number, source in enumerate(options.rows, start=1)}),
            seeds={"split": options.seed},
            counts=own | {f"source_{key}": value for key, value in asdict(counts).items() if isinstance(value, int)},
            details={"part": name, "share": shares[name], "shares": shares},
        )
        print(f"{path}: {own['rows']:,} rows, {own['queries']:,} queries")
    say(f"{counts.rows:,} rows of {counts.queries:,} queries; {counts.duplicates:,} duplicates {_kept(options)}")
    if counts.left_out:
        say(f"{counts.left_out:,} rows are in no part: the shares add up to {sum(shares.values()):g}")
    return 0


def _kept(options: Options) -> str:
    return "are with their queries" if options.duplicates == "keep" else "are left out"
