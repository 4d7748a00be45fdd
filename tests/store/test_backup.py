"""A copy of the state is one moment of it, whoever writes meanwhile; a restore is careful."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.schema_dump import path_of
from tests.store.world import World, day, open_store, opening, phone, seen
from worker.errors import StateDamaged, StateInUse, StateTooNew, StateUnwritable, UsageError
from worker.model import Adoption
from worker.store import backup
from worker.store.backup import Copy, copy_state, inspect_copy
from worker.store.forget import forget
from worker.store.migrations import SCHEMA_VERSION
from worker.store.reading import StateReader
from worker.store.restore import Restored, restore_state
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "copy.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(path)
    yield store
    await store.close()


def clock(on: float = 0) -> FakeClock:
    return FakeClock(now_ms=day(on))


def copied(path: Path, target: Path, *, on: float = 0, **more: Any) -> Copy:
    return copy_state(str(path), target, clock=clock(on), **more)


async def restored(copy: Path, path: Path, *, on: float = 1, **more: Any) -> Restored:
    return await restore_state(copy, str(path), clock=clock(on), **more)


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def content(path: Path) -> list[str]:
    """Everything in a state file but when it was copied."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if 'INTO "copies"' not in line]


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def copies_in(folder: Path) -> list[str]:
    """Every file there that has to do with the copy."""
    return sorted(file.name for file in folder.iterdir() if "copy" in file.name)


def leave_dead(path: Path, dead: Path) -> None:
    """The files of a process that was killed now."""
    for end in ("", "-wal"):
        Path(f"{dead}{end}").write_bytes(Path(f"{path}{end}").read_bytes())


def damage(path: Path) -> None:
    """Overwrites a page in the middle."""
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\x99" * 4096)


# --- the copy ----------------------------------------------------------------------------------


async def test_a_copy_says_what_it_holds(path: Path, target: Path, store: SqliteStore) -> None:
    world = await World(store).begin()
    await world.tell(seen("ann", 2), phone("ann"), seen("bob", 1), on=2)
    copy = copied(path, target, on=3)
    assert (copy.users, copy.last_active_ms, copy.shards) == (2, day(2), 1)
    assert (copy.schema_version, copy.copied_ms) == (SCHEMA_VERSION, day(3))
    assert copy.file_bytes == len(read(target))
    assert inspect_copy(target) == copy


async def test_a_copy_is_one_private_file(
    path: Path, target: Path, store: SqliteStore, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        copied(path, target)
    finally:
        os.umask(before)
    assert mode_of(target) == 0o600
    assert copies_in(tmp_path) == ["copy.db"]
    assert rows(target, "PRAGMA journal_mode") == [("delete",)]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.integers(0, 40),
    per_step=st.lists(st.integers(0, 6), max_size=12),
    pages=st.integers(1, 40),
)
def test_a_copy_made_during_writes_is_some_prefix_of_the_commits(
    before: int, per_step: list[int], pages: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("prefix")
    path, target = folder / "state.db", folder / "copy.db"
    lived: list[list[str]] = []
    steps = iter(per_step)

    def write(world: World, count: int) -> None:
        for _ in range(count):
            number = len(lived)
            signals = seen(f"user-{number}", 0), phone(f"user-{number % 7}", number / 100)
            at_once(world.tell(*signals, on=number))
            lived.append(content(path))

    async def play() -> None:
        store = await open_store(path)
        world = await World(store).begin()
        lived.append(content(path))
        write(world, before)
        begun = len(lived)
        copied(path, target, on_progress=lambda _done, _total: write(world, next(steps, 0)))
        assert content(target) == lived[begun - 1]
        await store.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backup, "STEP_PAGES", pages)
        asyncio.run(play())


def at_once(work: Coroutine[Any, Any, object]) -> None:
    """Runs a verb of the store to its end: it never waits."""
    with pytest.raises(StopIteration):
        work.send(None)


