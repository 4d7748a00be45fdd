"""What an event costs the worker from the socket to durable state, against decoding its bytes.

The worker reads a canned Kinesis in a process of its own through the real client, plain and with
TLS. After each page the yardstick D decodes the same events: see `tests.bench.ingest`. CPU time of
this process only, of which D's is taken off.

    python -m tests.bench.over_http [USERS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import process_time

from msgspec.json import Decoder

from tests.bench.canned import PAGES_ENOUGH, RECORDS_PER_PAGE, canned
from tests.bench.engine import ingest, opened
from tests.bench.ingest import DecodedEvent
from tests.bench.line import report
from tests.bench.state import copy
from worker.model import Batch
from worker.store.sqlite import SqliteStore

SHARDS = 4
ACTIVE_USERS = 100_000
ROUNDS = 5
ROUND_PAGES = 36
SETTLING_PAGES = 2 * SHARDS
"""Of a round, not counted: connections are made, answers begin to be in flight."""
GOAL, GOAL_TLS = 3.2, 4.3


class Meter:
    """CPU of the worker and of D over some pages, the first of which do not count."""

    def __init__(self, pages: int, *, settling: int = SETTLING_PAGES) -> None:
        self._left = pages
        self._settling = settling
        self._decode = Decoder(DecodedEvent).decode
        self._begin()

    def _begin(self) -> None:
        self._events, self._decoding, self._began = 0, 0.0, process_time()

    def after(self, batch: Batch) -> bool:
        """See `engine.After`."""
        if not batch.records:
            return True
        begun = process_time()
        decode = self._decode
        for record in batch.records:
            decode(record.data)
        self._decoding += process_time() - begun
        self._events += len(batch.records)
        self._left -= 1
        self._settling -= 1
        if self._settling == 0:
            self._begin()
        return self._left > 0

    def costs_us(self) -> tuple[float, float]:
        """Microseconds an event: worker, D. To be asked when the last page was taken."""
        spent = process_time() - self._began - self._decoding
        return spent / self._events * 1e6, self._decoding / self._events * 1e6


async def warmed(store: SqliteStore, environment: Mapping[str, str], active: int) -> None:
    """Every active user comes by once: see `canned`."""
    pages = -(-active // RECORDS_PER_PAGE)
    await ingest(store, environment, Meter(pages + SHARDS).after)


async def round_us(store: SqliteStore, environment: Mapping[str, str]) -> tuple[float, float]:
    """Microseconds an event of worker and D."""
    meter = Meter(ROUND_PAGES)
    costs: list[tuple[float, float]] = []

    def after(batch: Batch) -> bool:
        goes_on = meter.after(batch)
        if not goes_on:
            costs.append(meter.costs_us())
        return goes_on

    await ingest(store, environment, after)
    return costs[0]


async def compared(
    path: Path, environments: Mapping[str, Mapping[str, str]], active: int
) -> dict[str, list[tuple[float, float]]]:
    """Rounds over each of the servers in turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in environments}
    async with opened(path) as store:
        await warmed(store, next(iter(environments.values())), active)
        for _ in range(ROUNDS):
            for name, environment in environments.items():
                found[name].append(await round_us(store, environment))
    return found


def main(users: int) -> None:
    active = min(users, ACTIVE_USERS)

    def stream(*, tls: bool) -> AbstractContextManager[dict[str, str]]:
        return canned(shards=SHARDS, pages=PAGES_ENOUGH, users=users, active=active, tls=tls)

    with stream(tls=False) as plain, stream(tls=True) as secure, copy(users) as path:
        servers = {"over HTTP": plain, "over HTTPS": secure}
        found = asyncio.run(compared(path, servers, active))
    for (name, costs), goal in zip(found.items(), (GOAL, GOAL_TLS), strict=True):
        cost = median(worker for worker, _ in costs)
        ratio = median(worker / decoding for worker, decoding in costs)
        report(f"{name}: {users:,} users", f"{cost:.1f} us/event", ratio, goal)


if __name__ == "__main__":
    main(*([int(text) for text in sys.argv[1:]] or [1_000_000]))
