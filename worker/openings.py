"""When windows of local hours are open, as instants to search in. Pure.

A look is cheap because the work is shared: what is open is kept per zone and week of UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, reduce
from typing import TypeAlias
from zoneinfo import ZoneInfo

from worker.model import DAY_MS, MINUTE_MS, SECOND_MS
from worker.rules.ruleset import OpenWeek
from worker.rules.zones import zone_named

SEARCH_MS_MAX = 8 * DAY_MS
"""How far ahead an open minute is searched; a hold that finds none is looked at again then."""
WEEK_MS = 7 * DAY_MS
WEEKS_CACHED_MAX = 1_024
OPENINGS_CACHED_MAX = 8_192
"""Weeks of one zone, and as many of several together: at most some 10 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Week:
    """One week's open hours; the same object for the same hours, so that it is cheap as a key."""

    days: OpenWeek


Placed: TypeAlias = tuple[tuple[tuple[Week, ...], tuple[str, ...]], ...]
"""Weeks, each with the zones in which all of them must be open; no zone: nobody knows."""
Instants: TypeAlias = tuple[int, ...]
"""Open and close by turns, ascending, in ms: open from the first to before the second, and so on.
None of them touch within a week of UTC; at the seam of two weeks they may."""


@lru_cache(maxsize=WEEKS_CACHED_MAX)
def week_of(days: OpenWeek) -> Week:
    """The one object for these hours."""
    return Week(days)


def first_open_ms(placed: Placed, now_ms: int) -> int:
    """When all of it is open: `now_ms` itself, or later; at the latest the end of the search."""
    end_ms = now_ms + SEARCH_MS_MAX
    for week in range(now_ms // WEEK_MS, end_ms // WEEK_MS + 1):
        instants = _all_open(placed, week)
        index = bisect_right(instants, now_ms)
        if index % 2:
            return now_ms
        if index < len(instants):
            return min(instants[index], end_ms)
    return end_ms


def first_closed_ms(placed: Placed, now_ms: int) -> int | None:
    """When that which is open now closes."""
    end_ms = now_ms + SEARCH_MS_MAX
    at_ms = now_ms
    for week in range(now_ms // WEEK_MS, end_ms // WEEK_MS + 1):
        instants = _all_open(placed, week)
        index = bisect_right(instants, at_ms)
        if not index % 2:
            return at_ms
        at_ms = instants[index]
        if at_ms < (week + 1) * WEEK_MS:
            return at_ms if at_ms < end_ms else None
    return None


# Nobody knows the zone: between 12:00 and 13:00 UTC it is day or evening from New York to Beijing,
# and the same day of the week nearly everywhere. All other hours are taken for night.
_MIDDAY = ((12 * 60, 13 * 60),)


@lru_cache(maxsize=OPENINGS_CACHED_MAX)
def _all_open(placed: Placed, week: int) -> Instants:
    """When all of it is open, within a week of UTC."""
    open_in = {
        _open(hours if names else _midday(hours), name, week)
        for weeks, names in placed
        for hours in weeks
        for name in names or ("UTC",)
    }
    return reduce(_common, open_in)


def _midday(hours: Week) -> Week:
    return week_of(tuple(_MIDDAY if spans else () for spans in hours.days))


def _common(one: Instants, other: Instants) -> Instants:
    """When both are open."""
    found: list[int] = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i], other[j]), min(one[i + 1], other[j + 1])
        if begin < end:
            found += (begin, end)
        if one[i + 1] <= other[j + 1]:
            i += 2
        else:
            j += 2
    return tuple(found)


@lru_cache(maxsize=OPENINGS_CACHED_MAX)
def _open(hours: Week, name: str, week: int) -> Instants:
    """When the wall clock of one zone shows open hours, within a week of UTC."""
    found: list[int] = []
    for begin_ms, end_ms, offset_ms in _steady(name, week):
        wall_ms = begin_ms + offset_ms
        for day in range(wall_ms // DAY_MS, (end_ms + offset_ms - 1) // DAY_MS + 1):
            midnight_ms = day * DAY_MS - offset_ms
            for begin, end in hours.days[(day + _EPOCH_WEEKDAY) % 7]:
                opens_ms = max(midnight_ms + begin * MINUTE_MS, begin_ms)
                closes_ms = min(midnight_ms + end * MINUTE_MS, end_ms)
                if opens_ms >= closes_ms:
                    continue
                if found and found[-1] == opens_ms:
                    found[-1] = closes_ms
                else:
                    found += (opens_ms, closes_ms)
    return tuple(found)


_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@lru_cache(maxsize=OPENINGS_CACHED_MAX)
def _steady(name: str, week: int) -> tuple[tuple[int, int, int], ...]:
    """A week of UTC in spans between clock changes: begin, end, and how far the zone is ahead of
    UTC meanwhile; all in ms."""
    zone = zone_named(name)
    begin_ms, end_ms = week * WEEK_MS, (week + 1) * WEEK_MS
    offset_ms = _offset_ms(zone, begin_ms // SECOND_MS)
    spans: list[tuple[int, int, int]] = []
    for day_ms in range(begin_ms, end_ms, DAY_MS):
        later_ms = _offset_ms(zone, (day_ms + DAY_MS) // SECOND_MS)
        if later_ms != offset_ms:
            changes_ms = _change_ms(zone, day_ms, day_ms + DAY_MS, offset_ms)
            spans.append((begin_ms, changes_ms, offset_ms))
            begin_ms, offset_ms = changes_ms, later_ms
    if begin_ms < end_ms:
        spans.append((begin_ms, end_ms, offset_ms))
    return tuple(spans)


def _change_ms(zone: ZoneInfo, after_ms: int, until_ms: int, offset_ms: int) -> int:
    """The clock change in (after, until], before which the zone is at `offset_ms`. Zones change on
    whole seconds, and never twice within a day."""
    low, high = after_ms // SECOND_MS, until_ms // SECOND_MS
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_ms(zone, middle) == offset_ms:
            low = middle
        else:
            high = middle
    return high * SECOND_MS


def _offset_ms(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset()
    assert offset is not None
    return offset.days * DAY_MS + offset.seconds * SECOND_MS
