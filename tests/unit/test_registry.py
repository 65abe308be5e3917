"""Names lead to this package's objects, imported late, and to those of installed packages."""

import sys

import pytest

from expandr_ir.errors import InputError, NotInstalledError
from expandr_ir.registry import find, names

BUILTIN = {"ordered": "collections:OrderedDict", "late": "not_there_at_all:Thing"}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed distribution with three entry points of the group `expandr_ir.things`."""
    (tmp_path / "my_plugin.py").write_text("class Mine:\n    pass\n")
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[expandr_ir.things]\nmine = my_plugin:Mine\nordered = my_plugin:Mine\nbroken = my_plugin:Gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_plugin", None)


def test_a_builtin_is_imported_when_it_is_found():
    assert find("expandr_ir.things", "ordered", BUILTIN).__name__ == "OrderedDict"
    assert names("expandr_ir.things", BUILTIN) == ["late", "ordered"]  # nothing was imported for it


def test_an_entry_point_is_found_and_replaces_no_builtin(plugin):
    assert find("expandr_ir.things", "mine", BUILTIN).__name__ == "Mine"
    assert find("expandr_ir.things", "ordered", BUILTIN).__name__ == "OrderedDict"
    assert names("expandr_ir.things", BUILTIN) == ["broken", "late", "mine", "ordered"]


def test_an_unknown_name_suggests_the_nearest_of_all(plugin):
    with pytest.raises(InputError, match="unknown thing 'mime'") as caught:
        find("expandr_ir.things", "mime", BUILTIN)
    assert caught.value.remedy == "mine"
    with pytest.raises(InputError, match="unknown engine 'x'"):
        find("expandr_ir.things", "x", BUILTIN, kind="engine")


def test_a_broken_entry_point_names_its_package(plugin):
    with pytest.raises(NotInstalledError, match="'broken' of my-plugin cannot be loaded") as caught:
        find("expandr_ir.things", "broken", BUILTIN)
    assert caught.value.expected == "my_plugin:Gone"
