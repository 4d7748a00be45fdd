"""What a type of event means under a policy: activity or not, and the goal of which rules.

Pure. A stream has few types of events and a policy many patterns, so each type is judged once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct

from worker.event_dialects import Builtin, Reader
from worker.event_messages import RECEIPT_EVENTS
from worker.rules.ruleset import ActivityPolicy, Clocked, RuleGoal

EVENT_TYPES_CACHED_MAX: Final = 4_096
"""Per policy. Pinpoint allowed 1,500 custom event types per application."""

POLICIES_CACHED_MAX: Final = 4
"""The set in force, the one before it, and two that are compared."""

ACTIVE_EVENTS: Final = frozenset(
    {
        "_session.start",
        "_session.stop",
        "_session.pause",
        "_session.resume",
        "_userauth.sign_in",
        "_userauth.sign_up",
        "_monetization.purchase",
        "_campaign.opened_notification",
        "_journey.opened_notification",
        "_inapp.message_displayed",
        "_inapp.message_dismissed",
        "_inapp.message_clicked",
        "_email.click",
    }
)
"""A person did this. Rules may add to the list, and take from it (`ActivityPolicy`)."""

NEVER_ACTIVE_EVENTS: Final = RECEIPT_EVENTS | {
    "_campaign.send",
    "_journey.send",
    "_campaign.received_background",
    "_journey.received_background",
    "_test.event_stream",
}
"""Machines did this: our own sends, their receipts, background pushes, the stream's own test.
No rule can make them activity, or every send would count as its own success (design §5)."""


class Meaning(Struct, frozen=True, kw_only=True):
    """What one type of event means."""

    active: bool
    """Its user was here."""
    goals: tuple[RuleGoal, ...]
    """What rules hope for, and this is."""
    of_message: bool
    """It is about a message; others are about an endpoint."""
    is_about_more: bool
    """It says more than that an endpoint looks so and that somebody was there."""


class Meanings(Struct, frozen=True, kw_only=True):
    """A policy, ready for use on every event."""

    of: Callable[[str], Meaning]
    """The meaning of an event type."""
    by_arrival: bool
    """Things happened when they arrived, whatever the event says."""
    skew_ms: int
    readers: tuple[Reader, ...]
    """In which formats events are; the first that fits reads it."""

    @property
    def is_pinpoint_first(self) -> bool:
        """May what looks like an event of Pinpoint be read as one, unseen by the others?"""
        return self.readers[:1] == (Builtin.PINPOINT,)


@lru_cache(maxsize=POLICIES_CACHED_MAX)
def meanings_of(policy: ActivityPolicy) -> Meanings:
    """The meanings under a policy. To be asked once per batch: it hashes the policy."""

    @lru_cache(maxsize=EVENT_TYPES_CACHED_MAX)
    def of(event_type: str) -> Meaning:
        goals = policy.goals_met(event_type)
        of_message = event_type.startswith(("_email.", "_SMS."))
        return Meaning(
            active=_is_activity(event_type, policy),
            goals=goals,
            of_message=of_message,
            is_about_more=bool(goals) or of_message,
        )

    return Meanings(
        of=of,
        by_arrival=policy.clock is Clocked.ARRIVAL_TIME,
        skew_ms=policy.max_future_skew_ms,
        readers=policy.readers,
    )


def _is_activity(event_type: str, policy: ActivityPolicy) -> bool:
    if event_type in NEVER_ACTIVE_EVENTS:
        return False
    ruled = policy.allows(event_type)
    return event_type in ACTIVE_EVENTS if ruled is None else ruled
