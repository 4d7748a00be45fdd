"""From a page in memory to durable state: events per second against decoding the same bytes.

The yardstick D is msgspec decoding of the same bytes into the fields needed, the nested endpoint
always, in the same run. Positions are durable with every page.

    python -m tests.bench.ingest [USERS [PAGES]]
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from time import process_time

from msgspec.json import Decoder

from tests.bench.line import report_share
from tests.bench.recording import START_MS, event
from worker.clock import SystemClock
from worker.event_endpoints import PlainEndpointShape
from worker.event_plain import PlainEvent
from worker.model import Batch, Position, Record, StreamIdentity
from worker.recency import fold
from worker.rules.ruleset import ActivityPolicy
from worker.store.sqlite import SqliteStore

RECORDS_PER_PAGE = 2_500
STREAM = StreamIdentity(name="bench", created_ms=0)


class DecodedEvent(PlainEvent):
    """What D decodes: an event with its endpoint."""

    endpoint: PlainEndpointShape | None = None  # type: ignore[assignment]


def page(chance: random.Random, users: int, number: int) -> Batch:
    at_ms = START_MS + number * 60_000
    records = tuple(
        Record(
            data=event(chance.randrange(users), at_ms + place, "_session.start"),
            sequence_number=str(number * RECORDS_PER_PAGE + place + 1),
            arrival_ms=at_ms + place,
        )
        for place in range(RECORDS_PER_PAGE)
    )
    position = Position(shard_id="s", sequence_number=records[-1].sequence_number)
    return Batch(stream=STREAM, position=position, records=records, read_through_ms=at_ms)


async def measured(folder: Path, users: int, pages: int) -> tuple[float, float]:
    """Microseconds an event: of ingest, and of D. A third of the pages only warms up."""
    chance = random.Random(1)
    store = await SqliteStore.open(str(folder / "bench.db"), wait=False, clock=SystemClock())
    await store.positions(STREAM)
    policy, decode = ActivityPolicy(), Decoder(DecodedEvent).decode
    ingest = yardstick = 0.0
    counted = 0
    for number in range(pages):
        batch = page(chance, users, number)
        begun = process_time()
        effect = fold(batch, policy, store.faces)
        await store.apply(effect, batch, now_ms=batch.read_through_ms)
        between = process_time()
        for record in batch.records:
            decode(record.data)
        ended = process_time()
        if number >= pages // 3:
            ingest += between - begun
            yardstick += ended - between
            counted += len(batch.records)
    await store.close()
    return ingest / counted * 1e6, yardstick / counted * 1e6


def main(users: int, pages: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ingest_us, yardstick_us = asyncio.run(measured(Path(folder), users, pages))
    name = f"ingest: {users:,} users"
    report_share(name, f"{ingest_us:.1f} us/event", yardstick_us / ingest_us, 0.6)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [100_000, 120][len(given) :]))
