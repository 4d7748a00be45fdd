"""How long a worker takes from the start of its process to the first records made durable.

`comeback run` on a state with many users, against the same with an empty one, in turns.

    python -m tests.bench.restart [USERS]
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.canned import PAGES_ENOUGH, canned
from tests.bench.line import report
from tests.bench.process import worker_process
from tests.bench.state import copy

ROUNDS = 3
GOAL_SECONDS = 5.0


def main(users: int) -> None:
    full: list[float] = []
    empty: list[float] = []
    with canned(shards=1, pages=PAGES_ENOUGH, users=users) as environment:
        for _ in range(ROUNDS):
            with copy(users) as path, worker_process(path, environment) as worker:
                full.append(worker.wait_for("comeback_records_total"))
            with TemporaryDirectory() as folder:
                path = Path(folder) / "state.db"
                with worker_process(path, environment) as worker:
                    empty.append(worker.wait_for("comeback_records_total"))
    told = f"{median(full):.1f} s, empty {median(empty):.1f}"
    report(f"restart: {users:,} users", told, median(full) / GOAL_SECONDS, 1.0)


if __name__ == "__main__":
    main(*([int(text) for text in sys.argv[1:]] or [1_000_000]))
