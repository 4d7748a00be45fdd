"""What a run stands in: a quiet Python, a fast folder, and what is made once for many runs."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog

from tests.simulator.clock import WorkerClock, WorldTime
from tests.simulator.loop import VirtualLoop
from worker.kinesis.faults import CODES
from worker.kinesis.reader import ShardState
from worker.kinesis.stream import OPERATIONS
from worker.metrics import Metrics
from worker.store.intake import Incident
from worker.store.sqlite import SqliteStore

EPOCH_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: runs begin within the year after it, so both clock changes occur."""

GARBAGE_EVERY = 20
"""Runs between two collections of garbage."""

BUGS = frozenset({"look_failed", "sender_failed"})
"""Log lines that only a bug can cause."""


@lru_cache(maxsize=1)
def metrics() -> Metrics:
    """One for all worlds of this Python: nothing in a worker reads them."""
    made = Metrics()
    made.expect(operations=OPERATIONS, codes=CODES, shard_states=ShardState, incidents=Incident)
    return made


def as_asked(task: str, seconds: float, due: float, wakeable: bool) -> float:
    """A wait that is never stretched."""
    return due


@lru_cache(maxsize=1)
def new_state() -> bytes:
    """A state file as a first start makes it; making one takes longer than many runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"

        async def make() -> None:
            clock = WorkerClock(WorldTime(VirtualLoop(), EPOCH_MS), lambda: 0, as_asked)
            store = await SqliteStore.open(str(path), wait=False, clock=clock)
            await store.close()

        asyncio.run(make())
        return path.read_bytes()


@contextmanager
def folder_of_a_run() -> Iterator[Path]:
    """In memory where the system has such a place: a run writes hundreds of times."""
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="simulator-", dir=fast if fast.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_runs = 0


def collect() -> None:
    """Collects the garbage of several runs at once."""
    global _runs
    _runs += 1
    if _runs % GARBAGE_EVERY == 0:
        gc.collect()


@contextmanager
def undisturbed() -> Iterator[list[str]]:
    """No collection of garbage, no log, no complaints of what was dropped half-way. Yields the log
    lines that tell of bugs."""
    bugs: list[str] = []

    def note(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in BUGS:
            bugs.append(" ".join(f"{key}={value}" for key, value in sorted(event.items())))
        raise structlog.DropEvent

    config = structlog.get_config()
    collecting, hook = gc.isenabled(), sys.unraisablehook
    structlog.configure(
        processors=[note], wrapper_class=structlog.make_filtering_bound_logger("error")
    )
    gc.disable()
    sys.unraisablehook = lambda _: None
    try:
        yield bugs
    finally:
        sys.unraisablehook = hook
        structlog.configure(**config)
        if collecting:
            gc.enable()
