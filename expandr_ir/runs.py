"""TREC runs: reading, writing, and the ranking as trec_eval sees it."""

from __future__ import annotations

import itertools
import math
import re
from array import array
from collections.abc import Container, Sequence
from pathlib import Path

from expandr_ir.errors import InputError
from expandr_ir.files import atomic_write, read_lines
from expandr_ir.records import Hits, Run

COLUMNS = "topic_id Q0 doc_id rank score tag"

_WHITESPACE = re.compile(r"[ \t\r\n\f\v]+")
_BLOCK = 1 << 20


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes a run in TREC format, one line a hit: `topic_id Q0 doc_id rank score tag`, the score with 6 decimals.

    Topics and hits keep their order; a topic without hits leaves no line. The file appears only when it is complete.

    Args:
        path: a name that ends in .gz is compressed.
        run: rankings, best first.
        tag: the last column, which names the system.

    Raises:
        InputError: an id or the tag is empty or has white space in it, a document occurs twice for one topic, a score
            is not finite or higher than the one before it: the file would not read back as this run.
    """
    _check_words([tag], "the tag")
    _check_words(list(run), "a topic id")
    for topic_id, hits in run.items():
        _check_hits(topic_id, hits)
    with atomic_write(path) as stream:
        for topic_id, hits in run.items():
            ranked = enumerate(zip(hits.doc_ids, hits.scores, strict=True), start=1)
            stream.writelines(f"{topic_id} Q0 {doc_id} {rank} {score:.6f} {tag}\n" for rank, (doc_id, score) in ranked)


def read_run(path: Path, topics: Container[str] | None = None) -> Run:
    """The run in a TREC file, plain or .gz: topics in the order of the file, hits by falling score.

    As in trec_eval, the score decides and the rank column is not looked at. Hits of equal score keep the order of the
    file, so that a written run reads back as it was; `as_trec_eval_ranks` orders them as trec_eval does.

    Args:
        path: the file.
        topics: the topic ids that may occur; None lets any occur.

    Raises:
        MissingResourceError: there is no such file.
        InputError: not 6 columns, a score that is no finite number, a document twice for one topic, a topic that is
            not among `topics`, or no line at all; the message names file and line.
    """
    run = _plainly(path, topics)
    run = _line_by_line(path, topics) if run is None else run
    return {topic_id: _by_score(hits) for topic_id, hits in run.items()}


def _plainly(path: Path, topics: Container[str] | None) -> Run | None:
    """The run of an uncompressed file that is as `write_run` writes it, in about half the time; else None."""
    if path.suffix == ".gz" or not path.is_file():
        return None
    run: Run = {}
    rest = b""
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            head, _, rest = (rest + block).rpartition(b"\n")
            if head and not _add_plainly(run, head, topics):
                return None
    if rest and not _add_plainly(run, rest, topics):
        return None
    unique = all(len(set(hits.doc_ids)) == len(hits) for hits in run.values())
    return run if run and unique else None


def _add_plainly(run: Run, block: bytes, topics: Container[str] | None) -> bool:
    """Adds whole lines to the run; False where one of them is not plain and well-formed."""
    words = block.split()
    if (
        len(words) != 6 * (block.count(b"\n") + 1)
        or not block.isascii()
        or b"\0" in block
        or set(words[1::6]) != {b"Q0"}
    ):
        return False
    try:
        scores = list(map(float, words[4::6]))
    except ValueError:
        return False
    doc_ids = b" ".join(words[2::6]).decode().split(" ")
    start = 0
    for word, same in itertools.groupby(words[0::6]):
        topic_id, end = word.decode(), start + sum(1 for _ in same)
        if topics is not None and topic_id not in topics:
            return False
        hits = run.setdefault(topic_id, Hits([], []))
        hits.doc_ids.extend(doc_ids[start:end])
        hits.scores.extend(scores[start:end])
        start = end
    return all(map(math.isfinite, scores))


def _line_by_line(path: Path, topics: Container[str] | None) -> Run:
    """The run of any file, hits in its order; errors name their line."""
    run: Run = {}
    seen: dict[str, set[str]] = {}
    for number, line in read_lines(path):
        columns = _columns(line)
        if len(columns) != 6:
            raise InputError(f"{path}, line {number}: {len(columns)} columns", expected=f"6 columns: {COLUMNS}")
        topic_id, _, doc_id, _, score, _ = columns
        if topic_id not in run:
            if topics is not None and topic_id not in topics:
                raise InputError(
                    f"{path}, line {number}: topic {topic_id!r} is not among the collection's topics",
                    expected="a run of this collection and split",
                    remedy="name the collection and split that the run was made with",
                )
            run[topic_id], seen[topic_id] = Hits([], []), set()
        if doc_id in seen[topic_id]:
            raise InputError(
                f"{path}, line {number}: document {doc_id!r} a second time for topic {topic_id!r}",
                expected="each document once for a topic",
            )
        seen[topic_id].add(doc_id)
        run[topic_id].doc_ids.append(doc_id)
        run[topic_id].scores.append(_score(score, path, number))
    if not run:
        raise InputError(f"{path} holds no line", expected=f"lines of 6 columns: {COLUMNS}")
    return run


def remove_own_document(run: Run) -> Run:
    """The run without hits whose document is the topic itself, as BEIR asks of collections whose topics are documents.

    The hits below move up by one rank; no hit is added at the end.
    """
    return {topic_id: _without(hits, topic_id) for topic_id, hits in run.items()}


def as_trec_eval_ranks(hits: Hits) -> Hits:
    """The hits in the order in which trec_eval evaluates them: scores as 32-bit floats, ties by falling document id.

    A score has then about 7 digits: 20.000002 and 20.000001 are equal, and the higher document id (by code points)
    comes first, whatever the order in the file.
    """
    singles = array("f", hits.scores)
    ranked = sorted(zip(singles, hits.doc_ids, strict=True), reverse=True)
    return Hits([doc_id for _, doc_id in ranked], [score for score, _ in ranked])


def run_names(paths: Sequence[Path]) -> list[str]:
    """A unique name for each run file: its name without .trec, .run, .txt and .gz, with its folders where that clashes.

    Raises:
        InputError: one file is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    for path, own in zip(paths, parts, strict=True):
        if parts.count(own) > 1:
            raise InputError(f"{path} is given twice", expected="each run once, and not the baseline again")
    names = [re.sub(r"(\.(trec|run|txt))?(\.gz)?$", "", path.name) for path in paths]
    for depth in itertools.count(1):
        if len(set(names)) == len(names):
            break
        names = ["/".join(own[-depth:]) for own in parts]
    return names