async def test_the_log_that_grew_during_a_copy_is_written_back_by_the_copier(
    path: Path, target: Path
) -> None:
    await (await open_store(path)).close()
    store = await open_store(path)
    world = await World(store).begin()
    for number in range(20):
        at_once(world.tell(seen(f"user-{number}", 0), phone(f"user-{number}")))

    def users_without_the_log() -> int:
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
            count: int = connection.execute("SELECT count(*) FROM users").fetchone()[0]
            return count

    assert users_without_the_log() == 0
    copied(path, target)
    assert users_without_the_log() == 20
    await store.close()


async def test_a_copy_of_a_state_that_was_killed_has_its_last_commit(
    path: Path, target: Path, store: SqliteStore, tmp_path: Path
) -> None:
    world = await World(store).begin()
    await world.tell(seen("ann", 2), on=2)
    dead = tmp_path / "dead.db"
    leave_dead(path, dead)
    assert copied(dead, target).users == 1


def test_a_file_of_an_earlier_version_can_be_copied_before_the_upgrade(
    path: Path, target: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(path_of(1).read_text())
    copy = copied(path, target)
    assert (copy.schema_version, copy.copied_ms, copy.users) == (1, None, 3)


# --- what a copy refuses -----------------------------------------------------------------------


async def test_nothing_is_written_over_unless_it_is_said(
    path: Path, target: Path, store: SqliteStore
) -> None:
    write(target, b"precious")
    with pytest.raises(UsageError, match="exists already"):
        copied(path, target)
    assert read(target) == b"precious"
    assert copied(path, target, force=True).users == 0


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
async def test_the_state_is_never_written_over(
    path: Path, store: SqliteStore, tmp_path: Path, end: str
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(f"{path}{end}")
    for name in (Path(f"{path}{end}"), link):
        with pytest.raises(UsageError, match="is the state itself"):
            copied(path, name, force=True)


async def test_a_damaged_state_leaves_the_earlier_copy_alone(
    path: Path, target: Path, tmp_path: Path
) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    for number in range(50):
        await world.tell(seen(f"user-{number}", 0), phone(f"user-{number}"))
    await store.close()
    copied(path, target)
    good = read(target)
    damage(path)
    with pytest.raises(StateDamaged, match=r"state\.db"):
        copied(path, target, force=True)
    assert read(target) == good
    assert copies_in(tmp_path) == ["copy.db"]


async def test_a_volume_without_room_is_told_before_anything_is_written(
    path: Path, target: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 100

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Full)
    with pytest.raises(StateUnwritable, match="Nothing was written"):
        copied(path, target)
    assert copies_in(target.parent) == []


def test_there_must_be_a_state_and_a_folder(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no state file"):
        copied(path, tmp_path / "copy.db")


async def test_the_folder_of_a_copy_must_be_there(
    path: Path, store: SqliteStore, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        copied(path, tmp_path / "nowhere" / "copy.db")


# --- restore -----------------------------------------------------------------------------------


async def lived(path: Path) -> None:
    """Ann's stage was due on day 7, Bob's is due on day 9, Cid's ladder begins on day 12. Ann's
    call and nobody else's was under way when all stopped."""
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(opening(7), on=7)
    await world.tell(seen("bob", 2), phone("bob"), on=7)
    await world.sweep(opening(9), on=9)
    await world.tell(seen("cid", 5), phone("cid"), on=9)
    await store.close()


EPISODES = "SELECT user_id, outcome, closed_ms FROM episodes ORDER BY user_id"


async def test_what_fell_due_before_the_restore_counts_as_sent(path: Path, target: Path) -> None:
    await lived(path)
    copied(path, target, on=8)
    remove(path)
    done = await restored(target, path, on=8)
    assert (done.episodes_closed, done.sends_uncertain) == (1, 1)
    assert rows(path, EPISODES) == [("ann", "cancelled", day(8)), ("bob", None, None)]
    claims = "SELECT user_id, state, reason, maybe_sent FROM claims ORDER BY user_id"
    assert rows(path, claims) == [("ann", "uncertain", "restored", 1), ("bob", "claimed", None, 0)]
    told = rows(path, "SELECT user_id, action, reason, outcome FROM journal ORDER BY id DESC")
    assert told[0] == ("ann", "close", "restored", "cancelled")


async def test_resend_changes_nothing_in_the_copy(path: Path, target: Path) -> None:
    await lived(path)
    copied(path, target, on=8)
    before = content(target)
    done = await restored(target, path, on=30, resend=True, force=True)
    assert (done.until_ms, done.episodes_closed) == (None, 0)
    assert content(path) == before


async def test_views_tell_of_rules_that_may_have_sent_and_only_of_those(
    path: Path, target: Path
) -> None:
    await lived(path)
    copied(path, target, on=8)
    remove(path)
    done = await restored(target, path, on=8)
    store = await open_store(path)
    world = World(store)
    assert done.until_ms is not None
    for revision, rules in (("second", {"summer": "r1"}), ("third", {"autumn": "r1"})):
        await store.adopt(
            Adoption(revision=revision, rearm_after_ms=1, sends_for_ms=0, rules=rules)
        )
    view = await world.view_of("cid")
    assert view.restored == {"winback": done.until_ms, "summer": done.until_ms}
    await store.close()


async def test_a_state_in_use_is_not_replaced(path: Path, target: Path, store: SqliteStore) -> None:
    copied(path, target)
    with pytest.raises(StateInUse, match=r"in use by pid \d+"):
        await restored(target, path, force=True)


async def test_a_state_that_is_there_is_kept_aside_with_its_log(
    path: Path, target: Path, tmp_path: Path
) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0))
    copied(path, target)
    await world.tell(seen("bob", 0))
    dead = tmp_path / "dead.db"
    leave_dead(path, dead)
    await store.close()
    with pytest.raises(UsageError, match="Add --force"):
        await restored(target, dead)
    done = await restored(target, dead, force=True)
    assert done.kept_aside is not None
    users = "SELECT user_id FROM users ORDER BY 1"
    assert rows(done.kept_aside, users) == [("ann",), ("bob",)]
    assert rows(dead, users) == [("ann",)]
    assert mode_of(dead) == 0o600


async def test_a_state_that_cannot_be_opened_is_kept_aside_as_it_is(
    path: Path, target: Path
) -> None:
    await lived(path)
    copied(path, target)
    write(path, b"garbage" * 1_000)
    write(Path(f"{path}-wal"), b"log")
    done = await restored(target, path, force=True)
    assert done.kept_aside is not None
    assert not done.erasures_read
    assert read(done.kept_aside) == b"garbage" * 1_000
    assert read(Path(f"{done.kept_aside}-wal")) == b"log"
    await (await open_store(path)).close()


async def test_a_damaged_copy_or_one_of_a_newer_version_is_refused(
    path: Path, target: Path
) -> None:
    await lived(path)
    copied(path, target)
    before = read(path)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StateTooNew):
        await restored(target, path, force=True)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    damage(target)
    with pytest.raises(StateDamaged):
        await restored(target, path, force=True)
    write(target, b"")
    with pytest.raises(StateDamaged, match="is empty"):
        await restored(target, path, force=True)
    with pytest.raises(UsageError, match="no such file"):
        await restored(target.with_name("none.db"), path, force=True)
    assert read(path) == before


async def test_a_copy_of_an_earlier_version_is_brought_up_to_date(path: Path, target: Path) -> None:
    with closing(sqlite3.connect(target)) as connection:
        connection.executescript(path_of(1).read_text())
    before = read(target)
    done = await restored(target, path)
    assert done.copy.schema_version == 1
    assert rows(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert read(target) == before, "the copy stays as it is"


async def test_people_erased_since_the_copy_are_erased_again(path: Path, target: Path) -> None:
    await lived(path)
    copied(path, target, on=8)
    forget(str(path), "ann", clock=clock(9))
    done = await restored(target, path, on=10, force=True)
    assert (done.erased_again, done.erasures_read) == (1, True)
    assert [row[0] for row in rows(path, "SELECT user_id FROM users ORDER BY 1")] == ["bob", "cid"]
    with StateReader(str(path), clock=clock(10)) as reader:
        assert reader.user("ann") is None
    store = await open_store(path)
    await World(store).tell(seen("ann", 8.5), on=10)
    await store.close()
    assert [row[0] for row in rows(path, "SELECT user_id FROM users ORDER BY 1")] == ["bob", "cid"]
