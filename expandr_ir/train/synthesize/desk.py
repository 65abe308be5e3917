"""The LLMs that write queries and judge them, opened with the store and the plan of what is to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from expandr_ir.config import GeneratorConfig, generator_config
from expandr_ir.expand import Plan
from expandr_ir.generators import Generator, load_generator
from expandr_ir.pipeline import ExpandOptions, opened
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Decoding, Document
from expandr_ir.store import Store
from expandr_ir.train.synthesize import asked as asking
from expandr_ir.train.synthesize.options import SynthesizeOptions


@dataclass(frozen=True)
class Desk:
    """Who writes and judges, where to, and what is to be written.

    Args:
        generator: writes the queries.
        judge: says whether they are fit.
        judging: how the judge samples, but for temperature and length.
        store: the expansion store.
        plans: of the queries, with what each topic stands for.
    """

    generator: Generator
    judge: Generator
    judging: Decoding
    store: Store
    plans: Sequence[tuple[Plan, Mapping[str, asking.Asked]]]

    def forecast(self) -> dict[str, int]:
        """What writing the queries would take; verdicts are not counted, since there are no queries yet."""
        plans = [one for one, _ in self.plans]
        return {
            "stored": sum(one.stored for one in plans),
            "to generate": sum(len(one.due) for one in plans),
            "of these failed before": sum(one.failed for one in plans),
            "refused before": sum(one.refused for one in plans),
            "prompt tokens, about": sum(one.prompt_tokens(self.generator) for one in plans),
            "new tokens, at most": sum(one.most_new_tokens() for one in plans),
        }


@contextmanager
def desk(documents: Sequence[Document], config: GeneratorConfig, options: SynthesizeOptions) -> Iterator[Desk]:
    """Generators and store, opened, with the plan of the queries; closed at the end of the block.

    Raises:
        InputError: an unknown prompt or generator, or a prompt that does not fit.
    """
    prompts = [load_prompt(name) for name in options.prompts]
    asking.check_prompts(prompts)
    shown = [asking.cut(document, options.max_characters) for document in documents]
    asked = asking.assign(shown, asking.manners(prompts), options.queries, options.seed)
    judging = generator_config(options.quality_generator) if options.quality_generator else config
    with opened(config, ExpandOptions(store=options.store)) as (generator, store):
        other = load_generator(judging) if options.quality and options.quality_generator else None
        try:
            more = {"retry_refused": options.retry_refused, "batch_samples": options.batch_samples}
            planned = asking.plans(asked, generator, config.decoding, store, **more)
            yield Desk(generator, other or generator, judging.decoding, store, planned)
        finally:
            if other is not None:
                other.close()
