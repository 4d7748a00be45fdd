"""What holds over all rules: caps per user, pace, money and its prices. Frozen values.

Part of a rule set (`ruleset.py`); what the words mean is told once, in docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.model import DAY_MS, Channel


class Window(StrEnum):
    """How a cap counts: any span of that length, or the user's own calendar days."""

    ROLLING = "rolling"
    CALENDAR = "calendar"


class OnHit(StrEnum):
    """What becomes of a stage that falls due in quiet hours or finds its budget spent.

    `skip` leaves the stage out and the next one waits its own time; with `next_stage` that is due
    at once.
    """

    DEFER = "defer"
    SKIP = "skip"
    NEXT_STAGE = "next_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `max` stages to one user, over all rules, per `per_ms`.

    A calendar cap counts whole days of the user's own calendar; `per_ms` is then a number of days.
    """

    max: int
    per_ms: int
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRate:
    """At most `max` sends, one an address, in any `per_ms`; `channel` None: of all channels."""

    max: int
    per_ms: int
    channel: Channel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `max_micros` (millionths of the currency) on a calendar day of `timezone`; `channel`
    None: of all channels. `on_exhausted` is `defer` or `next_stage`."""

    max_micros: int
    channel: Channel | None = None
    timezone: str = "UTC"
    on_exhausted: OnHit = OnHit.DEFER


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds over all rules of all files (P7): per user, per second, per day."""

    caps: tuple[Cap, ...] = ()
    min_gap_ms: int = 0
    send_rates: tuple[SendRate, ...] = ()
    budgets: tuple[Budget, ...] = ()

    @property
    def lookback_ms(self) -> int:
        """How far back past sends can matter. A calendar day may be 25 hours long, so a calendar
        cap looks one day further than its own length."""
        spans = [cap.per_ms + (DAY_MS if cap.window is Window.CALENDAR else 0) for cap in self.caps]
        return max([self.min_gap_ms, *spans])


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one send is expected to cost, in millionths of `currency`; an SMS per part.

    `by_country` holds alpha-2 codes; a country that is not in it, or not known, costs `otherwise`.
    """

    currency: str = "USD"
    otherwise: Mapping[Channel, int] = field(default_factory=dict)
    by_country: Mapping[Channel, Mapping[str, int]] = field(default_factory=dict)

    def micros(self, channel: Channel, country: str | None) -> int:
        """Of one send, or of one part of an SMS."""
        known = self.by_country.get(channel, {}).get(country or "")
        return self.otherwise.get(channel, 0) if known is None else known
