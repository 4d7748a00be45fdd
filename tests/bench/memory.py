"""Resident memory while a backlog without end is read, its events of all users at random.

The process is `comeback run`, reading as its pace allows. Flat means: the last third of the time
takes hardly more than the one before it.

    python -m tests.bench.memory [USERS [SECONDS]]
"""

from __future__ import annotations

import sys
import time
from statistics import median

from tests.bench.canned import PAGES_ENOUGH, canned
from tests.bench.line import report
from tests.bench.process import worker_process
from tests.bench.state import copy

SHARDS = 32
GOAL_MB, GOAL_GROWTH = 600.0, 1.1
LOOK_SECONDS = 0.25


def main(users: int, seconds: int) -> None:
    samples: list[float] = []
    with (
        canned(shards=SHARDS, pages=PAGES_ENOUGH, users=users) as environment,
        copy(users) as path,
        worker_process(path, environment) as worker,
    ):
        worker.wait_for("comeback_records_total")
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            samples.append(worker.memory_mb())
            time.sleep(LOOK_SECONDS)
        read = worker.metric("comeback_records_total")
    third = len(samples) // 3
    growth = median(samples[-third:]) / median(samples[third:-third])
    name = f"memory: {users:,} users"
    report(f"{name}, at most", f"{max(samples):.0f} MB", max(samples) / GOAL_MB, 1.0)
    report(f"{name}, growth", f"{read:,.0f} events", growth, GOAL_GROWTH)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [1_000_000, 45][len(given) :]))
