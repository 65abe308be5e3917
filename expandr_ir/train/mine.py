"""Hard negatives of a collection's topics: what BM25 or an encoder ranks high and nobody judged relevant."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from expandr_ir.collection import Collection, load_collection
from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, sha256_json
from expandr_ir.records import Document, Qrels, Topic
from expandr_ir.retrieve.base import Counting, uncounted
from expandr_ir.train.rows import TrainingRow, row_json
from expandr_ir.train.scoring import BM25Source, Candidates, EncoderSource

Source = Literal["bm25", "dense"]


@dataclass(frozen=True)
class MineOptions:
    """How hard negatives are found.

    Args:
        collection: a BEIR folder, irds:ID, pyserini:NAME, or demo.
        split: whose topics and judgements.
        sources: bm25, dense, or both (repeat it); both give their documents in turn. None given is bm25.
        encoder: for dense, and to judge what BM25 found: a name of conf/encoders, a YAML file, a folder or a hub id.
        hits: documents of each source that are looked at.
        negatives: most negatives of a topic.
        skip: best hits of each source that are passed over.
        margin: a negative's score is at most this share of the lowest score of the topic's positives, both by the
            encoder (NV-Retriever, arXiv 2407.15831; Reinforced-IR has .95 too). Without an encoder nothing is judged.
        topics_at_once: topics searched together: what a killed run loses.
    """

    collection: str
    split: str = "train"
    sources: list[Source] = field(default_factory=list)
    encoder: str | None = None
    hits: int = 100
    negatives: int = 15
    skip: int = 0
    margin: float = 0.95
    topics_at_once: int = 500

    def __post_init__(self) -> None:
        for name in ("hits", "negatives", "topics_at_once"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", expected="1 or more")
        if not 0 <= self.skip < self.hits:
            raise InputError(f"skip is {self.skip} of {self.hits} hits", expected="0 or more, and below hits")
        if not 0 < self.margin <= 1:
            raise InputError(f"margin is {self.margin}", expected="a share above 0, at most 1")
        if "dense" in self.sources and not self.encoder:
            raise InputError("the source dense without an encoder", remedy="--encoder all-MiniLM-L6-v2")


@dataclass(frozen=True)
class Mined:
    """What was found.

    Args:
        topics: topics with a relevant document.
        without_relevant: topics left out, as none of their documents is relevant.
        negatives: of all topics.
        fewer: topics with fewer negatives than asked.
        none: topics without a negative.
        above_margin: candidates left out, as they score as high as a positive.
        copies: candidates left out, as they have a positive's text.
    """

    topics: int
    without_relevant: int
    negatives: int
    fewer: int
    none: int
    above_margin: int
    copies: int


def mine(options: MineOptions, output: Path, counting: Counting = uncounted) -> Mined:
    """What was found, after writing a training row for each topic that has a relevant document.

    Candidates are kept by id beside the output while it is made; a run that was killed goes on after them. Texts are
    looked up in one pass over the collection at the end.

    Args:
        options: how.
        output: a JSONL file that `expandr_ir.train.rows.read_rows` reads; rows have positive_ids, negative_ids and,
            with an encoder, negative_scores too.
        counting: shows how far it is.

    Raises:
        InputError: no such collection, split or encoder, no topic with a relevant document, or a begun run of other
            options.
    """
    collection = load_collection(options.collection)
    relevant = _relevant(collection, options.split)
    topics = collection.topics(options.split)
    asked = {topic_id: topic for topic_id, topic in topics.items() if relevant.get(topic_id)}
    if not asked:
        raise InputError(f"{options.collection}, split {options.split}: no topic has a relevant document")
    partial = output.with_name(f".{output.name}.partial")
    plan = sha256_json([asdict(options), collection.fingerprint(), sorted(asked)])
    found = _found_before(partial, plan)
    due = {topic_id: topic for topic_id, topic in asked.items() if topic_id not in found}
    if due:
        with counting("topics mined", len(asked)) as on_progress:
            search = _Search(collection, options, relevant, counting)
            for chunk in _chunks(due, options.topics_at_once):
                lines = search.mine(chunk)
                _append(partial, lines)
                found |= lines
                on_progress(len(found))
    written = _write(output, collection, asked, relevant, found, options)
    partial.unlink(missing_ok=True)
    return Mined(len(asked), len(topics) - len(asked), *written)


class _Search:
    """The sources, opened once."""

    def __init__(
        self, collection: Collection, options: MineOptions, relevant: Mapping[str, list[str]], counting: Counting
    ) -> None:
        sources = options.sources or ["bm25"]
        self._options, self._relevant = options, relevant
        self._own = collection.remove_own_document
        self._encoder = EncoderSource(collection, options.encoder, counting) if options.encoder else None
        self._bm25 = BM25Source(collection, options.hits, counting) if "bm25" in sources else None
        self._dense = "dense" in sources

    def mine(self, topics: Mapping[str, Topic]) -> dict[str, dict[str, Any]]:
        """The candidates of each topic by id, best first, with how many were above the margin."""
        rankings: list[Mapping[str, Sequence[str]]] = []
        if self._bm25 is not None:
            rankings.append(self._bm25.ranked(topics))
        candidates = self._encoder.of(topics) if self._encoder else None
        if candidates is not None and self._dense:
            rankings.append(candidates.ranked(self._options.hits))
        return {
            topic_id: self._of_topic(topic_id, [one[topic_id] for one in rankings], candidates) for topic_id in topics
        }

    def _of_topic(self, topic_id: str, rankings: list[Sequence[str]], candidates: Candidates | None) -> dict[str, Any]:
        skip, positives = self._options.skip, self._relevant[topic_id]
        left = set(positives) | ({topic_id} if self._own else set())
        turns = itertools.zip_longest(*(ranking[skip:] for ranking in rankings))
        ordered = [one for one in dict.fromkeys(itertools.chain.from_iterable(turns)) if one and one not in left]
        if candidates is None:
            return {"ids": ordered, "above_margin": 0}
        scores = candidates.scores(topic_id, [*positives, *ordered])
        known = [scores[doc_id] for doc_id in positives if doc_id in scores]
        if not known:
            raise InputError(f"topic {topic_id!r}: none of its relevant documents is in the collection")
        most = min(known) - (1 - self._options.margin) * abs(min(known))
        kept = [doc_id for doc_id in ordered if scores[doc_id] <= most]
        return {
            "ids": kept,
            "scores": [round(scores[doc_id], 6) for doc_id in kept],
            "above_margin": len(ordered) - len(kept),
        }


def _relevant(collection: Collection, split: str) -> dict[str, list[str]]:
    """The relevant documents of each topic of the split by any split's judgements, best grade first."""
    own = collection.qrels(split)
    merged: Qrels = {topic_id: dict(grades) for topic_id, grades in own.items()}
    for other in collection.splits():
        if other != split:
            for topic_id, grades in collection.qrels(other).items():
                if topic_id in merged:
                    merged[topic_id] = grades | merged[topic_id]
    return {
        topic_id: sorted((one for one, grade in grades.items() if grade > 0), key=lambda one: (-grades[one], one))
        for topic_id, grades in merged.items()
    }


