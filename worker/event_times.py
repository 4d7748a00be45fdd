"""When something happened, from the several times an event may or may not carry (design §5).

Pure: the only certain time is the record's arrival in Kinesis, which is handed in. All times are
milliseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

EARLIEST_MS: Final = 1_262_304_000_000
"""2010-01-01. Nobody reported events before: smaller numbers are seconds, zero, a broken clock."""

LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01. Larger numbers are microseconds or nonsense."""

_DIGITS_MAX: Final = 19
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def time_ms(value: object) -> int | None:
    """A time from JSON, or None when it is unusable.

    Accepts milliseconds as a number or as digits, and ISO 8601 text with an offset (SES). Times
    outside EARLIEST_MS..LATEST_MS are unusable.
    """
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, float) or type(value) is int:
        return int(value) if EARLIEST_MS <= value < LATEST_MS else None
    return None


def _from_text(text: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _DIGITS_MAX else None
    try:
        moment = datetime.fromisoformat(text)
        return (moment - _EPOCH) // _MILLISECOND if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


class Arrival(Struct, frozen=True, kw_only=True, gc=False):
    """When an event reached Pinpoint, and the latest time anything in it can have happened."""

    at_ms: int
    latest_ms: int
    unusable: bool
    """`arrival_timestamp` is there and cannot be used; a missing one is no fault."""

    def clamp(self, timestamp: object) -> tuple[int, bool]:
        """When something stamped so happened: the stamp, but no later than `latest_ms`; the
        arrival when there is no stamp or no usable one, and then whether it was unusable."""
        stated = time_ms(timestamp)
        if stated is None:
            return self.at_ms, timestamp is not None
        return (stated if stated < self.latest_ms else self.latest_ms), False


def arrival_of(arrival_timestamp: object, *, kinesis_ms: int, skew_ms: int) -> Arrival:
    """The arrival of an event, from its own `arrival_timestamp` and the record's in Kinesis.

    The earlier of the two counts: what has reached Kinesis cannot have happened after that.
    """
    stated = time_ms(arrival_timestamp)
    if stated is None:
        unusable = arrival_timestamp is not None
        return Arrival(at_ms=kinesis_ms, latest_ms=kinesis_ms + skew_ms, unusable=unusable)
    latest = (stated if stated < kinesis_ms else kinesis_ms) + skew_ms
    at_ms = stated if stated < latest else latest
    return Arrival(at_ms=at_ms, latest_ms=latest, unusable=False)
