"""Query vectors in the forms that stock Pyserini reads, so that it searches with them without any code of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expandr_ir.errors import InputError
from expandr_ir.io.files import atomic_write
from expandr_ir.io.topics import write_topics_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_encoded_queries(folder: str | Path, texts: Mapping[str, str], vectors: NDArray[np.float32]) -> Path:
    """Writes embedding.pkl into a folder, for `python -m pyserini.search.faiss --encoded-queries FOLDER`.

    `vectors`, of shape (n_topics, dim), are in the order of `texts`, topic_id -> text. Pyserini finds a vector by the
    topic's text: search with the same topics, unexpanded.
    """
    if "bpr" in str(folder):
        raise InputError(
            f"{folder}: Pyserini takes encoded queries in a path with 'bpr' for those of a BPR encoder",
            expected="another name of the folder",
        )
    rows: dict[str, tuple[str, NDArray[np.float32]]] = {}
    for (topic_id, text), vector in zip(texts.items(), vectors, strict=True):
        twin, other = rows.setdefault(text, (topic_id, vector))
        if (other != vector).any():
            raise InputError(
                f"the topics {twin!r} and {topic_id!r} have the same text, {text!r}, and different vectors",
                expected="one vector for a text: Pyserini finds it by nothing else",
            )
    import pandas as pd

    columns = {"id": list(texts), "text": list(texts.values()), "embedding": list(vectors)}
    path = Path(folder) / "embedding.pkl"
    with atomic_write(path, "wb") as stream:
        pd.DataFrame(columns, dtype=object).to_pickle(stream)
    return path


def write_vector_topics(path: str | Path, topic_ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Writes topics whose texts are vectors, for `python -m pyserini.search.lucene --dense --flat --topics PATH`.

    `path` ends in .json; `vectors`, of shape (n_topics, dim), are in the order of the ids.
    """
    texts = {topic_id: json.dumps(row) for topic_id, row in zip(topic_ids, vectors.tolist(), strict=True)}
    write_topics_json(path, texts)
