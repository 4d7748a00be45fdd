"""One process per state file, seen from a second real process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.store.world import NOON_MS, open_store
from worker.clock import SystemClock
from worker.errors import StateDamaged, StateInUse
from worker.store.lock import LOCK_POLL_SECONDS
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, settle_tasks

HOLDER = """
import asyncio, sys
from tests.store.world import open_store

async def main():
    store = await open_store(sys.argv[1])
    print("held", flush=True)
    sys.stdin.readline()
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the state open until it is told a line, or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


async def test_a_second_process_is_refused_and_told_who_holds_the_state(path: Path) -> None:
    with held_elsewhere(path) as process:
        who = f"in use by pid {process.pid} on {socket.gethostname()} since 2026-10-31T12:00:00"
        with pytest.raises(StateInUse) as refused:
            await open_store(path)
    assert who in str(refused.value)
    assert "start this one as a standby" in str(refused.value)


@pytest.mark.parametrize("end", ["kill -9", "close"])
async def test_a_standby_takes_over_when_the_holder_ends(path: Path, end: str) -> None:
    clock = FakeClock(now_ms=NOON_MS)
    told: list[str] = []
    with held_elsewhere(path) as process:
        opening = asyncio.create_task(
            SqliteStore.open(str(path), wait=True, clock=clock, on_wait=told.append)
        )
        for _ in range(5):
            await clock.advance(LOCK_POLL_SECONDS)
        assert not opening.done()
        if end == "kill -9":
            os.kill(process.pid, signal.SIGKILL)
        else:
            process.communicate("close\n")
        process.wait()
        await clock.advance(LOCK_POLL_SECONDS)
        store = await opening
    assert len(told) == 1, "a standby says once whom it waits for"
    assert str(process.pid) in told[0]
    with pytest.raises(StateInUse, match=f"pid {os.getpid()} on"):
        await open_store(path)
    await store.close()


async def test_a_standby_that_is_cancelled_leaves_the_lock_alone(path: Path) -> None:
    first = await open_store(path)
    waiting = asyncio.create_task(open_store(path, wait=True))
    await settle_tasks()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await first.close()
    await (await open_store(path)).close()


def test_a_state_that_could_not_be_opened_is_not_held(path: Path) -> None:
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(StateDamaged):
        asyncio.run(open_store(path))
    path.unlink()
    asyncio.run(open_and_close(path))


async def open_and_close(path: Path) -> None:
    await (await open_store(path)).close()


async def test_states_in_memory_are_many(path: Path) -> None:
    stores = [await open_store(":memory:") for _ in range(2)]
    for store in stores:
        await store.close()
    assert list(path.parent.iterdir()) == []


async def test_two_names_of_one_file_are_one_lock(path: Path) -> None:
    other = path.with_name("other.db")
    other.symlink_to(path)
    store = await SqliteStore.open(str(path), wait=False, clock=SystemClock())
    with pytest.raises(StateInUse):
        await SqliteStore.open(str(other), wait=False, clock=SystemClock())
    await store.close()
