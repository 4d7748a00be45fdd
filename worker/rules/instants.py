"""Instants as RFC 3339 writes them, with a zone: `2026-11-27T00:00:00Z`, `...+01:00`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from worker.rules.problems import Refused, quoted

INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(INSTANT_PATTERN)
_HOW = "write date, time and zone, such as 2026-11-27T09:00:00Z or 2026-11-27T09:00:00+01:00"


def parse_instant(text: str) -> int:
    """Milliseconds since the epoch, from 1970 on. Raises Refused."""
    if not _INSTANT.match(text):
        raise Refused(f"{quoted(text)} {_trouble(text)}; {_HOW}")
    try:
        at = datetime.fromisoformat(text.upper())
        at_ms = (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise Refused(f"{quoted(text)} is no moment of the calendar; {_HOW}") from error
    if at_ms < 0:
        raise Refused(f"{quoted(text)} is before 1970; {_HOW}")
    return at_ms


def instant(at_ms: int) -> str:
    """`2026-11-27T09:00:00Z`."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _trouble(text: str) -> str:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return "has no time and no zone"
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+", text):
        return "has no zone, or only half a time"
    return "is no instant"
