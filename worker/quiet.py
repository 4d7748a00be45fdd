"""Quiet hours and calendar days in the user's own zone. Pure: `now` is a parameter.

Holds a due stage while a window is closed where the user may be (P6), and says where a user's
calendar day begins (P7). A zone that no endpoint names is taken from the country, then from the
phone number's prefix, then from the rule's fallback; when that leaves several zones, the strictest
of them holds. Zone data come from `rules.zones`.

A look is cheap because the work is shared: which windows match is kept per set of windows and facts
they ask for, and `openings` keeps when they are open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter

from worker.model import SECOND_MS, Channel, UserView
from worker.openings import Placed, Week, first_closed_ms, first_open_ms, week_of
from worker.rules.facts import PHONE_TYPES, match_facts
from worker.rules.ruleset import QuietHours
from worker.rules.zones import (
    UTC_MIDDAY,
    ZONES_CACHED_MAX,
    zone_named,
    zone_names,
    zones_of_country,
    zones_of_phone,
)

WINDOW_SETS_CACHED_MAX = 16
MATCHES_CACHED_MAX = 4_096

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
    hours = hours_of(view, channel, quiet_hours, timezone=timezone)
    return held_in(hours, now_ms) if hours else None


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
    hours = hours_of(view, channel, quiet_hours, timezone=timezone)
    return closes_in(hours, now_ms) if hours else None


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """The windows that match a user and a channel, with where the user may be."""

    groups: tuple[_Group, ...]
    placed: Placed


def hours_of(
    view: UserView,
    channel: Channel,
    quiet_hours: Sequence[QuietHours],
    *,
    timezone: str | None = None,
) -> Hours | None:
    """For `held_in` and `closes_in`, which answer what `hold_until` and `closes_ms` do, for who
    asks more than once. None: no window matches."""
    groups = _groups(view, channel, quiet_hours)
    if not groups:
        return None
    names = tuple([zone_of(view, g.assume, timezone or g.otherwise).names for g in groups])
    return _hours(groups, names)


def held_in(hours: Hours, now_ms: int) -> Held | None:
    """See `hold_until`."""
    until_ms = first_open_ms(hours.placed, now_ms)
    if until_ms == now_ms:
        return None
    return Held(until_ms, _closed_window(hours.groups, hours.placed, now_ms))


def closes_in(hours: Hours, now_ms: int) -> int | None:
    """See `closes_ms`."""
    return first_closed_ms(hours.placed, now_ms)


@lru_cache(maxsize=MATCHES_CACHED_MAX)
def _hours(groups: tuple[_Group, ...], names: tuple[tuple[str, ...], ...]) -> Hours:
    weeks = (group.weeks for group in groups)
    return Hours(groups, tuple(zip(weeks, names, strict=True)))


def _groups(
    view: UserView, channel: Channel, quiet_hours: Sequence[QuietHours]
) -> tuple[_Group, ...]:
    """The windows that match a user."""
    if not quiet_hours:
        return ()
    windows = _window_set(quiet_hours)
    return _matching(windows, match_facts(view, channel).several(windows.names))


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
    windows: tuple[tuple[QuietHours, Week], ...]
    weeks: tuple[Week, ...]


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


@lru_cache(maxsize=MATCHES_CACHED_MAX)
def _matching(windows: _WindowSet, values: tuple[tuple[str, ...], ...]) -> tuple[_Group, ...]:
    facts = dict(zip(windows.names, values, strict=True))
    groups: dict[tuple[tuple[str, ...], str], list[tuple[QuietHours, Week]]] = {}
    for window in windows.windows:
        if all(matcher.matches(facts) for matcher in window.matchers):
            found = groups.setdefault((window.assume, window.otherwise), [])
            found.append((window, week_of(window.open_week)))
    return tuple(
        _Group(assume, otherwise, tuple(found), tuple({week: None for _, week in found}))
        for (assume, otherwise), found in groups.items()
    )


def _closed_window(groups: Sequence[_Group], placed: Placed, now_ms: int) -> QuietHours:
    """Of the windows that are closed now, the one to tell; of equals that with most matchers."""
    if len(groups) == 1 and len(groups[0].windows) == 1:
        return groups[0].windows[0][0]
    for is_law in (True, False):
        closed: list[tuple[int, int, QuietHours]] = []
        for group, (_, names) in zip(groups, placed, strict=True):
            for window, week in group.windows:
                if window.is_law is is_law:
                    opens_ms = first_open_ms((((week,), names),), now_ms)
                    if opens_ms > now_ms:
                        closed.append((opens_ms, len(window.matchers), window))
        if closed:
            return max(closed, key=itemgetter(0, 1))[2]
    raise AssertionError("what is not open now is closed by a window")


def _midnight_ms(name: str, at_ms: int, days_later: int) -> int:
    """The beginning of the local day that lies `days_later` from that of `at_ms`."""
    zone = zone_named(name)
    day = datetime.fromtimestamp(at_ms // SECOND_MS, zone).date() + timedelta(days=days_later)
    # Where the clock skips midnight this names the instant of the skip; where midnight comes
    # twice, the first (PEP 495, fold=0).
    return int(datetime.combine(day, time.min, zone).timestamp()) * SECOND_MS
