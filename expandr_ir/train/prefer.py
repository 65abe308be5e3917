"""From training rows to preferences: draw queries, write candidates and answers, compare, reward, select."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.config import GeneratorConfig, generator_config
from expandr_ir.errors import InputError
from expandr_ir.generators import load_generator
from expandr_ir.pipeline import ExpandOptions, opened, prompt_of
from expandr_ir.prompts import Prompt, load_prompt
from expandr_ir.records import Decoding, Topic
from expandr_ir.retrieve import SearchOptions
from expandr_ir.retrieve.base import Counting, uncounted
from expandr_ir.store import Store
from expandr_ir.train.candidates import Drafts, Writer, Written, draft
from expandr_ir.train.corpus_ranks import CorpusRanks, corpus_ranks
from expandr_ir.train.prefer_options import PreferOptions
from expandr_ir.train.preferences import Scored, Selected, comparable, score, select
from expandr_ir.train.rewards import Evidence
from expandr_ir.train.rows import TrainingRow, distinct_queries
from expandr_ir.train.similarities import Compared, Similarities, encoder_provenance, similarities
from expandr_ir.train.split import subsample

if TYPE_CHECKING:
    from expandr_ir.encoders import Encoder


@dataclass(frozen=True)
class Drawn:
    """The rows that are used.

    Args:
        rows: of distinct queries.
        read: rows there were.
        duplicates: further rows of a query, left out.
    """

    rows: tuple[TrainingRow, ...]
    read: int
    duplicates: int


def draw(rows: Iterable[TrainingRow], options: PreferOptions) -> Drawn:
    """The queries that are used, each by its first row.

    Raises:
        InputError: no rows, or two queries with one id.
    """
    distinct, duplicates = distinct_queries(rows)
    if not distinct:
        raise InputError("there are no rows", expected="at least one row with query and positive")
    kept = subsample(distinct, options.queries, options.seed)
    return Drawn(tuple(kept), len(distinct) + duplicates, duplicates)


@dataclass(frozen=True)
class Desk:
    """Who writes, where to, and what is planned.

    Args:
        writer: of the candidates.
        answerer: of the answers; None where no reward needs them.
        store: the expansion store.
        drafts: what is to be written.
    """

    writer: Writer
    answerer: Writer | None
    store: Store
    drafts: Drafts


@contextmanager
def desk(rows: Sequence[TrainingRow], config: GeneratorConfig, options: PreferOptions) -> Iterator[Desk]:
    """Generators and store, opened, with the plans of what is to be written; closed at the end of the block.

    Raises:
        InputError: an unknown prompt or generator, or options that do not fit each other.
    """
    own = ExpandOptions(prompt=options.prompt, store=options.store)
    with opened(config, own) as (generator, store):
        writer = Writer(generator, prompt_of(config, own), _decoding(config, options))
        answerer, other = None, None
        if "answer" in options.evidence():
            answers = generator_config(options.answer_generator) if options.answer_generator else config
            other = load_generator(answers) if options.answer_generator else None
            decoding = replace(_decoding(answers, options), temperature=options.answer_temperature)
            answerer = Writer(other or generator, load_prompt(options.answer_prompt), decoding)
        try:
            drafts = draft(
                rows,
                writer,
                options.temperatures,
                options.samples,
                store,
                answerer,
                retry_refused=options.retry_refused,
                batch_samples=options.batch_samples,
            )
            yield Desk(writer, answerer, store, drafts)
        finally:
            if other is not None:
                other.close()


def forecast(desk: Desk) -> dict[str, int]:
    """What writing would take: samples that are stored and due, and tokens."""
    plans = desk.drafts.plans
    generators = [desk.writer.generator] * len(desk.drafts.candidates)
    generators += [desk.answerer.generator] if desk.answerer else []
    pairs = list(zip(plans, generators, strict=True))
    return {
        "queries": len(desk.drafts.rows),
        "stored": sum(plan.stored for plan in plans),
        "to generate": sum(len(plan.due) for plan in plans),
        "of these failed before": sum(plan.failed for plan in plans),
        "refused before": sum(plan.refused for plan in plans),
        "prompt tokens, about": sum(plan.prompt_tokens(generator) for plan, generator in pairs),
        "new tokens, at most": sum(plan.most_new_tokens() for plan in plans),
    }


def open_reward_encoder(options: PreferOptions) -> Encoder | None:
    """The encoder that the options name, with their roles; None where no text is compared.

    Raises:
        InputError, MissingResourceError, NotInstalledError: as `encoders.load_encoder`.
    """
    if not options.evidence() - {"corpus"}:
        return None
    from expandr_ir.retrieve.dense import open_encoder

    return open_encoder(None, _search_options(options))


def compare_and_select(
    written: Sequence[Written],
    encoder: Encoder | None,
    folder: Path,
    options: PreferOptions,
    counting: Counting = uncounted,
) -> tuple[list[Scored], Selected]:
    """The rewarded queries, and the preferences among them.

    Args:
        written: queries with candidates and answers.
        encoder: compares the texts; None where no reward needs it.
        folder: where finished batches are kept.
        options: rewards and filters.
        counting: shows how far it is.

    Raises:
        ExpandrError: a vector, similarity or reward that is not finite.
    """
    kept, dropped = comparable(written, options)
    scored = score(kept, _evidence(kept, encoder, folder, options, counting), options)
    return scored, select(scored, dropped, options)


def provenance(desk: Desk, encoder: Encoder | None, options: PreferOptions) -> dict[str, Any]:
    """What the preferences depend on besides the rows, as plain data."""
    answerer = desk.answerer
    return {
        "generator": asdict(desk.writer.generator.id),
        "prompt": _prompt(desk.writer.prompt),
        "decoding": _plain(desk.writer.decoding) | {"temperatures": options.temperatures, "samples": options.samples},
        "answers": None
        if answerer is None
        else {
            "generator": asdict(answerer.generator.id),
            "prompt": _prompt(answerer.prompt),
            "decoding": asdict(answerer.decoding),
        },
        "encoder": None if encoder is None else {"name": options.encoder} | encoder_provenance(encoder),
        "compare": asdict(options.compare),
        "rewards": options.rewards,
        "reward": asdict(options.reward),
        "corpus": asdict(options.corpus) if "corpus" in options.evidence() else None,
    }


def _evidence(
    written: Sequence[Written], encoder: Encoder | None, folder: Path, options: PreferOptions, counting: Counting
) -> list[Evidence]:
    wanted = options.evidence()
    found: list[Similarities | None] = [None] * len(written)
    if encoder is not None:
        compared = [
            Compared(
                one.row.query,
                one.row.positives,
                one.answer.text if one.answer and "answer" in wanted else None,
                tuple(candidate.text for candidate in one.candidates),
            )
            for one in written
        ]
        with counting("texts encoded", None) as on_progress:
            found = [
                *similarities(
                    compared, encoder, folder, options.compare, with_query="query" in wanted, on_progress=on_progress
                )
            ]
    ranked: list[CorpusRanks | None] = [None] * len(written)
    if "corpus" in wanted:
        topics = [Topic(one.row.row_id, one.row.query) for one in written]
        texts = [[candidate.text for candidate in one.candidates] for one in written]
        search = _search_options(options)
        ranked = [*corpus_ranks(topics, texts, options.corpus, folder, search=search, counting=counting)]
    return [
        Evidence(
            positive=None if own is None else own.positive,
            answer=None if own is None else own.answer,
            query=None if own is None else own.query,
            corpus=None if ranks is None else ranks.ranks,
            grades=None if ranks is None else ranks.grades,
        )
        for own, ranks in zip(found, ranked, strict=True)
    ]


def _search_options(options: PreferOptions) -> SearchOptions:
    return SearchOptions(
        encoder=options.encoder,
        expansion_role=options.expansion_role,
        expansion_prefix=options.expansion_prefix,
        encode=options.encode,
    )


def _decoding(config: GeneratorConfig, options: PreferOptions) -> Decoding:
    """How the generator samples, with what the options say in place of its own."""
    named: Mapping[str, Any] = {
        name: getattr(options, name) for name in ("top_p", "max_new_tokens", "repetition_penalty")
    }
    return replace(config.decoding, **{name: value for name, value in named.items() if value is not None})


def _prompt(prompt: Prompt) -> dict[str, str]:
    return {"id": f"{prompt.id}@{prompt.version}", "sha256": prompt.sha256}


def _plain(decoding: Decoding) -> dict[str, Any]:
    return {name: value for name, value in asdict(decoding).items() if name != "temperature"}
