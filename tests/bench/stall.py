"""The longest stall of the event loop while a worker reads a backlog and looks at a crowd.

The whole worker (`worker.app.run`) in this process, shards read as fast as its pace allows, a tenth
of the users due. A task of the same loop wants to run every millisecond; how long it is kept
waiting is the stall. Of that, CPU is what this process did meanwhile, the rest is the disk and the
other programs of the machine.

    python -m tests.bench.stall [USERS [SECONDS]]
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from unittest.mock import patch

from tests.bench.canned import PAGES_ENOUGH, canned
from tests.bench.line import report
from tests.bench.process import settings_of
from tests.bench.state import copy
from worker import app, logs
from worker.cli.run import GC_THRESHOLDS
from worker.settings import read_settings

SHARDS = 16
PAGE_MS = 20
"""Of stream time, so that the backlog is younger than what is stale."""
BACKLOG_MS = 600_000
TICK_SECONDS = 0.001
GOAL_MS = 250.0


@dataclass(slots=True)
class Ticker:
    """Gaps between its turns, in milliseconds: (wall, CPU of this process)."""

    gaps_ms: list[tuple[float, float]] = field(default_factory=list)

    async def run(self) -> None:
        """Until it is cancelled."""
        wall, spent = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now, cpu = time.perf_counter(), time.process_time()
            self.gaps_ms.append(((now - wall) * 1e3, (cpu - spent) * 1e3))
            wall, spent = now, cpu


async def worked(environment: dict[str, str], seconds: int) -> Ticker:
    """Runs the worker for so long after its start."""
    ticker = Ticker()
    gc.freeze()  # this and the next as `comeback run` does
    gc.set_threshold(*GC_THRESHOLDS)
    work = asyncio.create_task(app.run(read_settings(environment)))
    await asyncio.sleep(2)
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(seconds)
    ticking.cancel()
    os.kill(os.getpid(), signal.SIGTERM)
    await work
    return ticker


def main(users: int, seconds: int) -> None:
    start_ms = time.time_ns() // 1_000_000 - BACKLOG_MS
    stream = canned(
        shards=SHARDS, pages=PAGES_ENOUGH, users=users, start_ms=start_ms, page_ms=PAGE_MS
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        http = f"127.0.0.1:{probe.getsockname()[1]}"
    with stream as found, copy(users, start_ms=start_ms, due=True) as path:
        environment = {**found, **settings_of(path, http)}
        with (
            path.with_suffix(".log").open("w") as file,
            patch.object(sys, "stderr", file),
            patch.dict(os.environ, environment),
        ):
            logs.configure("json", "info")
            ticker = asyncio.run(worked(environment, seconds))
    wall, cpu = max(ticker.gaps_ms)
    told = f"{wall:.0f} ms (CPU {cpu:.0f})"
    report(f"stall: {users:,} users, the longest", told, wall / GOAL_MS, 1.0)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [1_000_000, 30][len(given) :]))
