"""For which reasons a due stage waits, and for how long at most. Pure."""

from __future__ import annotations

from worker.model import DAY_MS, Reason

HOLD_MAX_MS = 30 * DAY_MS
"""A due stage that could not go out for this long closes its episode as `expired`."""

HOLDS = frozenset(
    {
        Reason.QUIET_HOURS,
        Reason.LAW_WINDOW,
        Reason.CAP,
        Reason.MIN_GAP,
        Reason.PRIORITY_LOST,
        Reason.RATE_WAIT,
        Reason.BUDGET,
        Reason.SILENCED,
        Reason.PAUSED,
        Reason.KILL_SWITCH,
        Reason.PROVIDER_THROTTLED,
        Reason.TEMPORARY_FAILURE,
        Reason.UNCERTAIN,
        Reason.CHANNEL_PAUSED,
        Reason.TEMPLATE_ERROR,
        # for stages that wait for an address, on_undeliverable says so
        Reason.NO_ADDRESS,
        Reason.INVALID_ADDRESS,
        Reason.OPTED_OUT,
        Reason.INACTIVE_ADDRESS,
        Reason.SUPPRESSED,
        Reason.PERMANENT_FAILURE,
        Reason.ATTEMPTS_EXHAUSTED,
        Reason.MAX_PRICE,
    }
)
"""Reasons for which a due stage waits."""
