"""Queries without an LLM: a document's title, its key phrases, or one of its sentences, with words lost and moved."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from expandr_ir.errors import InputError, check_fields
from expandr_ir.records import Document
from expandr_ir.train.data.documents import WORD, folded, whole_text, words

Kind: TypeAlias = Literal["title", "phrases", "sentence"]

FEW_DOCUMENTS = 20
"""Of fewer documents it cannot be told which words are common, and which are rare."""

_PIECE = re.compile(rf"(?:{WORD.pattern})(?:\s*(?:{WORD.pattern}))*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")


@dataclass(frozen=True)
class ExtractiveOptions:
    """Options of queries without an LLM.

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
        check_fields(self, "phrases", "phrase_words", "sentence_words", "min_documents", prefix="extractive.", least=1)
        check_fields(self, "dropout", prefix="extractive.", least=0, below=1)
        check_fields(self, "common_share", prefix="extractive.", above=0, most=1)
        check_fields(self, "reorder", prefix="extractive.", least=0)
        if not self.kinds:
            raise InputError("extractive.kinds is empty", expected="some of title, phrases, sentence")


class Extractor:
    """Makes queries of documents' own words, whose frequencies are those in the background's documents."""

    def __init__(self, background: Iterable[Document], options: ExtractiveOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        self.counts: Counter[str] = Counter()
        self.documents = 0
        for document in background:
            self.documents += 1
            self.counts.update(set(folded(whole_text(document))))

    def queries(self, document: Document, count: int) -> Iterator[tuple[Kind, str]]:
        """Kind and text of a document's queries; fewer than `count` where no kind gives anything."""
        order = list(self.options.kinds)
        self._random(document, "kinds").shuffle(order)
        made = 0
        for number in range(count * len(order)):
            kind = order[number % len(order)]
            chance = self._random(document, f"{kind}:{number}")
            if query := self._words(kind, document, chance):
                yield kind, " ".join(perturb(query, self.options.dropout, self.options.reorder, chance))
                made += 1
            if made == count:
                return

    def idf(self, word: str) -> float:
        """ln((N + 1) / (n + 1/2)) for a word that n of N documents have: a word that none has is rarest."""
        return math.log((self.documents + 1) / (self.counts[word] + 0.5))

    def tells(self, word: str) -> bool:
        """Reports a word that is neither too common nor too rare, where there are enough documents to tell."""
        if self.documents < FEW_DOCUMENTS:
            return True
        return self.options.min_documents <= self.counts[word] <= self.options.common_share * self.documents

    def key_phrases(self, document: Document) -> list[list[str]]:
        """The document's phrases of telling words, best sum of tf idf first; none shares a word with a better one."""
        text = whole_text(document)
        tf = Counter(folded(text))
        scores: dict[tuple[str, ...], float] = {}
        spelled: dict[tuple[str, ...], list[str]] = {}
        for run in (run for piece in pieces(text) for run in self._telling_runs(piece)):
            for start in range(len(run)):
                for end in range(start + 1, min(start + self.options.phrase_words, len(run)) + 1):
                    phrase = tuple(word.casefold() for word in run[start:end])
                    spelled.setdefault(phrase, run[start:end])
                    scores[phrase] = sum(tf[word] * self.idf(word) for word in phrase)
        best: list[list[str]] = []
        used: set[str] = set()
        for phrase in sorted(scores, key=lambda phrase: (-scores[phrase], phrase)):
            if used.isdisjoint(phrase) and len(set(phrase)) == len(phrase):
                used.update(phrase)
                best.append(spelled[phrase])
        return best

    def _words(self, kind: Kind, document: Document, chance: random.Random) -> list[str]:
        if kind == "title":
            return words(document.title)
        if kind == "phrases":
            phrases = self.key_phrases(document)[: chance.randint(1, self.options.phrases)]
            return [word for phrase in phrases for word in phrase]
        ranked = sorted(sentences(document.text), key=lambda sentence: -self._weight(sentence))[:3]
        if not ranked:
            return []
        sentence = words(chance.choice(ranked))
        start = chance.randint(0, max(0, len(sentence) - self.options.sentence_words))
        return sentence[start : start + self.options.sentence_words]

    def _telling_runs(self, piece: Sequence[str]) -> list[list[str]]:
        """The stretches of a piece whose words all tell something; single letters do not."""

        def tells(word: str) -> bool:
            return self.tells(word.casefold()) and not (len(word) == 1 and word.isascii())

        return [list(run) for is_telling, run in itertools.groupby(piece, tells) if is_telling]

    def _weight(self, sentence: str) -> float:
        """The mean idf of a sentence's words, those that tell nothing counted as 0; 0 for fewer than three words."""
        words = folded(sentence)
        return sum(self.idf(word) for word in words if self.tells(word)) / len(words) if len(words) > 2 else 0.0

    def _random(self, document: Document, purpose: str) -> random.Random:
        digest = hashlib.sha256(f"extract:{self.seed}:{document.doc_id}:{purpose}".encode()).digest()
        return random.Random(digest)  # noqa: S311


def perturb(query: Sequence[str], dropout: float, reorder: float, chance: random.Random) -> list[str]:
    """The words, each lost with the probability `dropout` (one stays at least), the others moved a little."""
    query = [word for word in query if chance.random() >= dropout] or [query[chance.randrange(len(query))]]
    # the noise of Lample et al. 2018, arXiv 1711.00043: no two words change places that are `reorder` or more apart
    places = [place + chance.uniform(0, reorder) for place in range(len(query))]
    return [query[place] for place in sorted(range(len(query)), key=places.__getitem__)]


def pieces(text: str) -> list[list[str]]:
    """The words between two marks of punctuation, for each stretch of the text."""
    return [words(match[0]) for match in _PIECE.finditer(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, its line breaks taken for blanks."""
    return [part for part in _SENTENCE_END.split(" ".join(text.split())) if part.strip()]
