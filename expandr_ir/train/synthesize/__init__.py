"""Queries from a corpus that nobody has asked: drawn documents, queries made of them, and what is fit of these."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from expandr_ir.collection import Collection
from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.expand import ProgressHook
from expandr_ir.prompts import load_prompt
from expandr_ir.records import Document, Topic
from expandr_ir.retrieve import SearchOptions, plain, search
from expandr_ir.retrieve.base import Counting, uncounted
from expandr_ir.train.split import part_of
from expandr_ir.train.synthesize import asked as asking
from expandr_ir.train.synthesize.checks import Candidate, Reason, sift
from expandr_ir.train.synthesize.desk import Desk, desk
from expandr_ir.train.synthesize.extractive import extract, frequencies
from expandr_ir.train.synthesize.options import SynthesizeOptions
from expandr_ir.train.synthesize.sample import Stratum, Survey, documents_at, draw, lowest, survey

BACKGROUND = 50_000
"""Documents whose words' frequencies are counted: of more, those with the lowest hashes."""


@dataclass(frozen=True)
class Drawn:
    """The documents that queries are made of.

    Args:
        collection: where they come from.
        survey: of the whole corpus.
        strata: shortest documents first.
        documents: in the corpus's order.
    """

    collection: Collection
    survey: Survey
    strata: tuple[Stratum, ...]
    documents: tuple[Document, ...]

    def counts(self) -> dict[str, int]:
        """Documents of the corpus, left out by reason, and drawn."""
        return {
            "documents": self.survey.documents,
            "documents_short": self.survey.short,
            "documents_duplicate": self.survey.duplicates,
            "documents_drawn": len(self.documents),
        }


@dataclass(frozen=True)
class Synthesized:
    """What came of it.

    Args:
        kept: the queries that are fit.
        dropped: the others, each with its reason.
        seconds: by stage.
        spent: what the LLM's texts cost; None without one.
    """

    kept: tuple[Candidate, ...]
    dropped: tuple[tuple[Candidate, Reason], ...]
    seconds: Mapping[str, float]
    spent: asking.Spent | None

    def reasons(self) -> dict[str, int]:
        """How many queries were dropped for each reason that occurs, most frequent first."""
        return dict(Counter(reason for _, reason in self.dropped).most_common())


def draw_documents(collection: Collection, options: SynthesizeOptions) -> Drawn:
    """The documents that queries are made of.

    Raises:
        InputError: fewer than two documents are different and long enough.
    """
    found = survey(collection.documents(), options.min_words, options.seed)
    if len(found.numbers) < 2:
        raise InputError(
            f"{collection.spec}: of {found.documents} documents {found.short} have fewer than {options.min_words} words"
            f" and {found.duplicates} are duplicates; {len(found.numbers)} is left",
            expected="at least two different documents: nothing can be learned of one",
            remedy="--min-words 1" if found.short else "a corpus of different documents",
        )
    places, strata = draw(found, options.documents, options.strata)
    return Drawn(collection, found, tuple(strata), tuple(documents_at(collection.documents, places)))


def extracted(drawn: Drawn, options: SynthesizeOptions) -> list[Candidate]:
    """The queries that are made without an LLM, in the documents' order."""
    background = lowest(drawn.survey, BACKGROUND)
    known = frequencies(documents_at(drawn.collection.documents, background))
    return [
        Candidate(document, text, {"kind": kind})
        for document in drawn.documents
        for kind, text in extract(document, options.queries, known, options.extractive, options.seed)
    ]


def synthesize(
    drawn: Drawn,
    config: GeneratorConfig | None,
    options: SynthesizeOptions,
    on_progress: ProgressHook | None = None,
    counting: Counting = uncounted,
) -> Synthesized:
    """The queries that are fit, and the others with their reasons.

    Args:
        drawn: the documents.
        config: the LLM; None makes queries of the documents' own words.
        options: how.
        on_progress: as in `expand`.
        counting: shows how far indexing is.

    Raises:
        InputError: a prompt or generator that does not fit.
        ExpandrError: the generator fails, or no query is left.
    """
    clock = _Clock()
    if config is None:
        fit, dropped = sift(extracted(drawn, options), options)
        clock.lap("write")
        spent = None
    else:
        spent = asking.Spent()
        with desk(drawn.documents, config, options) as at:
            written, failed = asking.write(at.plans, at.generator, at.store, spent, on_progress)
            clock.lap("write")
            fit, dropped = sift(written, options)
            dropped = failed + dropped
            if options.quality and fit:
                fit, bad = _judged(fit, at, options, spent, on_progress)
                dropped += bad
                clock.lap("judge")
    if options.round_trip is not None and fit:
        found = found_documents(drawn.collection, fit, options.round_trip, counting)
        dropped += [(one, "not_found") for one in fit if one.topic_id not in found]
        fit = [one for one in fit if one.topic_id in found]
        clock.lap("round_trip")
    result = Synthesized(tuple(fit), tuple(dropped), clock.seconds, spent)
    if not fit:
        raise _nothing_left(result)
    return result


