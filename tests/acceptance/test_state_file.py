"""What becomes of the state file under a real worker: removed, replaced, damaged, and no room left.

Each time the worker must not take a state it cannot trust for a new one: it would send again what
was sent (P1). It stops with a message for a person, or waits and goes on by itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import stat
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.world import World, address, pause, until, world
from worker.sandbox.processes import Child

pytestmark = pytest.mark.timeout(400)
"""A start takes many seconds where the machine is busy."""

USERS = 30
PAGE_BYTES = 4_096
HEADER_BYTES = 100
"""Of an SQLite file ("Database File Format", sqlite.org)."""
PUSH_ONLY = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 1s
    stages: [{name: push, channel: push, message: {title: t, body: b}}]
"""


def come(one: World, prefix: str, users: int = USERS) -> set[str]:
    """Users who come once; their tokens."""
    names = [f"{prefix}{number}" for number in range(users)]
    for name in names:
        one.visit(name, "GCM")
    return {address(name, "GCM") for name in names}


async def have_it(one: World, tokens: set[str]) -> None:
    await until(lambda: tokens <= {send.address for send in one.sends}, "all have their push", 60)


async def served(one: World, prefix: str) -> None:
    """Users who come, fall silent and get their push."""
    await have_it(one, come(one, prefix))


async def ends(worker: Child) -> int:
    return await asyncio.to_thread(worker.process.wait, 20)


def nobody_twice(one: World) -> bool:
    return max(Counter(send.address for send in one.sends).values()) == 1


def beside(one: World, ending: str) -> Path:
    return Path(f"{one.state}{ending}")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def move(path: Path, target: Path) -> None:
    path.rename(target)


def remove(state: Path) -> None:
    state.unlink()


def remove_all_but_the_lock(state: Path) -> None:
    for path in state.parent.glob(f"{state.name}*"):
        if path.suffix != ".lock":
            path.unlink()


def empty(state: Path) -> None:
    os.truncate(state, 0)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_worker_does_not_begin_anew_where_its_state_is_gone(
    tmp_path: Path, *, killed: bool
) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        worker = await one.start_ready()
        await served(one, "u")
        await asyncio.to_thread(worker.kill if killed else worker.stop)
        for lose in (empty, remove, remove_all_but_the_lock):
            lose(one.state)
            again = one.start()
            assert await ends(again) == 78, lose
            assert "comeback restore" in again.log_text()
            assert "Traceback" not in again.log_text()
            assert not one.state.exists() or one.state.stat().st_size == 0, "nothing is made up"
        assert nobody_twice(one)


async def test_to_begin_anew_on_purpose_the_lock_goes_too(tmp_path: Path) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        await asyncio.to_thread((await one.start_ready()).stop)
        remove_all_but_the_lock(one.state)
        beside(one, ".lock").unlink()
        await one.start_ready()
        await served(one, "u")


async def test_a_state_removed_under_the_worker_ends_it_and_can_be_put_back(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        worker = await one.start_ready()
        await served(one, "early")
        remove_all_but_the_lock(one.state)
        assert await ends(worker) == 78
        rescued = beside(one, ".rescued")
        assert str(rescued) in worker.log_text()
        assert mode_of(rescued) == 0o600
        refused = one.start()
        assert await ends(refused) == 78
        assert f"{rescued} is a copy" in refused.log_text()

        move(rescued, one.state)
        await one.start_ready()
        await served(one, "late")
        await pause(1)
        assert nobody_twice(one), "it knew who had been served"


async def test_a_state_replaced_under_the_worker_is_not_written_to(tmp_path: Path) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        await asyncio.to_thread((await one.start_ready()).stop)
        older = tmp_path / "older.db"
        shutil.copy(one.state, older)
        worker = await one.start_ready()
        await served(one, "u")
        before = older.read_bytes()
        older.replace(one.state)
        assert await ends(worker) == 78
        assert one.state.read_bytes() == before
        assert mode_of(beside(one, ".rescued")) == 0o600
        assert nobody_twice(one)


def truncated(state: Path) -> None:
    os.truncate(state, state.stat().st_size // 2)


def header_lost(state: Path) -> None:
    with state.open("r+b") as file:
        file.write(bytes(HEADER_BYTES))


def zeroed(state: Path) -> None:
    state.write_bytes(bytes(state.stat().st_size))


def another_thing(state: Path) -> None:
    state.write_bytes(b"id,name\n1,one\n" * 1_000)


def pages_overwritten(state: Path) -> None:
    """Every third page, so that it does not matter which hold data."""
    chance = random.Random(7)
    with state.open("r+b") as file:
        for page in range(2, state.stat().st_size // PAGE_BYTES, 3):
            file.seek(page * PAGE_BYTES)
            file.write(chance.randbytes(PAGE_BYTES))


DAMAGES = [truncated, header_lost, zeroed, another_thing, pages_overwritten]


async def test_a_damaged_state_is_left_as_it_is_and_told(tmp_path: Path) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        worker = await one.start_ready()
        await served(one, "u")
        await asyncio.to_thread(worker.stop)
        whole = one.state.read_bytes()
        for damage in DAMAGES:
            one.state.write_bytes(whole)
            damage(one.state)
            before = one.state.read_bytes()
            again = one.start()
            assert await ends(again) == 78, damage
            assert "comeback restore" in again.log_text()
            assert "Traceback" not in again.log_text()
            assert one.state.read_bytes() == before
        code, output = await one.command("state")
        assert code == 78
        assert "Traceback" not in output
        one.state.write_bytes(whole)
        await one.start_ready()
        await served(one, "later")
        assert nobody_twice(one), "with the whole file back, it is known who was served"


FILE_BYTES_MAX = 256 * 1024
"""Above what the state and the log have when the disk becomes full, below what comes."""


async def test_with_a_full_disk_nothing_goes_out_and_all_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    """No file may grow, which to SQLite is what a full disk is: a write that fails."""
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        worker = await one.start_ready()
        await served(one, "early")
        _let_files_grow(worker, to_bytes=FILE_BYTES_MAX)
        tokens = come(one, "crowd", 600)

        async def told() -> bool:
            return "state_not_writable" in worker.log_text()

        await until(told, "the worker says that it cannot write")
        await pause(2)
        sent_when_full = len(one.sends)
        await pause(2)
        assert len(one.sends) == sent_when_full, "what cannot be claimed is not sent"
        assert await one.get("/-/healthy") == 200, "a restart would not help"
        _let_files_grow(worker, to_bytes=resource.RLIM_INFINITY)
        await have_it(one, tokens)
        await pause(1)
        assert "state_writable_again" in worker.log_text()
        assert nobody_twice(one)


async def test_killed_on_a_full_disk_and_started_on_it_nothing_is_doubled(tmp_path: Path) -> None:
    async with world(tmp_path, rules=PUSH_ONLY) as one:
        worker = await one.start_ready()
        await served(one, "early")
        _let_files_grow(worker, to_bytes=0)
        tokens = come(one, "late")

        async def is_counted() -> bool:
            """The log is a file too, and full."""
            told = (await one.text("/metrics")).splitlines()
            return 'comeback_store_errors_total{verb="apply"} 0.0' not in told

        await until(is_counted, "the disk is full")
        assert worker.process.poll() is None, "a log that cannot be written ends nothing"
        await asyncio.to_thread(worker.kill)
        await one.start_ready()
        await have_it(one, tokens)
        await pause(1)
        assert nobody_twice(one)


def _let_files_grow(worker: Child, *, to_bytes: int) -> None:
    _, hard = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (to_bytes, hard))
