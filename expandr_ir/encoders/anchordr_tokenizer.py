"""The tokenizer of AnchorDR and ExpandR_Retriever, which their checkpoints call FairseqT5Tokenizer.

It shares nothing with transformers' T5 tokenizer but the name: punctuation is set apart first, the text is lower-cased,
SentencePiece (sp.model) cuts it into pieces, and fairseq's dictionary (dict.txt) gives the pieces their ids, with <s>
in front and </s> behind. Read from the transformers fork in https://github.com/yiqingxyq/AnchorDR and from the model
release of METRO-T0 (https://github.com/gonglinyuan/metro_t0), whose pre-training it is.
"""

from __future__ import annotations

import re
import shutil
import string
import unicodedata
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizer

from expandr_ir.encoders.weights import read_json
from expandr_ir.errors import InputError
from expandr_ir.generators.base import require

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
ROLES = dict(
    zip(
        ("bos_token", "pad_token", "eos_token", "unk_token", "cls_token", "sep_token"),
        (*SPECIAL, "<s>", "</s>"),
        strict=True,
    )
)
LOOKALIKES = str.maketrans("‘’´“”—–", "'''\"\"--")
CLITIC = re.compile(r"' ([smdtSMDT]|ll|re|ve)\b")
CAPITAL_CLITIC = re.compile(r"' (LL|RE|VE)\b")


class FairseqTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """Texts to ids by sp.model and dict.txt.

    Args:
        sp_path: the SentencePiece model.
        dict_path: fairseq's dictionary, one "PIECE COUNT" a line; ids count from 4, after the special tokens.
        lower: lower-case the text.
        n_sentinel_tokens: how many <sen000>, <sen001>, ... follow the dictionary.
    """

    vocab_files_names = {"sp_path": "sp.model", "dict_path": "dict.txt"}  # noqa: RUF012  (a transformers hook)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self, sp_path: str, dict_path: str, *, lower: bool = True, n_sentinel_tokens: int = 0, **kwargs: Any
    ) -> None:
        self.sp_path, self.dict_path, self.lower = sp_path, dict_path, lower
        self._pieces = require("sentencepiece").SentencePieceProcessor(model_file=sp_path)
        sentinels = [f"<sen{number:03d}>" for number in range(n_sentinel_tokens)]
        self._symbols = [*SPECIAL, *_dictionary(Path(dict_path)), *sentinels]
        self._ids = {symbol: index for index, symbol in enumerate(self._symbols)}
        super().__init__(
            special_tokens_pattern="cls_sep", lower=lower, n_sentinel_tokens=n_sentinel_tokens, **ROLES, **kwargs
        )

    @classmethod
    def of_folder(cls, folder: Path) -> FairseqTokenizer:
        """The tokenizer in a model's folder; what tokenizer_config.json does not say is as AnchorDR's says it."""
        said = read_json(folder / "tokenizer_config.json") or {}
        return cls(
            str(folder / "sp.model"),
            str(folder / "dict.txt"),
            lower=said.get("lower", True),
            n_sentinel_tokens=said.get("n_sentinel_tokens", 512),
        )

    @property
    def vocab_size(self) -> int:
        """Special tokens, dictionary and sentinels."""
        return len(self._symbols)

    def get_vocab(self) -> dict[str, int]:
        """Every symbol with its id."""
        return dict(self._ids)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        pieces: list[str] = self._pieces.encode(set_apart(text, lower=self.lower), out_type=str)
        return pieces or [""]  # blanks alone are one unknown piece, as they were in training

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, SPECIAL.index("<unk>"))

    def _convert_id_to_token(self, index: int) -> str:
        return self._symbols[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The pieces as text; what was set apart and lower-cased stays so."""
        return "".join(tokens).replace("\u2581", " ").strip()

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copies sp.model and dict.txt into a folder and returns their paths."""
        start = f"{filename_prefix}-" if filename_prefix else ""
        targets = {name: Path(save_directory) / f"{start}{name}" for name in ("sp.model", "dict.txt")}
        for source, target in zip((self.sp_path, self.dict_path), targets.values(), strict=True):
            if Path(source).resolve() != target.resolve():
                shutil.copyfile(source, target)
        return tuple(str(target) for target in targets.values())


def set_apart(text: str, *, lower: bool) -> str:
    """The text with the punctuation around each word set apart by blanks, as the model's pre-training did it.

    Curly quotes and long dashes become plain ones, a word's leading and trailing punctuation words of their own
    ("(see it)." becomes "( see it )."), and a clitic is joined to its apostrophe again ("dogs' s" becomes "dogs 's").

    Args:
        text: any text.
        lower: lower-case it in the end.
    """
    plain = text.strip().replace("``", '"').replace("''", '"').translate(LOOKALIKES)
    words = " ".join(part for word in plain.split() for part in _parts(word))
    joined = CAPITAL_CLITIC.sub(r"'\1 ", CLITIC.sub(r"'\1", words))
    done = " ".join(joined.split())
    return done.lower() if lower else done


def _parts(word: str) -> list[str]:
    inside = [place for place, char in enumerate(word) if not _is_punctuation(char)]
    if not inside:
        return [word]
    start, end = inside[0], inside[-1] + 1
    return [part for part in (word[:start], word[start:end], word[end:]) if part]


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _dictionary(path: Path) -> list[str]:
    symbols: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        symbol, _, count = line.rstrip().rpartition(" ")
        if not symbol or not count.isdigit():
            raise InputError(f"{path}, line {number}: {line!r}", expected="a piece and its count")
        symbols.append(symbol)
    return symbols
