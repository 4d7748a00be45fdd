"""How long a provider may try to deliver, so that nothing arrives in quiet hours (P6). Pure."""

from __future__ import annotations

from typing import Final

from worker.model import MINUTE_MS, SECOND_MS

CALL_MS_MAX: Final = MINUTE_MS
"""How long a provider's answer is waited for at most (settings: call_timeout), so how much later
than it was decided a message may be taken over."""

TTL_MS_MIN: Final = 5 * SECOND_MS
"""A provider must be given so long. Source: AWS End User Messaging, SendTextMessage, TimeToLive."""

NEEDED_MS: Final = 2 * CALL_MS_MAX + TTL_MS_MIN
"""Closer than this to quiet hours nothing is sent: a call may begin late, and may take its time."""

_STEPS_MS: Final = (15 * MINUTE_MS, MINUTE_MS, SECOND_MS)


def ttl_until(closes_ms: int | None, wall_ms: int, *, most_ms: int | None) -> int | None:
    """The time to live, in ms, of a message sent at `wall_ms` when quiet hours begin at `closes_ms`
    (None: not soon) and it may live for `most_ms` (None: as long as the provider likes).

    A little less than what is left, in few values: messages of one time to live may share a call.
    """
    if closes_ms is None:
        return most_ms
    left_ms = max(closes_ms - wall_ms - CALL_MS_MAX, TTL_MS_MIN)
    step_ms = next(step for step in _STEPS_MS if left_ms >= 4 * step)
    left_ms = left_ms // step_ms * step_ms
    return left_ms if most_ms is None else min(most_ms, left_ms)
