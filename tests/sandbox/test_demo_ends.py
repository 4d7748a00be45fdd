"""A demo that is told to stop leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHILDREN = 3
"""A Kinesis, a Pinpoint and the worker."""
SECONDS_MAX = 60.0


def children_of(pid: int) -> list[int]:
    told = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in told.read_text().split()]


def runs(pid: int) -> bool:
    """Is there such a process, other than one that only waits to be reaped?"""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not holds():  # noqa: ASYNC110  another process knows of no event of ours
            await asyncio.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("playing", [False, True], ids=["while it starts", "while it plays"])
async def test_sigterm_ends_the_sandbox_and_the_worker_too(*, playing: bool) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker.sandbox.demo", "--users", "50"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert demo.stdout is not None
    children: list[int] = []
    try:
        await until(lambda: len(children_of(demo.pid)) == CHILDREN)
        children = children_of(demo.pid)
        if playing:
            assert b"worker: " in await demo.stdout.readline()
        demo.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS_MAX):
            assert await demo.wait() == 128 + signal.SIGTERM
        assert [child for child in children if runs(child)] == []
    finally:
        if demo.returncode is None:
            demo.kill()
        for child in filter(runs, children):
            os.kill(child, signal.SIGKILL)
