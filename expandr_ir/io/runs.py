"""TREC runs: the object, its file, and the ranking as trec_eval sees it."""

from __future__ import annotations

import html
import itertools
import math
import re
from array import array
from collections.abc import Container, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandr_ir.errors import InputError
from expandr_ir.io.files import atomic_write, read_lines
from expandr_ir.io.manifest import write_manifest
from expandr_ir.records import Hits, Rankings

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = "topic_id Q0 doc_id rank score tag"

_WHITESPACE = re.compile(r"[ \t\r\n\f\v]+")
_BLOCK = 1 << 20


@dataclass(repr=False, eq=False)
class Run(dict[str, Hits]):
    """Rankings by topic_id, best hit first, and their origin.

    Args:
        rankings: topic_id -> hits.
        name: retriever and aggregation, such as "bm25-repeat" or "rrf(bm25-repeat,dense-mean)".
        details: of each retriever, such as its index and the BM25 parameters in force.
        seconds: wall time by retriever and stage ("bm25 search"), without opening, building and encoding; and
            "generate", the wall time that the generation of the expansions took, where known.
        counts: "topics", "topics_searched_alone" (their expansions are empty), "topics_without_hits",
            "own_documents_removed".
        tokens: of the expansions, "in" and "out", where known.
    """

    rankings: InitVar[Mapping[str, Hits] | None] = None
    _: KW_ONLY
    name: str = "run"
    details: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def __post_init__(self, rankings: Mapping[str, Hits] | None) -> None:
        super().__init__(rankings or {})

    def save(
        self,
        path: str | Path,
        *,
        tag: str | None = None,
        options: Any = None,
        inputs: Mapping[str, str | Path | None] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> Path:
        """Writes the TREC run and, last, the manifest beside it.

        Args:
            path: a name that ends in .gz is compressed.
            tag: the last column, which names the system; None is the run's name.
            options: the options that made it, for the manifest.
            inputs: files by role, for the manifest.
            counts: further counts, for the manifest.

        Raises:
            InputError: an id, score or tag that the file could not hold, see `write_run`.
        """
        path = Path(path)
        write_run(path, self, tag or self.name)
        write_manifest(
            path,
            options=options,
            inputs=inputs,
            counts=self.counts | dict(counts or {}),
            seconds=self.seconds,
            tokens=self.tokens,
            details={"name": self.name} | self.details,
        )
        return path

    def to_frame(self) -> pd.DataFrame:
        """A row for each hit: topic_id, doc_id, rank (from 1), score."""
        import pandas as pd

        rows = [(topic_id, hit.doc_id, hit.rank, hit.score) for topic_id, hits in self.items() for hit in hits]
        return pd.DataFrame(rows, columns=["topic_id", "doc_id", "rank", "score"])

    def __repr__(self) -> str:
        return f"<Run {self.name}: {len(self):,} topics, {sum(map(len, self.values())):,} hits>"

    def _repr_html_(self) -> str:
        head = Run({topic_id: Hits(hits.doc_ids[:3], hits.scores[:3]) for topic_id, hits in [*self.items()][:3]})
        return f"<p>{html.escape(repr(self))}</p>{head.to_frame().to_html(index=False)}"


def write_run(path: Path, run: Mapping[str, Hits], tag: str) -> None:
    """Writes a run in TREC format, `topic_id Q0 doc_id rank score tag`, in its order, the score with 6 decimals.

    A run that the file could not hold is an error: white space in an id or the tag, a document twice for a topic, a
    score that is not finite or higher than the one before it.
    """
    _check_words([tag], "the tag")
    _check_words(list(run), "a topic id")
    for topic_id, hits in run.items():
        _check_hits(topic_id, hits)
    with atomic_write(path) as stream:
        for topic_id, hits in run.items():
            ranked = enumerate(zip(hits.doc_ids, hits.scores, strict=True), start=1)
            stream.writelines(f"{topic_id} Q0 {doc_id} {rank} {score:.6f} {tag}\n" for rank, (doc_id, score) in ranked)


def read_run(path: str | Path, topics: Container[str] | None = None) -> Run:
    """The run in a TREC file, plain or .gz: topics in the order of the file, hits by falling score.

    As in trec_eval, the rank column is not looked at. Hits of equal score keep the order of the file, so that a saved
    run reads back as it was; `as_trec_eval_ranks` orders them as trec_eval does.

    Args:
        path: the file.
        topics: the topic ids that may occur; None lets any occur.

    Raises:
        MissingResourceError: there is no such file.
        InputError: not 6 columns, a score that is no finite number, a document twice for one topic, a topic that is
            not among `topics`, or no line; the message names file and line.
    """
    path = Path(path)
    run = _plainly(path, topics)
    run = _line_by_line(path, topics) if run is None else run
    rankings = {topic_id: _by_score(hits) for topic_id, hits in run.items()}
    return Run(rankings, name=run_names([path])[0])


def _plainly(path: Path, topics: Container[str] | None) -> Rankings | None:
    """The run of an uncompressed file that is as `write_run` writes it, in about half the time; else None."""
    if path.suffix == ".gz" or not path.is_file():
        return None
    run: Rankings = {}
    with path.open("rb") as stream:
        while lines := stream.readlines(_BLOCK):
            block = b"".join(lines)
            words = block.split()
            if len(words) != 6 * len(lines) or not block.isascii() or b"\0" in block or set(words[1::6]) != {b"Q0"}:
                return None
            try:
                scores = list(map(float, words[4::6]))
            except ValueError:
                return None
            doc_ids = b" ".join(words[2::6]).decode().split(" ")
            start = 0
            for word, same in itertools.groupby(words[0::6]):
                topic_id, end = word.decode(), start + sum(1 for _ in same)
                if topics is not None and topic_id not in topics:
                    return None
                hits = run.setdefault(topic_id, Hits([], []))
                hits.doc_ids.extend(doc_ids[start:end])
                hits.scores.extend(scores[start:end])
                start = end
    valid = all(len(set(hits.doc_ids)) == len(hits) and all(map(math.isfinite, hits.scores)) for hits in run.values())
    return run if run and valid else None


def _line_by_line(path: Path, topics: Container[str] | None) -> Rankings:
    """The run of any file, hits in its order; errors name their line."""
    run: Rankings = {}
    doc_ids: dict[str, set[str]] = {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        columns = _columns(line)
        if len(columns) != 6:
            raise InputError(f"{where}: {len(columns)} columns", expected=f"6 columns: {COLUMNS}")
        topic_id, _, doc_id, _, score, _ = columns
        if topic_id not in run:
            if topics is not None and topic_id not in topics:
                raise InputError(
                    f"{where}: topic {topic_id!r} is not among the collection's topics",
                    expected="a run of this collection and split",
                    remedy="name the collection and split that the run was made with",
                )
            run[topic_id], doc_ids[topic_id] = Hits([], []), set()
        if doc_id in doc_ids[topic_id]:
            raise InputError(
                f"{where}: document {doc_id!r} a second time for topic {topic_id!r}",
                expected="each document once for a topic",
            )
        doc_ids[topic_id].add(doc_id)
        run[topic_id].doc_ids.append(doc_id)
        run[topic_id].scores.append(_score(score, where))
    if not run:
        raise InputError(f"{path} holds no line", expected=f"lines of 6 columns: {COLUMNS}")
    return run


def remove_own_document(run: Mapping[str, Hits]) -> Rankings:
    """The run without hits whose document is the topic itself, as BEIR requires; no hit is added at the end."""
    cleared: Rankings = {}
    for topic_id, hits in run.items():
        others = [hit for hit in hits if hit.doc_id != topic_id] if topic_id in hits.doc_ids else None
        cleared[topic_id] = hits if others is None else Hits([h.doc_id for h in others], [h.score for h in others])
    return cleared


def as_trec_eval_ranks(hits: Hits) -> Hits:
    """The hits in trec_eval's order: by score as a 32-bit float (about 7 digits), ties by falling document id."""
    singles = array("f", hits.scores)
    ranked = sorted(zip(singles, hits.doc_ids, strict=True), reverse=True)
    return Hits([doc_id for _, doc_id in ranked], [score for score, _ in ranked])


def run_names(paths: Sequence[Path]) -> list[str]:
    """A unique name for each run file: its name without .trec, .run, .txt and .gz, with its folders where needed."""
    parts = [path.resolve().parts for path in paths]
    if repeated := next((path for path, folders in zip(paths, parts, strict=True) if parts.count(folders) > 1), None):
        raise InputError(f"{repeated} is given twice", expected="each run once, and not the baseline again")
    names = [re.sub(r"(\.(trec|run|txt))?(\.gz)?$", "", path.name) for path in paths]
    for depth in itertools.count(1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(folders[-depth:]) for folders in parts]
    return names


def _columns(line: str) -> list[str]:
    """The columns as C's isspace parts them: ids may hold white space of Unicode, such as a no-break space."""
    return line.split() if line.isascii() else _WHITESPACE.split(line.strip(" \t\r\n\f\v"))


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{where}: the score is {text!r}", expected="a finite number in column 5")
    return score


def _by_score(hits: Hits) -> Hits:
    if all(first >= second for first, second in itertools.pairwise(hits.scores)):
        return hits
    order = sorted(range(len(hits)), key=lambda at: -hits.scores[at])
    return Hits([hits.doc_ids[at] for at in order], [hits.scores[at] for at in order])


def _check_words(words: Sequence[str], noun: str) -> None:
    if _columns(" ".join(words)) != list(words):
        bad = next(word for word in words if _columns(word) != [word])
        raise InputError(f"{noun} is {bad!r}", expected="one word: white space separates the columns of a TREC run")


def _check_hits(topic_id: str, hits: Hits) -> None:
    _check_words(hits.doc_ids, f"topic {topic_id!r}: a document id")
    if len(set(hits.doc_ids)) != len(hits.doc_ids):
        raise InputError(f"topic {topic_id!r}: a document occurs twice", expected="each document once for a topic")
    if not all(map(math.isfinite, hits.scores)):
        raise InputError(f"topic {topic_id!r}: a score is not finite", expected="finite scores")
    if any(first < second for first, second in itertools.pairwise(hits.scores)):
        raise InputError(f"topic {topic_id!r}: the scores rise", expected="hits by falling score, best first")
