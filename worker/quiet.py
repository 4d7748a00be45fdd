"""Quiet hours and calendar days in the user's own zone. Pure: `now` is a parameter.

Holds a due stage while a window is closed where the user may be (P6), and says where a user's
calendar day begins (P7). A zone that no endpoint names is taken from the country, then from the
phone number's prefix, then from the rule's fallback; when that leaves several zones, the strictest
of them holds. Zone data come from `rules.zones`.

A look is cheap because the work is shared: which windows match is kept per set of windows and facts
they ask for, and when they are open is kept per zone and week of UTC, as instants to search in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache, reduce
from operator import itemgetter
from typing import TypeAlias
from zoneinfo import ZoneInfo

from worker.model import DAY_MS, MINUTE_MS, SECOND_MS, Channel, UserView
from worker.rules.facts import PHONE_TYPES, match_facts
from worker.rules.ruleset import OpenWeek, QuietHours
from worker.rules.zones import (
    UTC_MIDDAY,
    ZONES_CACHED_MAX,
    zone_named,
    zone_names,
    zones_of_country,
    zones_of_phone,
)

SEARCH_MS_MAX = 8 * DAY_MS
"""How far ahead an open minute is searched; a hold that finds none is looked at again then."""
WEEK_MS = 7 * DAY_MS
WINDOW_SETS_CACHED_MAX = 16
WEEKS_CACHED_MAX = 1_024
MATCHES_CACHED_MAX = 4_096
OPENINGS_CACHED_MAX = 8_192
"""Weeks of one zone, and as many of several together: at most some 10 MB."""

ASSUME_ALL = ("country", "phone_prefix")


class ZoneSource(StrEnum):
    """What a user's zone was taken from."""

    TIMEZONE = "timezone"
    COUNTRY = "country"
    PHONE_PREFIX = "phone_prefix"
    OTHERWISE = "else"


@dataclass(frozen=True, slots=True)
class Zone:
    """Where a user may be: one zone when it is known, several when only the country is, none when
    nothing is and the rule defers to noon in UTC."""

    names: tuple[str, ...]
    source: ZoneSource


def zone_of(
    view: UserView, assume: Sequence[str] = ASSUME_ALL, otherwise: str = UTC_MIDDAY
) -> Zone:
    """The user's zone: the newest endpoint with a valid IANA zone, else by `assume`, in its order,
    else `otherwise` (an IANA zone, or `defer_to_utc_midday` for none)."""
    for endpoint in reversed(view.endpoints):
        if endpoint.timezone in zone_names():
            return _zone_told(endpoint.timezone)
    for source in assume:
        names = _zones_assumed(view, ZoneSource(source))
        if names:
            return Zone(names, ZoneSource(source))
    return Zone(() if otherwise == UTC_MIDDAY else (otherwise,), ZoneSource.OTHERWISE)


@dataclass(frozen=True, slots=True)
class Held:
    """A message must wait: until when, and which window says so."""

    until_ms: int
    window: QuietHours


def hold_until(
    view: UserView,
    channel: Channel,
    now_ms: int,
    quiet_hours: Sequence[QuietHours],
    *,
    timezone: str | None = None,
) -> Held | None:
    """None when a message may go out now; else the first instant, in ms, at which it may.

    Every window that matches the user and the channel must be open, in every zone the user may be
    in. Windows go by the wall clock, so a clock change makes them shorter or longer. When no
    instant of the next `SEARCH_MS_MAX` is open, answers the end of that search: look again.

    The window told is one that is closed now: a legal one before any other, then the one that opens
    last, then the more particular one. `timezone` is the zone of users of whom nothing tells it; it
    goes before the fallback of the windows. Pass the same tuple of windows at every call: what is
    known of it is kept.
    """
    groups = _groups(view, channel, quiet_hours)
    if not groups:
        return None
    placed = _placed(view, groups, timezone)
    until_ms = _first_open_ms(placed, now_ms)
    if until_ms == now_ms:
        return None
    return Held(until_ms, _closed_window(groups, placed, now_ms))


def closes_ms(
    view: UserView,
    channel: Channel,
    now_ms: int,
    quiet_hours: Sequence[QuietHours],
    *,
    timezone: str | None = None,
) -> int | None:
    """The first instant after `now_ms` at which a message may no longer arrive, for one that may
    go out now (`hold_until` has nothing to say). None: not within the next `SEARCH_MS_MAX`.

    A provider that tries for longer would deliver at night (P6).
    """
    groups = _groups(view, channel, quiet_hours)
    return _first_closed_ms(_placed(view, groups, timezone), now_ms) if groups else None


def _groups(
    view: UserView, channel: Channel, quiet_hours: Sequence[QuietHours]
) -> tuple[_Group, ...]:
    """The windows that match a user."""
    if not quiet_hours:
        return ()
    windows = _window_set(quiet_hours)
    return _matching(windows, match_facts(view, channel).several(windows.names))


def _placed(view: UserView, groups: Sequence[_Group], timezone: str | None) -> _Placed:
    """Their open hours, each with the zones the user may be in."""
    places = [zone_of(view, group.assume, timezone or group.otherwise).names for group in groups]
    return tuple(zip((group.weeks for group in groups), places, strict=True))


def local_day_start_ms(zone: Zone, now_ms: int, days: int = 1) -> int:
    """When the `days` calendar days that end with today began for the user.

    Of several zones the earliest start is taken, which counts most sends; no zone means UTC. A
    send at or after this instant counts against a calendar cap.
    """
    return min(_midnight_ms(name, now_ms, 1 - days) for name in zone.names or ("UTC",))


