"""`expandr index`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from expandr_ir.cli.arguments import Verb, parse

VERB = Verb(
    "index",
    "Build a collection's Lucene index, or find it in the cache; prints its folder and statistics.",
    "expandr index --collection demo\nexpandr index --collection beir/scifact --fields multifield",
)


@dataclass(frozen=True)
class Options:
    """Options of `expandr index`.

    Args:
        collection: a BEIR folder, irds:ID, or demo.
        fields: "flat" (title and text in one field) or "multifield" (in two).
        heap: most memory Java may take, such as "8g"; None takes a quarter of the machine's.
    """

    collection: str
    fields: Literal["flat", "multifield"] = "flat"
    heap: str | None = None


def run(argv: list[str]) -> int:
    """Builds the index and prints where it is."""
    from expandr_ir import jvm
    from expandr_ir.cli.progress import counting
    from expandr_ir.collection import load_collection
    from expandr_ir.lucene.indexing import cached_index

    options = parse(VERB, Options, argv)
    collection = load_collection(options.collection)
    jvm.start(options.heap)
    with counting("documents", collection.facts.documents) as on_progress:
        index = cached_index(collection, options.fields, on_progress)
    stats = index.stats()
    print(index.path)
    print(f"{stats.documents:,} documents ({stats.non_empty:,} with text), {stats.terms:,} terms")
    return 0
