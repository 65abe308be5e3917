"""What --download fetches: the data and recorded expansions that the selected conditions lack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from expandr_ir.files import home
from expandr_ir.regress.places import Places
from expandr_ir.regress.spec import Condition, Spec


def downloads_folder() -> Path:
    """Where downloads stand, and where they are always looked for."""
    return home() / "downloads"


def needed(chosen: Iterable[tuple[Spec, Sequence[Condition]]], places: Places, files: dict[str, str]) -> list[str]:
    """The names of the downloads that conditions need and that are not here yet.

    Args:
        chosen: conditions by collection.
        places: where is looked first.
        files: what can be downloaded: the file or folder that it becomes -> its name.
    """
    wanted: dict[str, None] = {}
    for spec, conditions in chosen:
        if places.source == "folder" and spec.folder and places.folder(spec) is None:
            wanted[f"beir/{spec.folder.partition('/')[0]}"] = None
        for condition in conditions:
            if condition.expansions and not spec.embedded and places.expansions_file(spec, condition) is None:
                wanted[f"expansions/{spec.expansions or spec.name}/{condition.expansions}"] = None
    return [files[file] for file in wanted if file in files]
