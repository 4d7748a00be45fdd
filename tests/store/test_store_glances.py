"""A user who was here meanwhile is only glanced at; what a look asks for is there all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.world import World, day, open_store, parked, phone, seen
from worker.model import Look, UserView
from worker.store.reading import StateReader
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock


@pytest.fixture
async def store(tmp_path: Path) -> SqliteStore:
    return await open_store(tmp_path / "state.db")


async def test_nothing_is_read_of_who_was_here_meanwhile(store: SqliteStore) -> None:
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"))
    await world.tell(seen("ann", 3))
    read: list[str] = []
    store._database._connection.set_trace_callback(read.append)
    swept = await world.sweep(parked, on=7)
    store._database._connection.set_trace_callback(None)
    await store.close()
    assert swept.users == 1
    assert not [statement for statement in read if "JOIN endpoints" in statement]


async def test_a_look_that_asks_sees_everything(store: SqliteStore, tmp_path: Path) -> None:
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"))
    await world.tell(seen("bob", 0), phone("bob"), phone("bob", 1, name="another"))
    await world.tell(seen("ann", 3), seen("bob", 3))
    with StateReader(str(tmp_path / "state.db"), clock=FakeClock(now_ms=day(7))) as state:
        known = {name: state.user(name) for name in ("ann", "bob")}
    looked: list[str] = []

    def look(view: UserView) -> Look:
        assert view == known[view.user_id]
        assert [e.endpoint_id for e in view.endpoints][-1] in ("phone-ann", "another")
        looked.append(view.user_id)
        return parked(view)

    await world.sweep(look, on=7)
    await store.close()
    assert sorted(looked) == ["ann", "bob"]
