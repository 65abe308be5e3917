"""Waiting and trying again, with a clock and dice of the test's own."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandr_ir.generators.retry import TransientError, backoff_s, read_retry_after, with_retries

pytestmark = pytest.mark.flash


def run(outcomes, *, max_attempts=6, draw=0.5):
    """The result of with_retries over the outcomes, with the seconds it slept."""
    slept, left = [], list(outcomes)

    async def attempt():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(seconds):
        slept.append(seconds)

    try:
        result = asyncio.run(with_retries(attempt, max_attempts=max_attempts, sleep=sleep, draw=lambda: draw))
    except TransientError as error:
        result = error
    return result, slept


def test_success_waits_for_nothing():
    assert run(["done"]) == ("done", [])


def test_waits_double_from_half_a_second():
    fault = TransientError("busy")
    # .5 x 2^(k-1) x (1 + .5)/2 = .375, .75, 1.5
    assert run([fault, fault, fault, "done"]) == ("done", [0.375, 0.75, 1.5])


def test_the_last_error_is_raised_without_another_wait():
    faults = [TransientError(str(number)) for number in range(3)]
    result, slept = run(faults, max_attempts=3)
    assert result is faults[2]
    assert len(slept) == 2


def test_a_server_that_asks_to_wait_is_not_asked_sooner():
    assert run([TransientError("busy", 7.0), "done"]) == ("done", [7.0])
    assert run([TransientError("busy", 0.1), "done"]) == ("done", [0.375])


def test_a_wait_of_more_than_five_minutes_is_not_waited():
    result, slept = run([TransientError("come back tomorrow", 86_400.0), "never reached"])
    assert str(result) == "come back tomorrow"
    assert slept == []


def test_other_errors_pass_through():
    with pytest.raises(KeyError):
        run([KeyError("x")])


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_between_half_and_all_of_its_step(attempt, draw):
    step = min(30.0, 0.5 * 2.0 ** min(attempt - 1, 50))
    assert step / 2 <= backoff_s(attempt, draw) <= step


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.25", 0.25),
        ("-5", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert read_retry_after(header, now=1445412480.0) == seconds  # Wed, 21 Oct 2015 07:28:00 GMT
