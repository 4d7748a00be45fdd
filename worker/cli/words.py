"""Sentences for reasons, and times and tables as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Reason

SENTENCES: Mapping[str, str] = {
    Reason.NOT_YET_DUE: "not yet due",
    Reason.NEVER_ACTIVE: "known from the address book only, never seen active",
    Reason.NOT_MATCHED: "the rule's matchers do not fit this user",
    Reason.MAX_INACTIVE: "silent for longer than max_inactive, left alone",
    Reason.COOLDOWN: "the last episode ended less than cooldown ago",
    Reason.ONCE_PER_SILENCE: "this silence had its episode; a new one needs an activity first",
    Reason.NOT_ENABLED: "outside enabled_from and enabled_until of the rule",
    Reason.NOT_IN_ROLLOUT: "not among the percent of users the rule is rolled out to",
    Reason.RESTORED: "the state was restored from a copy; this silence may have had its messages",
    Reason.IN_FLIGHT: "a call is under way",
    Reason.INACTIVE: "inactive long enough, the ladder begins",
    Reason.CLAIMED: "claimed and handed to the provider",
    Reason.SENT: "the provider accepted it",
    Reason.UNCERTAIN: "nobody knows whether the provider accepted it; not repeated",
    Reason.NOT_DELIVERED: "the stage before did not arrive, so this one is due at once",
    Reason.WOULD_SEND: "would be sent now, but the rule is in mode: shadow",
    Reason.HOLDOUT: "would be sent now, but the user is held out to measure the rule",
    Reason.ONLY_IF: "only_if of the stage does not fit this user",
    Reason.QUIET_HOURS: "quiet hours where the user is",
    Reason.LAW_WINDOW: "outside the hours the law allows where the user is",
    Reason.CAP: "a cap of limits.user is reached",
    Reason.MIN_GAP: "the last message is less than min_gap ago",
    Reason.PRIORITY_LOST: "another rule took the slot at the same moment",
    Reason.RATE_WAIT: "waits for its turn, limits.send_rate is used up",
    Reason.BUDGET: "the money of limits.budget is spent for the day",
    Reason.SILENCED: "somebody silenced it",
    Reason.PAUSED: "somebody paused the rule or the channel",
    Reason.KILL_SWITCH: "somebody stopped all sending",
    Reason.STALE_STREAM: "the stream is read too late to know who came back",
    Reason.PROVIDER_THROTTLED: "the provider asks for patience",
    Reason.TEMPORARY_FAILURE: "the provider had a passing fault",
    Reason.CHANNEL_PAUSED: "the channel is paused: the provider refuses our set-up",
    Reason.TEMPLATE_ERROR: "the message cannot be written, a value is missing",
    Reason.NO_ADDRESS: "no address on this channel",
    Reason.INVALID_ADDRESS: "a phone number without its country code, nobody knows whose it is",
    Reason.OPTED_OUT: "opted out of this channel",
    Reason.INACTIVE_ADDRESS: "the address is inactive",
    Reason.SUPPRESSED: "the address bounced, complained, unsubscribed or is dead",
    Reason.PERMANENT_FAILURE: "the provider will never deliver it",
    Reason.ATTEMPTS_EXHAUSTED: "the provider's passing fault did not pass",
    Reason.MAX_PRICE: "a send costs more than max_price of the stage",
    Reason.ACTIVE_AGAIN: "the user is back",
    Reason.LADDER_DONE: "every stage is done",
    Reason.ALL_OPTED_OUT: "opted out of every channel of the ladder",
    Reason.USER_DELETED: "every endpoint of the user is inactive",
    Reason.MATCH_LOST: "the rule's matchers no longer fit this user",
    Reason.UNDELIVERABLE: "no stage could be delivered",
    Reason.RULE_CHANGED: "the rule, its ladder or the stage is no longer there",
    Reason.MERGED: "the user turned out to be another one and lives on there",
    "converted": "the user did what the rule hopes for",
    "look_failed": "a bug: the look failed, see the log",
    "stopped_mid_call": "the process was stopped during the call; its result is not known",
}
"""What stands behind a reason of the journal. Complete over `Reason`; a test holds it."""


def sentence_of(reason: str) -> str:
    """What stands behind a reason; empty when it would only say the reason again."""
    sentence = SENTENCES.get(reason, "")
    return "" if sentence == reason.replace("_", " ") else sentence


def moment(at_ms: int | None) -> str:
    """`2026-11-08 20:30:00Z`; a dash for none."""
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(duration_ms: int) -> str:
    """The two largest units of a duration: `8d 3h`, `12s`."""
    parts = []
    for unit_ms, letter in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s")):
        count, duration_ms = divmod(duration_ms, unit_ms)
        if count:
            parts.append(f"{count}{letter}")
    return " ".join(parts[:2]) or "0s"


def relative(at_ms: int, now_ms: int) -> str:
    """`8d 3h ago` or `in 2h`."""
    return f"{span(now_ms - at_ms)} ago" if at_ms <= now_ms else f"in {span(at_ms - now_ms)}"


def columns(rows: Sequence[tuple[str, ...]], indent: str = "  ") -> str:
    """Left-aligned columns; the last one is not padded. A cell may be styled (`click.style`)."""
    if not rows:
        return ""
    widths = [max(_width(row[number]) for row in rows) for number in range(len(rows[0]))]
    lines = (
        indent + "  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _width(cell: str) -> int:
    return len(click.unstyle(cell))


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
