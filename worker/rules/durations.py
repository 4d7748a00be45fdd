"""Durations as Prometheus writes them: `7d`, `2h30m`, `5s`, to milliseconds and back.

Source of the form: Prometheus, "Configuration", `<duration>`: units y w d h m s ms in descending
order, each at most once, whole numbers only; a year is 365 days. A bare number is refused, because
nobody can tell whether it means seconds, minutes or days.
"""

from __future__ import annotations

import re

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from worker.rules.problems import Refused, quoted

DURATION_MAX_MS = 10 * 365 * DAY_MS

_UNITS = {
    "y": 365 * DAY_MS,
    "w": 7 * DAY_MS,
    "d": DAY_MS,
    "h": HOUR_MS,
    "m": MINUTE_MS,
    "s": SECOND_MS,
    "ms": 1,
}
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,15}}){unit}(?![a-z]))?" for unit in _UNITS))
_HOW = "write whole numbers with units, such as 7d, 2h30m or 5s"


def parse_duration(text: str) -> int:
    """Milliseconds, 0 to `DURATION_MAX_MS`. Raises Refused with what to write instead."""
    if re.fullmatch(r"[-+]?[0-9.]+", text):
        raise Refused(f"{quoted(text)} has no unit; {_HOW} ({quoted(text + 's')} for seconds)")
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise Refused(
            f"{quoted(text)} is not a duration; {_HOW} "
            "(units y w d h m s ms, the largest first, each once)"
        )
    total = sum(
        int(number) * unit_ms
        for number, unit_ms in zip(found.groups(), _UNITS.values(), strict=True)
        if number is not None
    )
    if total > DURATION_MAX_MS:
        raise Refused(f"{quoted(text)} is too long; the longest duration is 10y")
    return total


def written(duration_ms: int) -> str:
    """The duration as `parse_duration` reads it, in units from days down: `1s`, `5m`, `2m30s`."""
    parts = []
    rest_ms = duration_ms
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest_ms = divmod(rest_ms, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
