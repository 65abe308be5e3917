"""Trying again: what may pass is waited for, exponentially longer each time and never in step with others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

FIRST_WAIT_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0


class TransientError(Exception):
    """An attempt failed in a way that may pass.

    Args:
        reason: what happened.
        retry_after_s: seconds the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(reason)


def backoff_s(attempt: int, draw: float) -> float:
    """Seconds to wait after the given attempt (from 1): min(30, .5 * 2^(attempt - 1)), half of it random.

    "Equal jitter" of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).

    Args:
        attempt: attempts made so far.
        draw: uniform in [0, 1).
    """
    longest = min(LONGEST_BACKOFF_S, FIRST_WAIT_S * 2.0 ** min(attempt - 1, 30))
    return longest * (1 + draw) / 2


def read_retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3): a number, or a date less `now`.

    None where there is no header or it cannot be read.

    Args:
        header: its value.
        now: seconds since the epoch.
    """
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    max_attempts: int,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    draw: Callable[[], float] = random.random,
) -> T:
    """What `attempt` returns, tried again after each TransientError.

    A server that asks to wait is not asked sooner; one that asks for more than 300 s is not asked again.

    Args:
        attempt: one try.
        max_attempts: most tries.
        sleep: waits.
        draw: uniform in [0, 1), for the jitter.

    Raises:
        TransientError: of the last attempt.
    """
    for tried in range(1, max_attempts + 1):
        try:
            return await attempt()
        except TransientError as error:
            asked = error.retry_after_s or 0.0
            if tried == max_attempts or asked > LONGEST_RETRY_AFTER_S:
                raise
            await sleep(max(asked, backoff_s(tried, draw())))
    raise ValueError(f"max_attempts is {max_attempts}; at least one is needed")
