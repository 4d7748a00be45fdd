"""What reading and folding ordinary events costs, held against a measure of the same machine.

The measure is `json.loads` of the same bytes. Both are taken in turns, batch by batch, and of each
the least of several tries counts, so a busy machine changes neither much.

    python -m tests.bench.reading
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from time import process_time

from tests.bench.line import report
from tests.core import samples
from tests.core.samples import ARRIVAL_MS, EVENT_MS, KINESIS_MS, SHARD, as_record
from worker.model import Batch, Position, Record, StreamIdentity
from worker.recency import fold
from worker.rules.ruleset import ActivityPolicy

BATCH_RECORDS = 2_000
TRIES = 7
BUILT_IN = ActivityPolicy()
MICROSECOND = 1e-6


def session_starts(*, users: int, changing: bool = False) -> list[Batch]:
    """Batches of session starts of 1.5 kB. `changing`: an endpoint never looks twice the same, for
    it tells when it was last changed."""
    return [
        Batch(
            stream=StreamIdentity(name="events", created_ms=0),
            position=Position(shard_id=SHARD, sequence_number="1"),
            records=tuple(
                _session_start(start + number, users, changing) for number in range(BATCH_RECORDS)
            ),
            read_through_ms=KINESIS_MS,
        )
        for start in range(0, 3 * BATCH_RECORDS, BATCH_RECORDS)
    ]


def _session_start(number: int, users: int, changing: bool) -> Record:
    user = number % users
    endpoint_id = f"7f3c2b1a-9d4e-4c5f-8a6b-{user:012d}"
    shape = samples.endpoint(
        Id=endpoint_id,
        Address=f"Tok3n{user:06d}:APA91-Example_abcDEF" * 3,
        User={"UserId": f"shopper-{user}", "UserAttributes": {"plan": ["premium"]}},
        EffectiveDate=f"2026-01-01T00:00:00.{number if changing else 0:06d}Z",
    )
    event = samples.app_event(
        event_timestamp=EVENT_MS + number,
        arrival_timestamp=ARRIVAL_MS + number,
        client={"client_id": endpoint_id, "cognito_id": "eu-west-1:someone"},
        endpoint=shape,
    )
    return as_record(event, number=number, arrival_ms=KINESIS_MS + number)


def _parse_all(batch: Batch) -> None:
    for record in batch.records:
        json.loads(record.data)


def _fold(batch: Batch) -> None:
    fold(batch, BUILT_IN)


def _seconds(work: Callable[[Batch], None], batch: Batch) -> float:
    started = process_time()
    work(batch)
    return process_time() - started


def costs_us(batches: Sequence[Batch]) -> tuple[float, float]:
    """Microseconds a record: of folding, and of the measure."""
    folding = measure = 0.0
    for batch in batches:
        tries = [(_seconds(_fold, batch), _seconds(_parse_all, batch)) for _ in range(TRIES)]
        folding += min(one for one, _ in tries)
        measure += min(one for _, one in tries)
    records = sum(len(batch.records) for batch in batches)
    return folding / records / MICROSECOND, measure / records / MICROSECOND


CASES = (
    ("reading: every user once", 10**6, False, 1.3),
    ("reading: 1,000 users", 1_000, False, 0.8),
    ("reading: 100 users", 100, False, 0.6),
    ("reading: endpoints that change", 100, True, 0.9),
)
"""Name, users, whether endpoints change with every event, and the goal: share of `json.loads`."""


def main() -> None:
    """Prints a line for each case."""
    for name, users, changing, goal in CASES:
        folding_us, measure_us = costs_us(session_starts(users=users, changing=changing))
        report(name, f"{folding_us:.1f} us/event", folding_us / measure_us, goal)


if __name__ == "__main__":
    main()
