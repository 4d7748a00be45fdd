"""Pinpoint's own event types, which begin with an underscore; docs/events.md tells of each. Pure.

Rules and their tests name events; one of these that is misspelt is never seen. Events of an app
begin with a letter, and nobody but the app knows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from worker.event_meanings import ACTIVE_EVENTS, NEVER_ACTIVE_EVENTS
from worker.rules.document import Node
from worker.rules.problems import Problem, nearest, quoted

KNOWN_EVENTS: Final = (
    ACTIVE_EVENTS
    | NEVER_ACTIVE_EVENTS
    | {
        "_userauth.auth_fail",
        "_campaign.received_foreground",
        "_journey.received_foreground",
        "_email.open",
        "_email.complaint",
        "_email.unsubscribe",
        "_SMS.OPTOUT",
    }
)
"""Source: Pinpoint developer guide, "Streaming events": app, campaign, journey, e-mail, SMS."""

_FAMILIES: Final = {f"{event.partition('.')[0]}.*" for event in KNOWN_EVENTS}


def unknown_events(root: Node) -> Iterator[Problem]:
    """A warning for every pattern of a rule file that means Pinpoint's events and fits none."""
    defaults = root.get("defaults")
    activity = defaults.get("activity") if defaults else None
    patterns = [
        (key, item)
        for key in ("events", "not_events")
        for item in (activity.get_items(key) if activity else ())
    ]
    for rule in root.get_items("rules"):
        goal = rule.get("conversion")
        event = goal.get("event") if goal else None
        patterns += [("conversion", event)] if event else []
    for key, item in patterns:
        pattern = item.text or ""
        if pattern.startswith("_") and not any(fnmatchcase(e, pattern) for e in KNOWN_EVENTS):
            guess = nearest(pattern, sorted(_FAMILIES if "*" in pattern else KNOWN_EVENTS))
            told = f"{key}: Pinpoint has no event that fits {quoted(pattern)}{guess or ';'}"
            yield Problem(*item.place, f"{told} one of your own begins with a letter")
