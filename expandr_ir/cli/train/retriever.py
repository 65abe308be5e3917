"""`expandr train retriever`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from expandr_ir.cli.arguments import Verb, parse, resolved
from expandr_ir.cli.outputs import output_folder
from expandr_ir.cli.sources import files_of, say
from expandr_ir.manifest import write_manifest
from expandr_ir.train.retriever_options import RetrieverOptions

VERB = Verb(
    "train retriever",
    "Train an encoder to read expansions; what was killed goes on from its last checkpoint.",
    """
expandr train retriever --config retriever-expandr --data.rows rows.jsonl --data.expansions q2d.jsonl --output DIR
expandr train retriever --config retriever-llm-qe --encoder all-MiniLM-L6-v2 --data.rows ROWS ... --output DIR
expandr train retriever --config retriever-expandr ... --dev.share .1 --dev.patience 3 --output DIR
expandr train retriever --config retriever-expandr ... --cached --training.per_device_train_batch_size 1024 --output DIR
torchrun --nproc-per-node 2 -m expandr_ir train retriever --config retriever-expandr ... --output DIR
""",
)


@dataclass(frozen=True, kw_only=True)
class Options(RetrieverOptions):
    """Options of `expandr train retriever`.

    Args:
        output: folder of the trained encoder; checkpoints and log stand beside it, in OUTPUT.training.
    """

    output: str


def run(argv: list[str]) -> int:
    """Trains, and writes the encoder's folder and a manifest beside it."""
    started = datetime.now(UTC)
    options = parse(VERB, Options, argv)
    output = output_folder(options.output)
    from expandr_ir.train.processes import this_process
    from expandr_ir.train.retriever import train_retriever, work_folder

    trained = train_retriever(_training(options), output, _show)
    if trained is None:
        say(f"{output} is there already, by these options and rows")
        print(output)
        return 0
    if this_process() != 0:
        return 0
    write_manifest(
        output,
        command=["expandr", "train", "retriever", *argv],
        started=started,
        config=resolved(options),
        inputs=files_of(
            rows=options.data.rows,
            expansions=options.data.expansions,
            dev_rows=options.dev.rows,
            dev_expansions=options.dev.expansions,
        ),
        seeds={"training": trained.seed},
        counts=trained.counts,
        seconds=trained.seconds,
        details={"scores": trained.scores, "best": trained.best, "checkpoints": str(work_folder(Path(output)))},
    )
    for name, count in trained.counts.items():
        if count:
            print(f"{name.replace('_', ' '):<32} {count:,}")
    for name, score in trained.scores.items():
        print(f"{name.replace('_', ' '):<32} {score:.4f}")
    print(output)
    return 0


def _training(options: Options) -> RetrieverOptions:
    fields = RetrieverOptions.__dataclass_fields__
    return RetrieverOptions(**{name: getattr(options, name) for name in fields})


def _show(line: dict[str, float]) -> None:
    step = line["step"]
    shown = {name.removeprefix("eval_"): value for name, value in line.items() if name in SHOWN or "@" in name}
    if shown:
        say(f"step {step:g}: " + ", ".join(f"{name} {float(value):.4g}" for name, value in shown.items()))


SHOWN = ("loss", "learning_rate", "grad_norm", "train_loss")
"""What is shown of the log besides the dev set's measures."""