def local_day_end_ms(zone: Zone, at_ms: int, days: int = 1) -> int:
    """When something at `at_ms` stops to count against a calendar cap of `days`: the other side of
    `local_day_start_ms`. Of several zones the latest is taken."""
    return max(_midnight_ms(name, at_ms, days) for name in zone.names or ("UTC",))


@lru_cache(maxsize=ZONES_CACHED_MAX)
def _zone_told(name: str) -> Zone:
    return Zone((name,), ZoneSource.TIMEZONE)


def _zones_assumed(view: UserView, source: ZoneSource) -> tuple[str, ...]:
    for endpoint in reversed(view.endpoints):
        names: tuple[str, ...] = ()
        if source is ZoneSource.COUNTRY:
            names = zones_of_country(endpoint.country or "")
        elif endpoint.channel_type in PHONE_TYPES:
            names = zones_of_phone(endpoint.address or "")
        if names:
            return names
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class _Week:
    """One week's open hours; the same object for the same hours, so that it is cheap as a key."""

    days: OpenWeek


@dataclass(frozen=True, slots=True, eq=False)
class _WindowSet:
    """Windows with the names of the facts their matchers ask for. Equal to itself only: to compare
    windows by value costs more than all else here."""

    windows: tuple[QuietHours, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Windows that look for the user's zone in the same way."""

    assume: tuple[str, ...]
    otherwise: str
    windows: tuple[tuple[QuietHours, _Week], ...]
    weeks: tuple[_Week, ...]


_Placed: TypeAlias = tuple[tuple[tuple[_Week, ...], tuple[str, ...]], ...]
"""Weeks, each with the zones in which all of them must be open; no zone: nobody knows."""
_Instants: TypeAlias = tuple[int, ...]
"""Open and close by turns, ascending, in ms: open from the first to before the second, and so on.
None of them touch within a week of UTC; at the seam of two weeks they may."""


_WINDOW_SETS: dict[int, _WindowSet] = {}
"""By the id of the tuple, which is no other object's as long as the set holds the tuple."""


def _window_set(quiet_hours: Sequence[QuietHours]) -> _WindowSet:
    known = _WINDOW_SETS.get(id(quiet_hours))
    if known is not None:
        return known
    names = {matcher.name for window in quiet_hours for matcher in window.matchers}
    windows = _WindowSet(tuple(quiet_hours), tuple(sorted(names)))
    if len(_WINDOW_SETS) >= WINDOW_SETS_CACHED_MAX:
        _WINDOW_SETS.clear()
    _WINDOW_SETS[id(windows.windows)] = windows
    return windows


@lru_cache(maxsize=WEEKS_CACHED_MAX)
def _week(days: OpenWeek) -> _Week:
    return _Week(days)


@lru_cache(maxsize=MATCHES_CACHED_MAX)
def _matching(windows: _WindowSet, values: tuple[tuple[str, ...], ...]) -> tuple[_Group, ...]:
    facts = dict(zip(windows.names, values, strict=True))
    groups: dict[tuple[tuple[str, ...], str], list[tuple[QuietHours, _Week]]] = {}
    for window in windows.windows:
        if all(matcher.matches(facts) for matcher in window.matchers):
            found = groups.setdefault((window.assume, window.otherwise), [])
            found.append((window, _week(window.open_week)))
    return tuple(
        _Group(assume, otherwise, tuple(found), tuple({week: None for _, week in found}))
        for (assume, otherwise), found in groups.items()
    )


def _closed_window(groups: Sequence[_Group], placed: _Placed, now_ms: int) -> QuietHours:
    """Of the windows that are closed now, the one to tell; of equals that with most matchers."""
    if len(groups) == 1 and len(groups[0].windows) == 1:
        return groups[0].windows[0][0]
    for is_law in (True, False):
        closed: list[tuple[int, int, QuietHours]] = []
        for group, (_, names) in zip(groups, placed, strict=True):
            for window, week in group.windows:
                if window.is_law is is_law:
                    opens_ms = _first_open_ms((((week,), names),), now_ms)
                    if opens_ms > now_ms:
                        closed.append((opens_ms, len(window.matchers), window))
        if closed:
            return max(closed, key=itemgetter(0, 1))[2]
    raise AssertionError("what is not open now is closed by a window")


def _first_open_ms(placed: _Placed, now_ms: int) -> int:
    """`now_ms` itself when all is open then; at the latest the end of the search."""
    end_ms = now_ms + SEARCH_MS_MAX
    for week in range(now_ms // WEEK_MS, end_ms // WEEK_MS + 1):
        instants = _all_open(placed, week)
        index = bisect_right(instants, now_ms)
        if index % 2:
            return now_ms
        if index < len(instants):
            return min(instants[index], end_ms)
    return end_ms


def _first_closed_ms(placed: _Placed, now_ms: int) -> int | None:
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
def _all_open(placed: _Placed, week: int) -> _Instants:
    """When all of it is open, within a week of UTC."""
    open_in = {
        _open(hours if names else _midday(hours), name, week)
        for weeks, names in placed
        for hours in weeks
        for name in names or ("UTC",)
    }
    return reduce(_common, open_in)


def _midday(hours: _Week) -> _Week:
    return _week(tuple(_MIDDAY if spans else () for spans in hours.days))


def _common(one: _Instants, other: _Instants) -> _Instants:
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
def _open(hours: _Week, name: str, week: int) -> _Instants:
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


def _midnight_ms(name: str, at_ms: int, days_later: int) -> int:
    """The beginning of the local day that lies `days_later` from that of `at_ms`."""
    zone = zone_named(name)
    day = datetime.fromtimestamp(at_ms // SECOND_MS, zone).date() + timedelta(days=days_later)
    # Where the clock skips midnight this names the instant of the skip; where midnight comes
    # twice, the first (PEP 495, fold=0).
    return int(datetime.combine(day, time.min, zone).timestamp()) * SECOND_MS