def _columns(line: str) -> list[str]:
    """The columns as C's isspace parts them: ids may hold white space of Unicode, such as a no-break space."""
    return line.split() if line.isascii() else _WHITESPACE.split(line.strip(" \t\r\n\f\v"))


def _score(text: str, path: Path, number: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{path}, line {number}: the score is {text!r}", expected="a finite number in column 5")
    return score


def _by_score(hits: Hits) -> Hits:
    if all(first >= second for first, second in itertools.pairwise(hits.scores)):
        return hits
    order = sorted(range(len(hits)), key=lambda at: -hits.scores[at])
    return Hits([hits.doc_ids[at] for at in order], [hits.scores[at] for at in order])


def _without(hits: Hits, doc_id: str) -> Hits:
    if doc_id not in hits.doc_ids:
        return hits
    kept = [hit for hit in hits if hit.doc_id != doc_id]
    return Hits([hit.doc_id for hit in kept], [hit.score for hit in kept])


def _check_words(words: Sequence[str], what: str) -> None:
    if _columns(" ".join(words)) != list(words):
        bad = next(word for word in words if _columns(word) != [word])
        raise InputError(f"{what} is {bad!r}", expected="one word: a TREC run is parted by white space")


def _check_hits(topic_id: str, hits: Hits) -> None:
    _check_words(hits.doc_ids, f"topic {topic_id!r}: a document id")
    if len(set(hits.doc_ids)) != len(hits.doc_ids):
        raise InputError(f"topic {topic_id!r}: a document occurs twice", expected="each document once for a topic")
    if not all(map(math.isfinite, hits.scores)):
        raise InputError(f"topic {topic_id!r}: a score is not finite", expected="finite scores")
    if any(first < second for first, second in itertools.pairwise(hits.scores)):
        raise InputError(f"topic {topic_id!r}: the scores rise", expected="hits by falling score, best first")