def _write(
    output: Path, collection: Collection, topics: Mapping[str, Topic], relevant: Mapping[str, list[str]],
    found: Mapping[str, Mapping[str, Any]], options: MineOptions,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Writes the rows and returns negatives, topics with fewer and with none, candidates above the margin, copies."""
    spare = options.negatives + 5  # some may turn out to be copies of a positive
    wanted = {one for topic_id in topics for one in (*relevant[topic_id], *found[topic_id]["ids"][:spare])}
    texts = {one.doc_id: _text(one) for one in collection.documents() if one.doc_id in wanted}
    counts: Counter[str] = Counter()
    with atomic_write(output) as stream:
        for topic_id, topic in topics.items():
            positive_ids = [one for one in relevant[topic_id] if texts.get(one)]
            if not positive_ids:
                raise InputError(f"topic {topic_id!r}: its relevant documents are missing or empty", expected="texts")
            positives = {texts[one] for one in positive_ids}
            line = found[topic_id]
            kept = [one for one in line["ids"][:spare] if texts[one] and texts[one] not in positives]
            counts["copies"] += sum(texts[one] in positives for one in line["ids"][:spare])
            kept = kept[: options.negatives]
            row = TrainingRow(topic_id, topic.text, tuple(dict.fromkeys(texts[one] for one in positive_ids)),
                              tuple(texts[one] for one in kept))  # fmt: skip
            scores = dict(zip(line["ids"], line.get("scores", []), strict=False))
            extra = {"positive_ids": positive_ids, "negative_ids": kept}
            if scores:
                extra["negative_scores"] = [scores[one] for one in kept]
            stream.write(json.dumps(row_json(row) | extra, ensure_ascii=False) + "\n")
            counts["negatives"] += len(kept)
            counts["fewer"] += len(kept) < options.negatives
            counts["none"] += not kept
            counts["above"] += line["above_margin"]
    return counts["negatives"], counts["fewer"], counts["none"], counts["above"], counts["copies"]


def _text(document: Document) -> str:
    return f"{document.title} {document.text}".strip()


def _found_before(partial: Path, plan: str) -> dict[str, dict[str, Any]]:
    """What a killed run left; a line that is not whole is not there."""
    if not partial.is_file():
        _append(partial, {"": {"plan": plan}})
        return {}
    found: dict[str, dict[str, Any]] = {}
    whole = 0
    for line in partial.read_bytes().splitlines(keepends=True):
        try:
            found |= json.loads(line)
        except ValueError:
            break
        whole += len(line)
    if found.pop("", {}).get("plan") != plan:
        raise InputError(
            f"{partial} was begun with other options or another collection",
            expected="the same options, so that it goes on",
            remedy=f"delete {partial}",
        )
    with partial.open("r+b") as stream:
        stream.truncate(whole)
    return found


def _append(partial: Path, lines: Mapping[str, Mapping[str, Any]]) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps({topic_id: line}) + "\n" for topic_id, line in lines.items())


def _chunks(topics: Mapping[str, Topic], size: int) -> Iterator[dict[str, Topic]]:
    pending: Iterable[tuple[str, Topic]] = iter(topics.items())
    while chunk := dict(itertools.islice(pending, size)):
        yield chunk
