"""An error says what was found, what was expected and what to type."""

import math
from types import SimpleNamespace

import pytest

from expandr_ir import errors

pytestmark = pytest.mark.flash


def test_the_three_parts_stand_on_lines_of_their_own():
    error = errors.InputError("found this", expected="that", remedy="type this")
    assert str(error) == "found this\nExpected: that\nTry: type this"


def test_an_unknown_name_suggests_the_nearest():
    error = errors.unknown_name("aggregation", "repaet", ["repeat", "append", "none"])
    assert str(error) == "unknown aggregation 'repaet'\nExpected: one of append, none, repeat\nTry: repeat"
    assert errors.unknown_name("aggregation", "zzz", ["none"]).remedy is None


def test_every_error_has_the_exit_code_of_the_house_rules():
    kinds = (kind for kind in errors.ExpandrError.__subclasses__() if kind.__module__ == errors.__name__)
    codes = {kind.__name__: kind.exit_code for kind in kinds}
    assert codes == {
        "ComparisonFailedError": 1,
        "InputError": 2,
        "NotInstalledError": 3,
        "MissingResourceError": 4,
        "PartlyDoneError": 7,
    }
    assert errors.ExpandrError.exit_code == 6


def test_foreign_text_cannot_drive_the_terminal():
    error = errors.InputError("the server says \x1b[2J\x1b]0;x\x07", expected="a\u202eb", remedy="c\x9b31m\ud800")
    assert str(error) == "the server says  [2J ]0;x \nExpected: a b\nTry: c 31m "
    assert errors.InputError("two\nlines\tשלום é").found == "two\nlines\tשלום é"


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "expected"),
    [
        ({"least": 1}, [1, 9, None], [0, -1, math.nan], "1 or more"),
        ({"above": 0, "most": 1}, [0.1, 1], [0, 1.1, math.nan], "above 0, at most 1"),
        ({"least": 0, "below": 1}, [0, 0.9], [-0.1, 1], "0 or more, below 1"),
    ],
)
def test_a_number_stays_in_its_range(limits, inside, outside, expected):
    for value in inside:
        errors.check_fields(SimpleNamespace(hits=value), "hits", **limits)
    for value in outside:
        with pytest.raises(errors.InputError, match=rf"dev.hits is {value}\nExpected: {expected}$"):
            errors.check_fields(SimpleNamespace(hits=value), "hits", prefix="dev.", **limits)
