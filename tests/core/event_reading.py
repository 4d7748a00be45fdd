"""Reads events in tests, and picks out what they said."""

from __future__ import annotations

from tests.core.samples import SHARD, as_record
from worker.events import Reading, read_record
from worker.model import Activity, DeadReason, Endpoint, Signal
from worker.rules.ruleset import ActivityPolicy

BUILT_IN = ActivityPolicy()
SKEW_MS = BUILT_IN.max_future_skew_ms
EVERYTHING = ActivityPolicy(events=("*",))


def read(*events: object, policy: ActivityPolicy = BUILT_IN) -> Reading:
    return read_record(as_record(*events), shard_id=SHARD, policy=policy)


def read_data(data: bytes) -> Reading:
    return read_record(as_record(data=data), shard_id=SHARD, policy=BUILT_IN)


def signals(*events: object, policy: ActivityPolicy = BUILT_IN) -> tuple[Signal, ...]:
    """The signals of events that read without any fault."""
    reading = read(*events, policy=policy)
    assert reading.dead_letters == ()
    return reading.signals


def activities(*events: object, policy: ActivityPolicy = BUILT_IN) -> list[Activity]:
    found = read(*events, policy=policy).signals
    return [signal for signal in found if isinstance(signal, Activity)]


def endpoint_of(event: object) -> Endpoint:
    (found,) = [signal for signal in signals(event) if isinstance(signal, Endpoint)]
    return found


def reasons(reading: Reading) -> list[DeadReason]:
    return [letter.reason for letter in reading.dead_letters]
