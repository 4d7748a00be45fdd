"""Quiet hours and local days, worked out anew with zoneinfo.

A user's zone is what the newest endpoint says, if there is such a zone; else every zone of the
user's country; else of the country the phone number begins with; else what the window says. Where
several zones are left, it is quiet as soon as it is in one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo, available_timezones

from tests.simulator.checkers.addressbook import AddressBook
from tests.simulator.checkers.ledger import Record
from tests.simulator.rulebook import QuietSpec

MIDDAY = "defer_to_utc_midday"
PREFIXES = {"+49": "DE", "+81": "JP", "+44": "GB", "+91": "IN", "+61": "AU", "+1202": "US"}
"""The beginnings of the phone numbers the simulated people have."""


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1)
def _zones_of_countries() -> dict[str, tuple[str, ...]]:
    """zone.tab of the zone database: country, coordinates, zone, comment."""
    found: dict[str, list[str]] = {}
    text = (resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            found.setdefault(country, []).append(zone)
    return {country: tuple(zones) for country, zones in found.items()}


def zones_of(book: AddressBook, user: str, seen: Callable[[Record], bool]) -> Sequence[str]:
    """Where the user may be, by the records seen; none when nothing tells it."""
    endpoints = book.owned(user, seen)
    for endpoint in sorted(
        endpoints,
        key=lambda e: max(t.told_ms for t in book.tellings[e] if seen(t.record)),
        reverse=True,
    ):
        zone = book.fact(endpoint, "timezone", seen)[1]
        if zone in _zones():
            return (zone,)
    country = book.newest(endpoints, "country", seen)
    if country is not None and country in _zones_of_countries():
        return _zones_of_countries()[country]
    for endpoint in endpoints:
        address = book.fact(endpoint, "address", seen)[1] or ""
        for prefix, country in PREFIXES.items():
            if address.startswith(prefix):
                return _zones_of_countries()[country]
    return ()


def is_quiet(
    windows: Sequence[QuietSpec], channel: str, zones: Sequence[str], wall_ms: int
) -> QuietSpec | None:
    """The first window that is closed for a message on that channel; None when all are open."""
    for window in windows:
        if window.channel not in (None, channel):
            continue
        places = zones or (() if window.otherwise == MIDDAY else (window.otherwise,))
        if not places:
            if datetime.fromtimestamp(wall_ms / 1_000, UTC).hour != 12:
                return window
            continue
        if any(_within(window, place, wall_ms) for place in places):
            return window
    return None


def _within(window: QuietSpec, zone: str, wall_ms: int) -> bool:
    local = _local(wall_ms, zone)
    minute = local.hour * 60 + local.minute
    start, end = _minutes(window.start), _minutes(window.end)
    if start <= end:
        return start <= minute < end
    return minute >= start or minute < end


@lru_cache(maxsize=256)
def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _local(wall_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(wall_ms // 1_000, ZoneInfo(zone))


def same_days(earlier_ms: int, later_ms: int, zones: Sequence[str], days: int) -> bool:
    """Do both lie within so many calendar days that end with the day of the later one? Of several
    zones one is enough; of none UTC is taken."""
    for zone in zones or ("UTC",):
        first = _local(later_ms, zone).date() - timedelta(days=days - 1)
        if _local(earlier_ms, zone).date() >= first:
            return True
    return False
