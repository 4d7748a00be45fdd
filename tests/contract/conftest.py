"""The stores the contract is held against, each with a world around it.

To hold another store against it, add a line to `SUBJECTS`: a name, and an async context manager
that takes an empty folder and the clock, and yields a `Subject`:

- `store`: every verb of ports.Store, empty at the beginning, timed by that clock;
- `book`: how people silence that store by hand, with `add` and `end` of `SilencesByHand`
  (tests/store/world.py); `store.silences()` shows what they did.

The tests touch nothing else of a store. A journal, a file and errors of a disk are not part of the
contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.store.world import NOON_MS, SilencesByHand, World, open_store
from worker.model import Silence, SilenceKind
from worker.ports import Store
from worker.rehearsal.store import MemoryStore
from worker.store.silencebook import SilenceBook, add_silence, end_silence
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock


@dataclass(frozen=True, slots=True)
class Subject:
    """A store under test, and how people silence it."""

    store: Store
    book: SilencesByHand


Opened: TypeAlias = Callable[[Path, FakeClock], AbstractAsyncContextManager[Subject]]


@asynccontextmanager
async def sqlite_file(folder: Path, clock: FakeClock) -> AsyncIterator[Subject]:
    path = folder / "state.db"
    store = await open_store(path, clock=clock)
    yield Subject(store, SilenceBook(str(path), clock=clock))
    await store.close()


@dataclass(frozen=True, slots=True)
class InlineBook:
    """A state in memory has no second writer, so silences are written through its own."""

    store: SqliteStore
    clock: FakeClock

    def add(
        self,
        kind: SilenceKind,
        matchers: Sequence[str],
        *,
        ends_ms: int | None,
        author: str,
        comment: str,
    ) -> Silence:
        told = Silence(
            silence_id=0,
            kind=kind,
            matchers=tuple(matchers),
            begins_ms=self.clock.now_ms(),
            ends_ms=ends_ms,
            author=author,
            comment=comment,
        )
        with self.store._database.transaction() as connection:
            added = add_silence(connection, told)
        self.store._silences.forget()
        return added

    def end(self, silence_id: int, *, author: str) -> Silence:
        with self.store._database.transaction() as connection:
            ended = end_silence(connection, silence_id, author=author, now_ms=self.clock.now_ms())
        self.store._silences.forget()
        return ended


@asynccontextmanager
async def sqlite_in_memory(folder: Path, clock: FakeClock) -> AsyncIterator[Subject]:
    store = await open_store(":memory:", clock=clock)
    yield Subject(store, InlineBook(store, clock))
    await store.close()


@dataclass(frozen=True, slots=True)
class DictBook:
    """Silences of a state that is no file."""

    store: MemoryStore
    clock: FakeClock
    kept: dict[int, Silence] = field(default_factory=dict)

    def add(
        self,
        kind: SilenceKind,
        matchers: Sequence[str],
        *,
        ends_ms: int | None,
        author: str,
        comment: str,
    ) -> Silence:
        silence = Silence(
            silence_id=len(self.kept) + 1,
            kind=kind,
            matchers=tuple(matchers),
            begins_ms=self.clock.now_ms(),
            ends_ms=ends_ms,
            author=author,
            comment=comment,
        )
        return self._keep(silence)

    def end(self, silence_id: int, *, author: str) -> Silence:
        silence, now_ms = self.kept[silence_id], self.clock.now_ms()
        if silence.ends_ms is not None and silence.ends_ms <= now_ms:
            return silence
        return self._keep(replace(silence, ends_ms=now_ms))

    def _keep(self, silence: Silence) -> Silence:
        self.kept[silence.silence_id] = silence
        self.store.put_silence(silence)
        return silence


@asynccontextmanager
async def dicts(folder: Path, clock: FakeClock) -> AsyncIterator[Subject]:
    store = MemoryStore(clock)
    yield Subject(store, DictBook(store, clock))
    await store.close()


SUBJECTS: Mapping[str, Opened] = {
    "sqlite-file": sqlite_file,
    "sqlite-in-memory": sqlite_in_memory,
    "dicts": dicts,
}


@pytest.fixture(params=SUBJECTS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock(now_ms=NOON_MS)
    async with SUBJECTS[request.param](tmp_path, clock) as subject:
        yield await World(subject.store, clock=clock, book=subject.book).begin()
