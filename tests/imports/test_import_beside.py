"""An import beside a running worker: both write, neither fails, the worker is not kept waiting."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from time import monotonic

from tests.imports.address_book import write_export
from tests.imports.imported import book
from tests.store.world import NOON_MS, World, open_store, phone, seen
from worker.imports.endpoints import Said
from worker.store.importing import (
    BESIDE_ENDPOINTS_MAX,
    BESIDE_ENDPOINTS_MIN,
    BESIDE_PAUSE_SECONDS,
    ImportBook,
)
from worker.testing import FakeClock

ENDPOINTS = 2_000


async def test_a_worker_goes_on_while_addresses_are_imported(tmp_path: Path) -> None:
    write_export(tmp_path / "export", ENDPOINTS)
    state = tmp_path / "comeback.db"
    store = await open_store(state)
    world = await World(store).begin()
    importing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "import", str(tmp_path / "export"), "--json"),
        env={**os.environ, "COMEBACK_STATE": str(state), "PYTHONPATH": str(Path.cwd())},
        stdout=asyncio.subprocess.PIPE,
    )
    answer = asyncio.ensure_future(importing.communicate())
    waited: list[float] = []
    while not answer.done():
        began = monotonic()
        user = f"worker-{len(waited)}"
        # Raises StateInUse when the import kept the lock for longer than the worker waits.
        await world.tell(seen(user, 0), phone(user))
        waited.append(monotonic() - began)
        # Two real processes write to one file; this is the pace of the one.
        await asyncio.sleep(0.005)
    out, _ = answer.result()
    report = json.loads(out)
    await store.close()
    assert importing.returncode == 0
    assert report["mode"] == "beside"
    assert "beside it" in report["notes"][1]
    assert report["endpoints"]["new"] == ENDPOINTS
    assert len(book(state)) == ENDPOINTS + len(waited)
    waited.sort()
    assert waited[len(waited) * 99 // 100] < 0.25


class SlowClock(FakeClock):
    """Every other look at it comes `seconds` later."""

    def __init__(self) -> None:
        super().__init__(now_ms=NOON_MS)
        self.seconds = 0.0
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return self._looks // 2 * self.seconds


async def test_the_lock_is_taken_for_moments_and_left_alone_for_longer(tmp_path: Path) -> None:
    state = tmp_path / "comeback.db"
    store = await open_store(state)
    clock = SlowClock()
    with await ImportBook.open(str(state), clock=clock, dry=False) as beside:
        assert beside.mode == "beside"
        sizes = []
        for clock.seconds in (0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.5, 0.5):
            said = Said()
            for number in range(beside.endpoints_at_once):
                said.add(phone(f"u{number}"))
            _, pause = beside.take(said, key="file")
            assert pause >= max(BESIDE_PAUSE_SECONDS, 2 * clock.seconds)
            sizes.append(beside.endpoints_at_once)
    assert sizes[0] == 2 * BESIDE_ENDPOINTS_MIN
    assert sizes[5] == BESIDE_ENDPOINTS_MAX
    assert sizes[6] == BESIDE_ENDPOINTS_MIN
    await store.close()
    with await ImportBook.open(str(state), clock=clock, dry=False) as alone:
        assert alone.mode == "alone"
