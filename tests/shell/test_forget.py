"""`comeback forget`: who is erased, what is asked first, and a worker that goes on beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.core.timeline import day, rule, stage
from tests.shell.bench_world import desk, endpoint, seen
from tests.store.world import World, mailbox, open_store, phone
from tests.store.world import seen as was_here
from worker.cli import commands
from worker.store.forget import forget
from worker.testing import FakeClock


class Console:
    """The command, on one state."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def run(self, *words: str, answer: str | None = None) -> Result:
        environment = {"COMEBACK_STATE": str(self.state)}
        return CliRunner().invoke(commands, list(words), env=environment, input=answer)

    def knows(self, user: str) -> bool:
        return self.run("explain", user).exit_code == 0


@pytest.fixture
async def console(tmp_path: Path) -> Console:
    store = await open_store(tmp_path / "state.db")
    world = await World(store).begin()
    await world.tell(was_here("ann", 0), phone("ann"), mailbox("ann", "ann@example.com"))
    await world.tell(was_here("bob", 0), phone("bob"), mailbox("bob", "both@example.com"))
    await world.tell(was_here("cid", 0), mailbox("cid", "both@example.com"))
    await store.close()
    return Console(tmp_path / "state.db")


def test_it_asks_first_and_then_tells_what_is_gone(console: Console) -> None:
    assert console.run("forget", "ann", answer="n\n").exit_code == 1
    assert console.knows("ann")
    result = console.run("forget", "ann", answer="y\n")
    assert result.exit_code == 0
    assert "erased; this cannot be undone" in result.stdout
    assert ["endpoints", "with", "addresses", "2"] in [x.split() for x in result.stdout.split("\n")]
    assert not console.knows("ann")
    assert console.knows("bob")
    assert "nothing was known" in console.run("forget", "ann", "--yes").stdout


def test_an_address_or_an_endpoint_is_not_erased_but_the_user_is_named(console: Console) -> None:
    for word, users in (("both@example.com", "bob, cid"), ("PHONE-ANN", "ann")):
        error: Any = console.run("forget", word, "--yes").exception
        assert error.exit_code == 2
        assert users in str(error)
    assert all(map(console.knows, ("ann", "bob", "cid")))


def test_nothing_it_prints_shows_an_address(console: Console) -> None:
    result = console.run("forget", "ann", "--yes")
    assert "example.com" not in result.output
    assert "token" not in result.output


async def test_a_worker_goes_on_and_sends_nothing_to_who_was_erased(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    one = await desk(rule(stages=(stage("push"),)), path=str(path))
    task = asyncio.create_task(one.outbox.run())
    try:
        one.sender.gate.clear()
        await one.tell(seen("ann", 0), endpoint("ann", "GCM", "token-ann"))
        await one.tell(seen("bob", 2), endpoint("bob", "GCM", "token-bob"))
        await one.pass_time()
        assert one.sent == [("ann", "push", "token-ann")]
        done = forget(str(path), "ann", clock=FakeClock(now_ms=one.clock.now_ms()))
        assert done.under_way == 1
        assert forget(str(path), "bob", clock=FakeClock(now_ms=day(8))).endpoints == 1
        one.sender.gate.set()
        await one.pass_time(days=30)
        assert one.sent == [("ann", "push", "token-ann")]
        await one.tell(seen("ann", 38), endpoint("ann", "GCM", "token-new", at_ms=day(38)))
        await one.pass_time(days=8)
        assert one.sent[1:] == [("ann", "push", "token-new")]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.store.close()
