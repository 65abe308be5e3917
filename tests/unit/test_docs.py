"""docs/architecture.md names files and functions; they are where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/architecture.md").read_text(encoding="utf-8")
CALL = re.compile(r"`([\w/]+\.py)`\s+`([\w.]+)`")


def test_files_of_the_page_exist():
    named = set(re.findall(r"`([\w/]+/[\w]+\.py)`", PAGE))
    assert len(named) > 25
    assert [name for name in sorted(named) if not (CHECKOUT / "expandr_ir" / name).is_file()] == []


@pytest.mark.parametrize(("file", "name"), sorted(set(CALL.findall(PAGE))))
def test_functions_of_the_page_are_in_their_files(file, name):
    code = (CHECKOUT / "expandr_ir" / file).read_text(encoding="utf-8")
    assert re.search(rf"(def|class) {name.rpartition('.')[2]}\b", code)
