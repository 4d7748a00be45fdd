"""From pages in memory to durable state: events per second against decoding the same bytes.

The yardstick D is msgspec decoding of the same bytes, the nested endpoint always, into just the
fields that are needed and without any of the checks that ingest makes. Both are taken in turns,
page by page, in one run. Positions are durable with every page, and what is folded later is folded
within the run: there are events for more than one fold.

    python -m tests.bench.ingest [USERS [EVENTS]]

Everybody is shown once before the measuring begins. Three kinds of streams: faces that stay as they
are; faces of which only what nobody needs is new in each event (`EffectiveDate`); and strangers,
each seen for the first time.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from time import process_time

from msgspec import Struct
from msgspec.json import Decoder

from tests.bench.line import report_share
from tests.bench.recording import START_MS, event
from worker.cli.run import GC_THRESHOLDS
from worker.clock import SystemClock
from worker.ingest import pieces_of
from worker.model import Batch, Position, Record, StreamIdentity
from worker.recency import fold
from worker.rules.ruleset import ActivityPolicy
from worker.store.sqlite import SqliteStore

RECORDS_PER_PAGE = 2_500
PAGES_MADE_MAX = 61
"""They come again and again, always as they were; to the state that is all the same."""
STREAM = StreamIdentity(name="bench", created_ms=0)


class _Application(Struct, gc=False):
    app_id: str | None = None


class _Client(Struct, gc=False):
    client_id: str | None = None


class _User(Struct, gc=False, rename="pascal"):
    user_id: str | None = None
    user_attributes: dict[str, list[str]] | None = None


class _Location(Struct, gc=False, rename="pascal"):
    country: str | None = None
    region: str | None = None


class _Demographic(Struct, gc=False, rename="pascal"):
    timezone: str | None = None
    locale: str | None = None
    platform: str | None = None


class _Endpoint(Struct, gc=False, rename="pascal"):
    id: str | None = None
    channel_type: str | None = None
    address: str | None = None
    endpoint_status: str | None = None
    opt_out: str | None = None
    user: _User | None = None
    location: _Location | None = None
    demographic: _Demographic | None = None
    attributes: dict[str, list[str]] | None = None


class DecodedEvent(Struct, gc=False):
    """What D decodes: an event with its endpoint."""

    event_type: str
    event_timestamp: int
    arrival_timestamp: int
    application: _Application | None = None
    client: _Client | None = None
    endpoint: _Endpoint | None = None


def page(users: list[int], number: int, *, changing: bool = False) -> Batch:
    """A page of one event for each of these users."""
    at_ms = START_MS + number * 60_000
    records = tuple(
        Record(
            data=_event(user, at_ms + place, changing),
            sequence_number=str(number * len(users) + place + 1),
            arrival_ms=at_ms + place,
        )
        for place, user in enumerate(users)
    )
    position = Position(shard_id="s", sequence_number=records[-1].sequence_number)
    return Batch(stream=STREAM, position=position, records=records, read_through_ms=at_ms)


def _event(user: int, at_ms: int, changing: bool) -> bytes:
    data = event(user, at_ms, "_session.start")
    if changing:
        data = data.replace(b'"EffectiveDate": "', b'"EffectiveDate": "%d-' % at_ms)
    return data


def pages(users: int, events: int, *, changing: bool) -> Iterator[Batch]:
    """A stream of so many events of users drawn at random."""
    chance = random.Random(1)
    count = max(1, events // RECORDS_PER_PAGE)
    made = [
        page([chance.randrange(users) for _ in range(RECORDS_PER_PAGE)], number, changing=changing)
        for number in range(1, min(count, PAGES_MADE_MAX) + 1)
    ]
    return islice(cycle(made), count)


class Ingesting:
    """A state that reads pages, and what that cost."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._policy = ActivityPolicy()
        self._decode = Decoder(DecodedEvent).decode
        self.spent = self.yardstick = 0.0
        self.events = self._pages = 0

    async def read(self, batch: Batch) -> None:
        """Takes a page as `worker.ingest` does. Who comes first finds the bytes out of the caches,
        so they take turns."""
        self._pages += 1
        if self._pages % 2:
            self._decode_all(batch)
        begun = process_time()
        for piece in pieces_of(batch):
            effect = fold(piece, self._policy, self._store.faces)
            await self._store.apply(effect, piece, now_ms=piece.read_through_ms)
        self.spent += process_time() - begun
        if self._pages % 2 == 0:
            self._decode_all(batch)
        self.events += len(batch.records)

    def _decode_all(self, batch: Batch) -> None:
        begun = process_time()
        for record in batch.records:
            self._decode(record.data)
        self.yardstick += process_time() - begun

    def report(self, name: str, goal: float) -> None:
        """One line, and the figures begin anew."""
        microseconds = self.spent / self.events * 1e6
        report_share(name, f"{microseconds:.1f} us/event", self.yardstick / self.spent, goal)
        self.spent = self.yardstick = 0.0
        self.events = 0


async def measure(folder: Path, users: int, events: int) -> None:
    """Prints the lines."""
    store = await SqliteStore.open(str(folder / "bench.db"), wait=False, clock=SystemClock())
    await store.positions(STREAM)
    store.faces.expect(users)
    reading = Ingesting(store)
    for first in range(0, users, RECORDS_PER_PAGE):
        roll = list(range(first, min(first + RECORDS_PER_PAGE, users)))
        await reading.read(page(roll, 0))
    reading.report(f"ingest: {users:,} strangers", 0.6)
    for batch in pages(users, events, changing=False):
        await reading.read(batch)
    reading.report(f"ingest: {users:,} known faces", 0.6)
    for batch in pages(users, events // 4, changing=True):
        await reading.read(batch)
    reading.report(f"ingest: {users:,} new bytes", 0.6)
    await store.close()


def main(users: int, events: int) -> None:
    """Makes a state of its own and removes it."""
    gc.set_threshold(*GC_THRESHOLDS)  # as `comeback run` does
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), users, events))


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [100_000, 1_500_000][len(given) :]))
