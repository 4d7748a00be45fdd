"""Quiet hours and calendar days in the user's own zone. Pure: `now` is a parameter.

Holds a due stage while it is night where the user may be (P6), and says where a user's calendar
day begins (P7). A zone that no endpoint names is taken from the country, then from the phone
number's prefix, then from the rule's fallback; when that leaves several zones, the strictest of
them holds. Zone data come from `rules.zones`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from worker.model import DAY_MS, MINUTE_MS, SECOND_MS, Channel, UserView
from worker.rules.facts import match_facts
from worker.rules.ruleset import QuietHours
from worker.rules.zones import (
    UTC_MIDDAY,
    zone_named,
    zone_names,
    zones_of_country,
    zones_of_phone,
)

SEARCH_MS_MAX = 8 * DAY_MS
"""How far ahead an open minute is searched; a hold that finds none is looked at again then."""
OPENINGS_CACHED_MAX = 4_096

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
            return Zone((endpoint.timezone,), ZoneSource.TIMEZONE)
    for source in assume:
        names = _zones_assumed(view, ZoneSource(source))
        if names:
            return Zone(names, ZoneSource(source))
    return Zone(() if otherwise == UTC_MIDDAY else (otherwise,), ZoneSource.OTHERWISE)


def hold_until(
    view: UserView, channel: Channel, now_ms: int, quiet_hours: Sequence[QuietHours]
) -> int | None:
    """None when a message may go out now; else the first instant, in ms, at which it may.

    Every window that matches the user and the channel must be open, in every zone the user may be
    in. Windows are [from, to) by the wall clock, so a clock change makes them shorter or longer.
    When no instant of the next `SEARCH_MS_MAX` is open, answers the end of that search: look again.
    """
    facts = match_facts(view, channel) if any(window.matchers for window in quiet_hours) else {}
    spans = {
        span
        for window in quiet_hours
        if all(matcher.matches(facts) for matcher in window.matchers)
        for span in _spans(window, zone_of(view, window.assume, window.otherwise))
    }
    open_ms = _first_open_ms(frozenset(spans), now_ms)
    return None if open_ms == now_ms else open_ms


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


class _Span(NamedTuple):
    """A daily quiet span in one zone, in minutes since midnight; may pass over midnight."""

    zone: str
    from_minute: int
    to_minute: int


# Nobody knows the zone: between 12:00 and 13:00 UTC it is day or evening from New York to Beijing.
# All other hours are taken for night.
_OPEN_AT_UTC_MIDDAY = _Span("UTC", 13 * 60, 12 * 60)


def _spans(window: QuietHours, zone: Zone) -> list[_Span]:
    if not zone.names:
        return [_OPEN_AT_UTC_MIDDAY]
    return [_Span(name, window.from_minute, window.to_minute) for name in zone.names]


def _zones_assumed(view: UserView, source: ZoneSource) -> tuple[str, ...]:
    for endpoint in reversed(view.endpoints):
        names: tuple[str, ...] = ()
        if source is ZoneSource.COUNTRY:
            names = zones_of_country(endpoint.country or "")
        elif endpoint.channel_type in ("SMS", "VOICE"):
            names = zones_of_phone(endpoint.address or "")
        if names:
            return names
    return ()


# Users looked at in one sweep share their instant and mostly their zones.
@lru_cache(maxsize=OPENINGS_CACHED_MAX)
def _first_open_ms(spans: frozenset[_Span], now_ms: int) -> int:
    at_ms, end_ms = now_ms, now_ms + SEARCH_MS_MAX
    while at_ms < end_ms:
        # No span is open before its own end, so the latest end is a step that misses nothing.
        latest_ms = max((_span_end_ms(span, at_ms) for span in spans), default=at_ms)
        if latest_ms == at_ms:
            return at_ms
        at_ms = latest_ms
    return end_ms


def _span_end_ms(span: _Span, at_ms: int) -> int:
    """The first instant from `at_ms` on that is outside the span."""
    zone = zone_named(span.zone)
    while left_ms := _quiet_left_ms(span, zone, at_ms):
        # A clock change on the way may end the span early, or put its end off; stop there and look
        # at the wall clock again.
        at_ms = _shift_ms(zone, at_ms, at_ms + left_ms)
    return at_ms


def _quiet_left_ms(span: _Span, zone: ZoneInfo, at_ms: int) -> int:
    """What the wall clock has left to the end of the span; 0 outside."""
    wall = datetime.fromtimestamp(at_ms // SECOND_MS, zone)
    second = (wall.hour * 60 + wall.minute) * 60 + wall.second
    wall_ms = second * SECOND_MS + at_ms % SECOND_MS
    from_ms, to_ms = span.from_minute * MINUTE_MS, span.to_minute * MINUTE_MS
    is_quiet = (wall_ms - from_ms) % DAY_MS < (to_ms - from_ms) % DAY_MS
    return (to_ms - wall_ms) % DAY_MS if is_quiet else 0


def _shift_ms(zone: ZoneInfo, after_ms: int, until_ms: int) -> int:
    """The first clock change in (after, until], else `until_ms`. Zones change on whole seconds,
    and never twice within a day."""
    low, high = after_ms // SECOND_MS, until_ms // SECOND_MS
    offset = _offset(zone, low)
    if _offset(zone, high) == offset:
        return until_ms
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high * SECOND_MS


def _offset(zone: ZoneInfo, at_s: int) -> timedelta | None:
    return datetime.fromtimestamp(at_s, zone).utcoffset()


def _midnight_ms(name: str, at_ms: int, days_later: int) -> int:
    """The beginning of the local day that lies `days_later` from that of `at_ms`."""
    zone = zone_named(name)
    day = datetime.fromtimestamp(at_ms // SECOND_MS, zone).date() + timedelta(days=days_later)
    # Where the clock skips midnight this names the instant of the skip; where midnight comes
    # twice, the first (PEP 495, fold=0).
    return int(datetime.combine(day, time.min, zone).timestamp()) * SECOND_MS
