"""Folds what one batch says into what it changes: who was active when, which endpoints are how.

Pure. Order and repetition inside a batch do not matter for the result, so neither a producer's
retry nor a re-read after a restart can move anybody's recency back or forward. The effect goes to
`Store.apply`, in one transaction with the batch's position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Final, TypeAlias

from worker.events import read_record
from worker.model import (
    Activity,
    Batch,
    Channel,
    DeadLetter,
    Effect,
    Endpoint,
    Receipt,
    Stop,
    StopReason,
)
from worker.rules.ruleset import ActivityPolicy

_Identity: TypeAlias = tuple[str, str | None, str | None]

_ENDPOINT_FACTS: Final = tuple(
    field.name for field in fields(Endpoint) if field.name not in {"endpoint_id", "at_ms"}
)


DEAD_LETTERS_WHOLE_MAX: Final = 1_000
"""Dead letters of one batch that keep their data; the others keep reason and sequence number, by
which the record can be read again while the stream has it."""


def fold(batch: Batch, policy: ActivityPolicy) -> Effect:
    """What a batch changes. Bounded by the batch: no part is longer than its records' signals."""
    activities: dict[_Identity, Activity] = {}
    endpoints: dict[str, list[Endpoint]] = {}
    stops: dict[tuple[Channel, str, StopReason], Stop] = {}
    receipts: list[Receipt] = []
    dead_letters: list[DeadLetter] = []
    for record in batch.records:
        reading = read_record(record, shard_id=batch.position.shard_id, policy=policy)
        for letter in reading.dead_letters:
            kept = len(dead_letters) < DEAD_LETTERS_WHOLE_MAX
            dead_letters.append(letter if kept else replace(letter, data=b""))
        for signal in reading.signals:
            match signal:
                case Activity():
                    identity = _identity(signal)
                    activities[identity] = _later(activities.get(identity), signal)
                case Endpoint():
                    endpoints.setdefault(signal.endpoint_id, []).append(signal)
                case Receipt():
                    receipts.append(signal)
                case Stop():
                    key = (signal.channel, signal.address, signal.reason)
                    known = stops.get(key)
                    if known is None or signal.at_ms > known.at_ms:
                        stops[key] = signal
    return Effect(
        activities=tuple(activities.values()),
        endpoints=tuple(merge_endpoints(same) for same in endpoints.values()),
        stops=tuple(stops.values()),
        receipts=tuple(receipts),
        dead_letters=tuple(dead_letters),
    )


def merge_endpoints(same: Iterable[Endpoint]) -> Endpoint:
    """One value from several of the same endpoint (at least one): per fact the newest that is
    known, so None never hides anything. Stores merge what they hold with what comes by it."""
    ordered = list(same)
    if len(ordered) == 1:
        return ordered[0]
    # Two facts of one instant have no order of their own; repr gives them the same one every time.
    ordered.sort(key=lambda endpoint: (endpoint.at_ms, repr(endpoint)))
    newest = ordered[-1]
    assert all(endpoint.endpoint_id == newest.endpoint_id for endpoint in ordered)
    known = {
        name: value
        for endpoint in ordered
        for name in _ENDPOINT_FACTS
        if (value := getattr(endpoint, name)) is not None
    }
    return Endpoint(endpoint_id=newest.endpoint_id, at_ms=newest.at_ms, **known)


def _identity(activity: Activity) -> _Identity:
    """Whom an activity is about, as far as it says: the first of user, endpoint, message."""
    if activity.user_id is not None:
        return ("user", activity.user_id, None)
    if activity.endpoint_id is not None:
        return ("endpoint", activity.endpoint_id, None)
    return ("message", activity.message_id, activity.address)


def _later(known: Activity | None, new: Activity) -> Activity:
    """The later of the two; of the same instant always the same one, whichever was read first."""
    return new if known is None or _rank(new) > _rank(known) else known


def _rank(activity: Activity) -> tuple[int, str, str]:
    return (activity.at_ms, activity.event_type, activity.endpoint_id or "")
