"""`expandr train merge`."""

from __future__ import annotations

from dataclasses import dataclass

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.train.merge import MergeOptions

VERB = Verb(
    "train merge",
    "Merge an adapter into its base: a whole model, with tokenizer, generation configuration and model card.",
    """
expandr train merge --adapter aligned --output merged
expandr train merge --adapter aligned --output merged --push-to-hub me/my-expander --private
expandr expand --collection beir/scifact --generator local:merged --output expansions.jsonl
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(MergeOptions):
    """Options of `expandr train merge`.

    Args:
        output: the folder of the merged model.
    """

    output: str


def run(argv: list[str]) -> int:
    """Merges, and uploads where that was asked for; prints the folder."""
    from expandr_ir.train.merge import merge

    options = parse(VERB, Options, argv)
    merged = merge(options, output_folder(options.output), ["expandr", "train", "merge", *argv])
    print(merged.folder)
    if merged.url:
        print(merged.url)
    return 0
