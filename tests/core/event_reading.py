"""Reads events in tests, and picks out what they said.

`expected` is the slow and obvious fold: every record by its reading, every fact compared with every
other. Whatever a test reads one by one is also folded and held against it, so each example of how
an event can look is one for the quick way too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.core.samples import KINESIS_MS, SHARD, as_record
from worker.events import Reading, read_record
from worker.model import (
    Activity,
    Batch,
    Conversion,
    DeadLetter,
    DeadReason,
    Effect,
    Endpoint,
    Position,
    Receipt,
    Record,
    Signal,
    Stop,
    StreamIdentity,
)
from worker.recency import fact_text, fold
from worker.rules.ruleset import ActivityPolicy

BUILT_IN = ActivityPolicy()
SKEW_MS = BUILT_IN.max_future_skew_ms
EVERYTHING = ActivityPolicy(events=("*",))


def read(*events: object, policy: ActivityPolicy = BUILT_IN) -> Reading:
    return read_one(as_record(*events), policy)


def read_data(data: bytes) -> Reading:
    return read_one(as_record(data=data))


def read_one(record: Record, policy: ActivityPolicy = BUILT_IN) -> Reading:
    """What a record says; and folding it says the same."""
    reading = read_record(record, shard_id=SHARD, policy=policy)
    assert said(folded([record], policy)) == expected([reading])
    return reading


def folded(records: Iterable[Record], policy: ActivityPolicy = BUILT_IN) -> Effect:
    """The effect of a batch of these records."""
    taken = tuple(records)
    position = Position(shard_id=SHARD, sequence_number=str(len(taken)))
    stream = StreamIdentity(name="events", created_ms=0)
    batch = Batch(stream=stream, position=position, records=taken, read_through_ms=KINESIS_MS)
    return fold(batch, policy)


@dataclass(frozen=True)
class Said:
    """What an effect says, without the order in which it says it."""

    activities: frozenset[Activity]
    endpoints: dict[str, Endpoint]
    stops: frozenset[Stop]
    conversions: frozenset[Conversion]
    receipts: Sequence[Receipt]
    dead_letters: Sequence[DeadLetter]


def said(effect: Effect) -> Said:
    found = Said(
        activities=frozenset(effect.activities),
        endpoints={one.endpoint_id: one for one in effect.endpoints},
        stops=frozenset(effect.stops),
        conversions=frozenset(effect.conversions),
        receipts=list(effect.receipts),
        dead_letters=list(effect.dead_letters),
    )
    for kind in ("activities", "endpoints", "stops", "conversions"):
        assert len(getattr(found, kind)) == len(getattr(effect, kind)), "said twice"
    return found


def expected(readings: Iterable[Reading]) -> Said:
    """What the effect of these readings must say. For batches with few dead letters."""
    taken = list(readings)
    everything = [signal for reading in taken for signal in reading.signals]
    latest: dict[Any, Activity] = {}
    same: dict[str, list[Endpoint]] = {}
    stops: dict[Any, Stop] = {}
    for signal in everything:
        if isinstance(signal, Activity):
            whose: Any = signal.user_id or (signal.endpoint_id, signal.message_id, signal.address)
            if signal.user_id is None and signal.endpoint_id is not None:
                whose = (signal.endpoint_id,)
            latest[whose] = max(latest.get(whose, signal), signal, key=_order)
        elif isinstance(signal, Endpoint):
            same.setdefault(signal.endpoint_id, []).append(signal)
        elif isinstance(signal, Stop):
            about = replace(signal, at_ms=0)
            stops[about] = max(stops.get(about, signal), signal, key=lambda stop: stop.at_ms)
    return Said(
        activities=frozenset(latest.values()),
        endpoints={endpoint_id: _newest_facts(found) for endpoint_id, found in same.items()},
        stops=frozenset(stops.values()),
        conversions=frozenset(one for one in everything if isinstance(one, Conversion)),
        receipts=[one for one in everything if isinstance(one, Receipt)],
        dead_letters=[letter for reading in taken for letter in reading.dead_letters],
    )


def _order(activity: Activity) -> tuple[int, str, str]:
    return (activity.at_ms, activity.event_type, activity.endpoint_id or "")


def _newest_facts(same: list[Endpoint]) -> Endpoint:
    facts: dict[str, Any] = {}
    for field in fields(Endpoint):
        told = [(one.at_ms, getattr(one, field.name)) for one in same]
        known = [fact for fact in told if fact[1] is not None]
        if known:
            facts[field.name] = max(known, key=lambda fact: (fact[0], fact_text(fact[1])))[1]
    return Endpoint(**facts)


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
