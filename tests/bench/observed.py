"""What metrics and logs cost: ingest with all of them on against none.

On: the worker's metrics, read out once a round as a scrape does, and its log as JSON to a file.
Off: parts that take every call and do nothing.

    python -m tests.bench.observed [USERS]
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any
from unittest.mock import patch

from tests.bench.canned import PAGES_ENOUGH, canned
from tests.bench.engine import ingest, opened
from tests.bench.line import report_share
from tests.bench.over_http import ACTIVE_USERS, ROUND_PAGES, SHARDS, Meter, warmed
from tests.bench.state import copy
from worker import logs
from worker.metrics import Metrics
from worker.model import Batch
from worker.store.sqlite import SqliteStore

ROUNDS = 6
GOAL = 0.95


class Nothing:
    """Every attribute, call and context of it is itself."""

    def __getattr__(self, name: str) -> Nothing:
        return self

    def __call__(self, *_: Any, **__: Any) -> Nothing:
        return self

    def __enter__(self) -> Nothing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""


async def cost_us(store: SqliteStore, environment: dict[str, str], metrics: Any) -> float:
    """Microseconds an event."""
    meter = Meter(ROUND_PAGES)
    costs: list[float] = []

    def after(batch: Batch) -> bool:
        goes_on = meter.after(batch)
        if not goes_on:
            metrics.exposition()
            costs.append(meter.costs_us()[0])
        return goes_on

    await ingest(store, environment, after, metrics=metrics)
    return costs[0]


async def compared(
    path: Path, environment: dict[str, str], active: int
) -> tuple[list[float], list[float]]:
    """Microseconds an event, round by round: on, off."""
    on: list[float] = []
    off: list[float] = []
    async with opened(path) as store:
        await warmed(store, environment, active)
        for _ in range(ROUNDS):
            on.append(await cost_us(store, environment, Metrics()))
            with ExitStack() as stack:
                for module in ("worker.ingest", "worker.kinesis.reader", "worker.store.sqlite"):
                    stack.enter_context(patch(f"{module}.log", Nothing()))
                off.append(await cost_us(store, environment, Nothing()))
    return on, off


def main(users: int) -> None:
    active = min(users, ACTIVE_USERS)
    stream = canned(shards=SHARDS, pages=PAGES_ENOUGH, users=users, active=active)
    with (
        stream as environment,
        copy(users) as path,
        path.with_suffix(".log").open("w") as file,
        patch.object(sys, "stderr", file),
    ):
        logs.configure("json", "info")
        on, off = asyncio.run(compared(path, environment, active))
    logging.shutdown()
    share = median(off) / median(on)
    report_share("observed: metrics and logs", f"{median(on):.1f} us/event", share, GOAL)


if __name__ == "__main__":
    main(*([int(text) for text in sys.argv[1:]] or [1_000_000]))