def found_documents(
    collection: Collection, queries: Sequence[Candidate], hits: int, counting: Counting = uncounted
) -> set[str]:
    """The topic ids of the queries whose documents BM25 finds among the first `hits`."""
    topics = [Topic(one.topic_id, one.text) for one in queries]
    run = search(plain(topics), collection, SearchOptions(hits=hits, own_document="keep"), counting).run
    return {one.topic_id for one in queries if one.document.doc_id in run[one.topic_id].doc_ids}


def parts_of(kept: Sequence[Candidate], dev_share: float, seed: int) -> dict[str, list[Candidate]]:
    """The queries that are train and, where there is a share for it, dev, by the hashes of the queries.

    Raises:
        ExpandrError: a part has none.
    """
    shares = {"dev": dev_share, "train": 1 - dev_share} if dev_share else {"train": 1.0}
    parts: dict[str, list[Candidate]] = {"train": [], "dev": []} if dev_share else {"train": []}
    for one in kept:
        parts[part_of(one.text, shares, seed) or "train"].append(one)
    for name, own in parts.items():
        if not own:
            raise ExpandrError(
                f"none of the {len(kept)} queries is {name}",
                expected="queries in each part",
                remedy="more queries (--documents, --queries), or another --dev-share; 0 makes no dev",
            )
    return parts


def strata_rows(drawn: Drawn) -> list[dict[str, int]]:
    """The strata as plain data, for a manifest."""
    return [asdict(one) for one in drawn.strata]


def _judged(
    fit: Sequence[Candidate], at: Desk, options: SynthesizeOptions, spent: asking.Spent, hook: ProgressHook | None
) -> tuple[list[Candidate], list[tuple[Candidate, Reason]]]:
    prompt = load_prompt(options.quality_prompt)
    plan = asking.judge_plan(fit, prompt, at.judge, at.judging, at.store)
    good: list[Candidate] = []
    bad: list[tuple[Candidate, Reason]] = []
    for one, reason in asking.judge(fit, plan, at.judge, at.store, spent, hook):
        if reason is None:
            good.append(one)
        else:
            bad.append((one, reason))
    return good, bad


_REMEDIES = {
    "failed": "the same command tries again",
    "empty": "look at dropped.jsonl: another prompt, or another LLM",
    "too_short": "--min-query-words 1, or another prompt",
    "too_long": "--max-query-words 80, or an LLM that follows its prompt",
    "copied": "an LLM that follows its prompt, or --copied-share 1 where documents are short",
    "duplicate": "an LLM that looks at the document, or --generator.decoding.temperature 1",
    "near_duplicate": "--near-duplicate 1, or a corpus of different documents",
    "bad": "another prompt or LLM, or no --quality",
    "no_verdict": "--quality-generator with an LLM that follows its prompt, or no --quality",
    "not_found": "--round-trip 100, or null; BM25 analyses English here",
}


def _nothing_left(result: Synthesized) -> ExpandrError:
    reasons = result.reasons()
    if not reasons:
        return ExpandrError(
            "the documents gave no query", expected="titles, sentences or words", remedy="--extractive.kinds phrases"
        )
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    first = next(one for one, reason in result.dropped if reason == next(iter(reasons)))
    said = first.origin.get("error") or first.text[:80]
    return ExpandrError(
        f"none of the {len(result.dropped)} queries is left: {counted}; such as {said!r} of document "
        f"{first.document.doc_id!r}",
        expected="at least one query that is fit",
        remedy=_REMEDIES[next(iter(reasons))],
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
