"""Silences written beside the worker: by this process, by another, by nobody but them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.store.world import NOON_MS, World, day, open_store, opening, parked, phone, seen
from worker.errors import StateInUse, StateTooNew, StateUnwritable, UsageError
from worker.model import DAY_MS, Silence, SilenceKind
from worker.store import beside, silencebook
from worker.store.beside import writing_beside
from worker.store.migrations import SCHEMA_VERSION
from worker.store.reading import StateReader
from worker.store.silencebook import SILENCES_KEPT_MS, TEXT_CHARACTERS_MAX, SilenceBook
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(path)
    yield store
    await store.close()


def book_of(path: Path, *, on: float = 0) -> SilenceBook:
    return SilenceBook(str(path), clock=FakeClock(now_ms=day(on)))


def silenced(book: SilenceBook, comment: str = "", *, ends_ms: int | None = None) -> Silence:
    return book.add(
        SilenceKind.SILENCE, ['plan="free"'], ends_ms=ends_ms, author="eve", comment=comment
    )


# --- alone -------------------------------------------------------------------------------------


async def test_a_silence_written_without_a_worker_is_there_when_it_starts(path: Path) -> None:
    await (await open_store(path)).close()
    book = book_of(path)
    silence = silenced(book)
    assert {file.name for file in path.parent.iterdir()} == {"state.db", "state.db.lock"}
    store = await open_store(path)
    assert await store.silences() == (silence,)
    await store.close()


async def test_the_book_tells_of_all_silences_newest_first(path: Path, store: SqliteStore) -> None:
    first = silenced(book_of(path))
    ended = book_of(path, on=1).end(first.silence_id, author="bob")
    second = silenced(book_of(path, on=2))
    assert book_of(path).all(10) == (second, ended)
    assert book_of(path).all(1) == (second,)
    with StateReader(str(path), clock=FakeClock(now_ms=day(2))) as state:
        assert state.silences() == (second,)
        assert state.summary(now_ms=day(2)).silences == (second,)


async def test_who_ended_a_silence_is_kept(path: Path, store: SqliteStore) -> None:
    silence = silenced(book_of(path))
    book_of(path, on=1).end(silence.silence_id, author="bob")
    book_of(path, on=2).end(silence.silence_id, author="dan")
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT author, ended_by, ends_ms FROM silences").fetchall()
    assert rows == [("eve", "bob", day(1))]


async def test_silences_that_ended_long_ago_are_forgotten_but_their_numbers_not_given_again(
    path: Path, store: SqliteStore
) -> None:
    book = book_of(path)
    ids = [silenced(book, ends_ms=day(number)).silence_id for number in (1, 2, 900, 3)]
    await store.prune(now_ms=day(3) + SILENCES_KEPT_MS + 1)
    assert [s.silence_id for s in book.all(10)] == [ids[3], ids[2]]
    assert silenced(book).silence_id == ids[3] + 1


async def test_a_copy_that_no_worker_has_opened_yet_can_be_silenced(path: Path) -> None:
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    silence = silenced(book_of(path))
    assert book_of(path).all(10) == (silence,)


# --- refusals ----------------------------------------------------------------------------------


def test_there_must_be_a_state_file(path: Path) -> None:
    with pytest.raises(UsageError, match="start the worker once to make it"):
        silenced(book_of(path))
    assert not path.exists()


async def test_a_file_of_a_newer_comeback_is_left_alone(path: Path) -> None:
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StateTooNew):
        silenced(book_of(path))


async def test_what_would_not_be_kept_whole_is_refused(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = book_of(path)
    with pytest.raises(UsageError, match="no silence 7"):
        book.end(7, author="eve")
    with pytest.raises(UsageError, match="end in the future"):
        silenced(book, ends_ms=day(0))
    with pytest.raises(UsageError, match=r"comment has 1,001 characters.*1,000"):
        silenced(book, "x" * (TEXT_CHARACTERS_MAX + 1))
    with pytest.raises(UsageError, match="51 matchers"):
        book.add(SilenceKind.KILL, ["a=b"] * 51, ends_ms=None, author="eve", comment="")
    monkeypatch.setattr(silencebook, "SILENCES_STANDING_MAX", 2)
    silenced(book, ends_ms=day(1))
    silenced(book)
    with pytest.raises(UsageError, match="2 silences are in force"):
        silenced(book)
    silenced(book_of(path, on=1), "one of them has ended by then")


async def test_who_holds_the_lock_for_long_is_waited_for_and_then_told_of(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LOCK_WAIT_MS", 60)
    with (
        store._database.transaction(),
        pytest.raises(StateInUse, match=r"Nothing was changed; try again"),
    ):
        silenced(book_of(path))
    assert await store.silences() == ()
    silence = silenced(book_of(path))
    assert await store.silences() == (silence,)


async def test_a_file_nobody_may_write_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await open_store(path)).close()
    open_it = sqlite3.connect

    def connect(name: str, *, uri: bool, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = open_it(name.replace("=rw", "=ro"), uri=uri, **more)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StateUnwritable, match="cannot be written"):
        silenced(book_of(path))


# --- beside the worker -------------------------------------------------------------------------


async def test_the_worker_is_not_asked_to_read_what_did_not_change(
    path: Path, store: SqliteStore
) -> None:
    world = await World(store).begin()
    silence = silenced(book_of(path), ends_ms=day(5))
    assert await store.silences() == (silence,)
    asked: list[str] = []
    store._database._connection.set_trace_callback(asked.append)
    await world.tell(seen("ann", 0))
    asked.clear()
    for _ in range(3):
        assert await store.silences() == (silence,)
    assert set(asked) == {"PRAGMA data_version"}
    another = silenced(book_of(path))
    both = await store.silences()
    assert both == (silence, another)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM journal")
        connection.execute("DELETE FROM users")
        connection.commit()
    assert await store.silences() is both, "somebody wrote, but no silence"


async def test_the_book_waits_for_the_disk_after_it_has_freed_the_lock(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        with store._database.transaction():
            pass  # the worker is not kept waiting

    monkeypatch.setattr(os, "fsync", fsync)
    silenced(book_of(path))
    assert synced == [os.stat(f"{path}-wal").st_ino]  # noqa: PTH116


async def test_the_book_leaves_the_log_to_the_worker(path: Path, store: SqliteStore) -> None:
    with writing_beside(str(path)) as connection:
        levels = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("synchronous", "wal_autocheckpoint", "busy_timeout")
        ]
    assert levels == [1, 0, 20]


async def at_work(store: SqliteStore, until: asyncio.Future[Any]) -> int:
    """The worker goes on with batches and sweeps until something is done; how many rounds."""
    world = await World(store).begin()
    rounds = 0
    while not until.done():
        user = f"user-{rounds}"
        start = rounds / 10
        await world.tell(seen(user, start), phone(user), on=start)
        await world.sweep(opening(start + 7), on=start + 7)
        await store.recover(now_ms=day(start + 7))
        await world.sweep(parked, on=start + 7)
        await store.silences()
        await asyncio.sleep(0)
        rounds += 1
    return rounds


async def test_book_and_worker_of_one_process_write_at_the_same_time(
    path: Path, store: SqliteStore
) -> None:
    def write() -> list[int]:
        return [silenced(book_of(path)).silence_id for _ in range(40)]

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    rounds = await at_work(store, writing)
    assert rounds > 1
    assert [s.silence_id for s in await store.silences()] == await writing


ANOTHER = f"""
import sys
from worker.model import SilenceKind
from worker.store.silencebook import SilenceBook
from worker.testing import FakeClock
book = SilenceBook(sys.argv[1], clock=FakeClock(now_ms={NOON_MS}))
for number in range(40):
    silence = book.add(SilenceKind.PAUSE, [], ends_ms=None, author="eve", comment=str(number))
    if number % 2:
        book.end(silence.silence_id, author="eve")
"""


async def test_a_book_of_another_process_and_the_worker_write_at_the_same_time(
    path: Path, store: SqliteStore
) -> None:
    another = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ANOTHER, str(path), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    done = asyncio.ensure_future(another.communicate())
    rounds = await at_work(store, done)
    _, said = await done
    assert (another.returncode, said) == (0, b"")
    assert rounds > 1
    assert [s.comment for s in await store.silences()] == [str(n) for n in range(0, 40, 2)]


async def test_a_silence_ends_in_the_worker_without_anybody_writing(path: Path) -> None:
    clock = FakeClock(now_ms=day(0))
    store = await open_store(path, clock=clock)
    silence = silenced(book_of(path), ends_ms=day(1))
    assert await store.silences() == (silence,)
    clock.step_wall(DAY_MS)
    assert await store.silences() == ()
    await store.close()
