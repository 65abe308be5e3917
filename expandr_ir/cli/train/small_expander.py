"""`expandr train small-expander`."""

from __future__ import annotations

from dataclasses import dataclass

from expandr_ir.cli.arguments import Verb, parse
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.sources import say
from expandr_ir.train.small_options import SmallOptions

VERB = Verb(
    "train small-expander",
    "Train a small LLM from nothing on one collection: a vehicle to test alignment on, not a product.",
    """
expandr train small-expander --config small-expander --collection beir/scifact --output small
expandr expand --collection beir/scifact --generator small/generator.yaml --samples 4 --output expansions.jsonl
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(SmallOptions):
    """Options of `expandr train small-expander`.

    Args:
        output: the folder of the model, its generator.yaml and its rows/.
    """

    output: str


def run(argv: list[str]) -> int:
    """Trains, or goes on where it was broken off; prints the folder."""
    from expandr_ir.train.small import train_small

    options = parse(VERB, Options, argv)
    folder = output_folder(options.output)
    made = train_small(options, folder, ["expandr", "train", "small-expander", *argv])
    say("this is a test vehicle: no figure of it says anything about an LLM")
    print(f"{'parameters':<28} {made.parameters:,}")
    for stage, loss in made.losses.items():
        print(f"{'loss on ' + stage:<28} {loss:.4f}")
    print(f"{'train topics learnt':<28} {made.learnt:,}\n{'kept back':<28} {made.kept:,}")
    print(made.folder)
    return 0
