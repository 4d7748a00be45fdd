"""The state is readable by its own user alone: from birth, whatever the umask, and again when
somebody opened it to others. Read back from the file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.store.world import World, open_store, phone, seen


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277, 0o777], ids="umask {:04o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes_in(folder: Path) -> dict[str, str]:
    return {one.name: f"{stat.S_IMODE(one.stat().st_mode):04o}" for one in folder.iterdir()}


async def live(path: Path) -> None:
    """A worker's store writes, and is still open when its files are looked at."""
    store = await open_store(path)
    try:
        await (await World(store).begin()).tell(seen("ann", 0), phone("ann"), on=0)
        found = modes_in(path.parent)
    finally:
        await store.close()
    assert {"state.db", "state.db-wal", "state.db-shm", "state.db.lock"} <= found.keys()
    assert {name: mode for name, mode in found.items() if mode != "0600"} == {}


async def test_every_file_of_a_new_state_is_private(tmp_path: Path, umask: int) -> None:
    await live(tmp_path / "state.db")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o777])
async def test_a_state_that_others_could_read_is_closed_to_them_and_told(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "state.db"
    await live(path)
    path.chmod(mode)
    with capture_logs() as told:
        store = await open_store(path)
    await store.close()
    assert stat.S_IMODE(path.stat().st_mode) == mode & 0o700
    (event,) = told
    assert event["event"] == "state_was_readable_by_others"
    assert event["mode"] == f"{mode:04o}"


async def test_a_link_is_followed_to_the_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.db", tmp_path / "link.db"
    await (await open_store(real)).close()
    real.chmod(0o644)
    link.symlink_to(real)
    await (await open_store(link)).close()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


async def test_rights_that_cannot_be_taken_are_told_and_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    await (await open_store(path)).close()
    path.chmod(0o644)

    def not_ours(name: str, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", not_ours)
    with capture_logs() as told:
        store = await open_store(path)
    await store.close()
    assert [event["event"] for event in told] == ["state_readable_by_others"]
    assert told[0]["because"] == "Operation not permitted"


async def test_a_private_state_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await (await open_store(path)).close()
    with capture_logs() as told:
        await (await open_store(path)).close()
    assert told == []
