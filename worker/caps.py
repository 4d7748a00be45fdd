"""Per-user limits over all rules (P7): pure counting of the stages that already went out.

Counted are stages that were sent, may have been sent or are being sent; one stage to several
addresses counts once, and a stage that was rejected gives its slot back because it is not in the
list. The list comes from the claims, so a restart cannot reset it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worker.model import DAY_MS, PastSend, Reason
from worker.quiet import Zone, local_day_end_ms, local_day_start_ms
from worker.rules.limits import Cap, Limits, Window


class LimitHold(NamedTuple):
    """A limit in the way, the first instant it may be asked again, and the sends that fill it."""

    reason: Reason
    until_ms: int
    cap: Cap | None
    """None: it is the gap between two sends."""
    sends: tuple[PastSend, ...]


def hold_by_limits(
    limits: Limits, sends: Sequence[PastSend], now_ms: int, zone: Zone
) -> tuple[Reason, int] | None:
    """The limit that forbids another stage now, and the first instant it may be asked again.

    `zone` is where the user may be, for calendar days. Returns None when no limit is in the way;
    of several, the one that lasts longest.
    """
    hold = limit_in_the_way(limits, sends, now_ms, zone)
    return None if hold is None else (hold.reason, hold.until_ms)


def limit_in_the_way(
    limits: Limits, sends: Sequence[PastSend], now_ms: int, zone: Zone
) -> LimitHold | None:
    """What `hold_by_limits` answers, with the limit and the sends that fill it."""
    holds: list[LimitHold] = []
    if sends and limits.min_gap_ms:
        last = max(sends, key=lambda send: send.at_ms)
        free_ms = last.at_ms + limits.min_gap_ms
        if free_ms > now_ms:
            holds.append(LimitHold(Reason.MIN_GAP, free_ms, None, (last,)))
    for cap in limits.caps:
        since_ms = _counted_since_ms(cap, now_ms, zone)
        counted = [send for send in sends if send.at_ms >= since_ms]
        if len(counted) >= cap.max:
            counted.sort(key=lambda send: send.at_ms)
            until_ms = _counted_until_ms(cap, counted[-cap.max].at_ms, zone)
            holds.append(LimitHold(Reason.CAP, until_ms, cap, tuple(counted)))
    return max(holds, key=lambda hold: hold.until_ms, default=None)


def _counted_since_ms(cap: Cap, now_ms: int, zone: Zone) -> int:
    """Sends from this instant on count now."""
    if cap.window is Window.CALENDAR:
        return local_day_start_ms(zone, now_ms, cap.per_ms // DAY_MS)
    return now_ms - cap.per_ms + 1


def _counted_until_ms(cap: Cap, at_ms: int, zone: Zone) -> int:
    """A send at `at_ms` counts until before this instant."""
    if cap.window is Window.CALENDAR:
        return local_day_end_ms(zone, at_ms, cap.per_ms // DAY_MS)
    return at_ms + cap.per_ms
