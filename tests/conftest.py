"""Shared fixtures: where the real test data stands, and a home for caches that no test shares with a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real collections and expansions; unset skips, or fails under EXPANDR_REQUIRE_DATA=1."""
    where = os.environ.get("EXPANDR_TEST_DATA")
    if where and Path(where).is_dir():
        return Path(where)
    reason = f"EXPANDR_TEST_DATA is {where!r}: set it to the folder with beir/, classic/ and expansions/"
    if os.environ.get("EXPANDR_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """EXPANDR_HOME for the session, where none is set."""
    with pytest.MonkeyPatch.context() as patch:
        if "EXPANDR_HOME" not in os.environ:
            patch.setenv("EXPANDR_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def common_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EXPANDR_HOME that all processes of a session share: SciFact is encoded once, by the code under test."""
    folder = tmp_path_factory.getbasetemp()
    home = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "common_home"
    home.mkdir(exist_ok=True)
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest, by their timeouts, go first, so that two processes of whole files end together."""
    longest: dict[Path, float] = {}
    for item in items:
        timeout = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0), timeout.args[0] if timeout else 0)
    items.sort(key=lambda item: -longest[item.path])
