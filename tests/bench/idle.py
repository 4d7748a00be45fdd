"""What a worker costs that has nothing to do: `comeback run` on 100 idle shards, with many users.

python -m tests.bench.idle [USERS [SHARDS]]
"""

from __future__ import annotations

import sys
import time

from tests.bench.canned import canned
from tests.bench.line import report
from tests.bench.process import worker_process
from tests.bench.state import copy

SETTLE_SECONDS = 15
"""Shards are asked less often after some empty answers."""
WATCH_SECONDS = 24
GOAL = 0.05


def main(users: int, shards: int) -> None:
    now_ms = time.time_ns() // 1_000_000
    with (
        canned(shards=shards, pages=0) as environment,
        copy(users, start_ms=now_ms) as path,
        worker_process(path, environment) as worker,
    ):
        worker.wait_for("comeback_ready")
        time.sleep(SETTLE_SECONDS)
        begun, spent = time.monotonic(), worker.cpu_seconds()
        time.sleep(WATCH_SECONDS)
        share = (worker.cpu_seconds() - spent) / (time.monotonic() - begun)
    report(f"idle: {shards} shards, {users:,} users", f"{share:.1%} of a core", share, GOAL)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*(given + [1_000_000, 100][len(given) :]))
