from __future__ import annotations

import pytest

from expandr_ir.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s.sqlite") as opened:
        yield opened
