"""The indexes that Pyserini offers by name."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Literal

from expandr_ir.errors import MissingResourceError, unknown_name
from expandr_ir.jvm import LOCK, import_pyserini

_TABLES = {"index": "TF_INDEX_INFO", "FAISS index": "FAISS_INDEX_INFO"}


def prebuilt_index(name: str, kind: Literal["index", "FAISS index"]) -> Path:
    """The folder of the index that Pyserini offers by that name, downloaded by Pyserini where it is not in its cache.

    Args:
        name: Pyserini's name.
        kind: "index" is Lucene's, for BM25.

    Raises:
        InputError: Pyserini has no such index of this kind.
        MissingResourceError: it cannot be downloaded.
    """
    with LOCK:
        known = getattr(import_pyserini("pyserini.prebuilt_index_info"), _TABLES[kind])
        if name not in known:
            raise unknown_name(f"folder or Pyserini {kind}", name, known)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where Pyserini reports what it downloads
                return Path(import_pyserini("pyserini.util").download_prebuilt_index(name, verbose=False))
        except (OSError, ValueError, AssertionError) as error:
            raise MissingResourceError(
                f"Pyserini's index {name} is not on this machine, and could not be downloaded ({error})",
                expected=f"a network that reaches {known[name]['urls'][0]}",
                remedy="fetch and unpack it where there is one, then: --index FOLDER",
            ) from error
