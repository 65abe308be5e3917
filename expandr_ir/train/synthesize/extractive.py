"""Queries without an LLM: a document's title, its key phrases, or one of its sentences, with words lost and moved."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from expandr_ir.errors import InputError
from expandr_ir.records import Document
from expandr_ir.train.synthesize.sample import whole_text
from expandr_ir.train.synthesize.words import folded, pieces, sentences, words

Kind: TypeAlias = Literal["title", "phrases", "sentence"]

FEW_DOCUMENTS = 20
"""Of fewer documents it cannot be told which words are common, and which are rare."""


@dataclass(frozen=True)
class ExtractiveOptions:
    """How queries are made without an LLM.

    Args:
        kinds: what of a document; a document's queries take them in an order of its own, again and again.
        phrases: most key phrases of a query.
        phrase_words: most words of a key phrase.
        sentence_words: most words of a sentence.
        common_share: a word that stands in more than this share of the documents says nothing.
        min_documents: a word that stands in fewer documents (a number, a slip of the pen) would find one at once, and
            teach nothing.
        dropout: share of the words that is lost.
        reorder: how far a word may move, in words; 0 keeps their order.
    """

    kinds: list[Kind] = field(default_factory=lambda: ["title", "phrases", "sentence"])
    phrases: int = 4
    phrase_words: int = 3
    sentence_words: int = 16
    common_share: float = 0.1
    min_documents: int = 2
    dropout: float = 0.1
    reorder: float = 2.0

    def __post_init__(self) -> None:
        for name in ("phrases", "phrase_words", "sentence_words", "min_documents"):
            if getattr(self, name) < 1:
                raise InputError(f"extractive.{name} is {getattr(self, name)}", expected="1 or more")
        if not self.kinds:
            raise InputError("extractive.kinds is empty", expected="some of title, phrases, sentence")
        if not 0 <= self.dropout < 1:
            raise InputError(f"extractive.dropout is {self.dropout}", expected="0 or more, below 1")
        if not 0 < self.common_share <= 1:
            raise InputError(f"extractive.common_share is {self.common_share}", expected="above 0, at most 1")
        if self.reorder < 0:
            raise InputError(f"extractive.reorder is {self.reorder}", expected="0 or more")


@dataclass(frozen=True)
class Frequencies:
    """In how many of `documents` documents each word stands."""

    counts: Counter[str]
    documents: int

    def idf(self, word: str) -> float:
        """ln((N + 1) / (n + 1/2)) for a word that n of N documents have: a word that none has is rarest."""
        return math.log((self.documents + 1) / (self.counts[word] + 0.5))

    def tells(self, word: str, options: ExtractiveOptions) -> bool:
        """Whether the word is neither too common nor too rare, where there are enough documents to tell."""
        if self.documents < FEW_DOCUMENTS:
            return True
        return options.min_documents <= self.counts[word] <= options.common_share * self.documents


def frequencies(documents: Iterable[Document]) -> Frequencies:
    """The document frequencies of all words, case folded."""
    counts: Counter[str] = Counter()
    total = 0
    for document in documents:
        counts.update(set(folded(whole_text(document))))
        total += 1
    return Frequencies(counts, total)


def extract(
    document: Document, count: int, known: Frequencies, options: ExtractiveOptions, seed: int
) -> Iterator[tuple[Kind, str]]:
    """Kind and text of a document's queries; fewer than `count` where no kind gives anything.

    They depend on the document, the seed and the frequencies alone.

    Args:
        document: what they ask for.
        count: how many.
        known: document frequencies in the corpus.
        options: how.
        seed: another seed gives other queries.
    """
    order = list(options.kinds)
    _random(seed, document.doc_id, "kinds").shuffle(order)
    made = 0
    for number in range(count * len(order)):
        kind = order[number % len(order)]
        chance = _random(seed, document.doc_id, f"{kind}:{number}")
        found = _of_kind(kind, document, known, options, chance)
        if found:
            yield kind, " ".join(perturbed(found, options.dropout, options.reorder, chance))
            made += 1
        if made == count:
            return


def perturbed(given: Sequence[str], dropout: float, reorder: float, chance: random.Random) -> list[str]:
    """The words, each lost with the probability `dropout` (one stays at least), the others moved a little.

    The order is that of place + u, u uniform in [0, reorder): no two words change places that are `reorder` or more
    apart (the noise of Lample et al. 2018, arXiv 1711.00043).
    """
    kept = [word for word in given if chance.random() >= dropout] or [given[chance.randrange(len(given))]]
    places = [place + chance.uniform(0, reorder) for place in range(len(kept))]
    return [kept[place] for place in sorted(range(len(kept)), key=places.__getitem__)]


def key_phrases(document: Document, known: Frequencies, options: ExtractiveOptions) -> list[list[str]]:
    """The document's phrases of words that tell something, by the sum of tf idf of their words, best first.

    Phrases that share a word with a better one are left out.
    """
    text = whole_text(document)
    tf = Counter(folded(text))
    scores: dict[tuple[str, ...], float] = {}
    spelled: dict[tuple[str, ...], list[str]] = {}
    for run in (run for piece in pieces(text) for run in _telling(piece, known, options)):
        for start in range(len(run)):
            for end in range(start + 1, min(start + options.phrase_words, len(run)) + 1):
                phrase = tuple(word.casefold() for word in run[start:end])
                spelled.setdefault(phrase, run[start:end])
                scores[phrase] = sum(tf[word] * known.idf(word) for word in phrase)
    best: list[list[str]] = []
    used: set[str] = set()
    for phrase in sorted(scores, key=lambda one: (-scores[one], one)):
        if used.isdisjoint(phrase) and len(set(phrase)) == len(phrase):
            used.update(phrase)
            best.append(spelled[phrase])
    return best


def _of_kind(
    kind: Kind, document: Document, known: Frequencies, options: ExtractiveOptions, chance: random.Random
) -> list[str]:
    if kind == "title":
        return words(document.title)
    if kind == "phrases":
        found = key_phrases(document, known, options)[: chance.randint(1, options.phrases)]
        return [word for phrase in found for word in phrase]
    ranked = sorted(sentences(document.text), key=lambda one: -_weight(one, known, options))[:3]
    if not ranked:
        return []
    chosen = words(chance.choice(ranked))
    spare = max(0, len(chosen) - options.sentence_words)
    start = chance.randint(0, spare)
    return chosen[start : start + options.sentence_words]


def _telling(piece: Sequence[str], known: Frequencies, options: ExtractiveOptions) -> Iterator[list[str]]:
    """The stretches of a piece whose words all tell something; single letters do not."""
    run: list[str] = []
    for word in piece:
        if not known.tells(word.casefold(), options) or (len(word) == 1 and word.isascii()):
            if run:
                yield run
            run = []
        else:
            run.append(word)
    if run:
        yield run


def _weight(sentence: str, known: Frequencies, options: ExtractiveOptions) -> float:
    """The mean idf of a sentence's words, those that tell nothing counted as 0; 0 for fewer than three words."""
    found = folded(sentence)
    telling = (known.idf(word) for word in found if known.tells(word, options))
    return sum(telling) / len(found) if len(found) > 2 else 0.0


def _random(seed: int, doc_id: str, what: str) -> random.Random:
    return random.Random(hashlib.sha256(f"extract:{seed}:{doc_id}:{what}".encode()).digest())  # noqa: S311
