"""Bulk writes to the address book: what `comeback import` reads, alone or beside a running worker.

Each chunk goes through `intake.apply_effect`, as if the stream had told it, so an import cannot
mean anything else than events do. How far which file was taken is a position like those of shards,
of a stream whose name no Kinesis stream can have.

Alone, it holds the worker's lock and writes thousands of endpoints a transaction. Beside a worker
it takes the write lock for `BESIDE_SECONDS` and then leaves it alone for longer, so that the
worker, which waits 200 ms for its turn, always gets it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from worker.errors import StateInUse
from worker.model import (
    Activity,
    Applied,
    Batch,
    Effect,
    Endpoint,
    Position,
    Stop,
    StreamIdentity,
)
from worker.ports import Clock
from worker.store import bulk_indexes, statements
from worker.store.addressbook import merged, read_entries
from worker.store.beside import connected_beside
from worker.store.connection import IN_MEMORY, Database, check_current, translated
from worker.store.forgotten import without_forgotten
from worker.store.intake import Incident, apply_effect, position_of
from worker.store.lock import StateLock
from worker.store.reading import open_read_only
from worker.store.rulesets import read_in_force
from worker.store.touches import Touches

IMPORTS: Final = StreamIdentity(name="import:files", created_ms=0)
"""The stream files count as; the name of a Kinesis stream has no colon."""

ALONE_ENDPOINTS: Final = 5_000
"""Written in one transaction while no worker runs."""

BESIDE_ENDPOINTS_MIN: Final = 50
BESIDE_ENDPOINTS_MAX: Final = 1_000
BESIDE_SECONDS: Final = 0.025
"""How long a transaction beside a worker should take; the next one has so many endpoints."""
BESIDE_PAUSE_SECONDS: Final = 0.06
"""Between two of them at least, and at least as long as the last one took, twice. SQLite looks for
its turn every 5 to 50 ms for as long as the worker's patience lasts."""

PLACES_AT_ONCE: Final = 200
"""Files marked as taken in one transaction."""

LOCK_TRIES_MAX: Final = 1_500
"""Of 20 ms each: 30 s."""

WAL_PAGES_ALONE: Final = 32_768
"""128 MiB between two checkpoints while nobody else is there to read the log."""

CACHE_KIB_ALONE: Final = 65_536

BULK_ENDPOINTS_MIN: Final = 100_000
"""An import of so many, and of half as many as are known, does without two indexes meanwhile."""


ENDPOINTS_KNOWN: Final = "SELECT coalesce(max(rowid), 0) FROM endpoints"
"""About; it reads one row."""


class Saying(Protocol):
    """What some endpoints say (imports.endpoints.Said)."""

    @property
    def rounds(self) -> Sequence[Mapping[str, Endpoint]]: ...
    @property
    def activities(self) -> Sequence[Activity]: ...
    @property
    def stops(self) -> Sequence[Stop]: ...


@dataclass(slots=True)
class Written:
    """What a chunk, or all of them, changed in the address book; or would, in a dry run."""

    new: int = 0
    changed: int = 0
    same: int = 0
    forgotten: int = 0
    """Not taken: the person was erased since."""
    users_merged: int = 0
    """Users known by an endpoint only, of whom the file tells whose it is."""
    users_first_seen: int = 0
    episodes_returned: int = 0

    def add(self, other: Written) -> None:
        """Sums up."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class ImportBook:
    """The state file while addresses are imported. A context manager.

    Every verb raises StateInUse when somebody holds the write lock for 30 s, StateUnwritable,
    StateDamaged, StateTooNew, TryLater; what was taken before stands, and a later run continues.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        transaction: Callable[[], AbstractContextManager[sqlite3.Connection]],
        files: ExitStack,
        mode: str,
        database: Database | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._transaction = transaction
        self._files = files
        self._database = database
        self.mode = mode
        """`alone`, `beside` a worker, or `dry`."""
        self._is_bulk = False
        self._touches = Touches()
        self.endpoints_at_once = BESIDE_ENDPOINTS_MIN if mode == "beside" else ALONE_ENDPOINTS
        """How many the next `take` should be given."""

    @classmethod
    async def open(cls, path: str, *, clock: Clock, dry: bool) -> ImportBook:
        """Alone when nobody holds the file's lock, and then makes the file if need be; beside the
        worker otherwise. Raises UsageError, TryLater, StateDamaged, StateTooNew, StateUnwritable,
        SettingsError."""
        files = ExitStack()
        with ExitStack() as undo:
            undo.callback(files.close)
            if dry:
                connection = files.enter_context(_dry(path))
                book = cls(
                    path,
                    clock=clock,
                    transaction=lambda: _looking(connection, path),
                    files=files,
                    mode="dry",
                )
            else:
                book = await cls._writing(path, clock, files)
            undo.pop_all()
        return book

    @classmethod
    async def _writing(cls, path: str, clock: Clock, files: ExitStack) -> ImportBook:
        try:
            lock = await StateLock.acquire(path, wait=False, clock=clock, on_wait=lambda _: None)
        except StateInUse:
            connection = files.enter_context(connected_beside(path))
            _make_temporary_tables(connection)
            return cls(
                path,
                clock=clock,
                transaction=lambda: _short(connection, path),
                files=files,
                mode="beside",
            )
        files.callback(lock.release)
        database = Database.open(path)
        files.callback(database.close)
        with database.snapshot() as connection:
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_ALONE}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB_ALONE}")
        return cls(
            path,
            clock=clock,
            transaction=database.transaction,
            files=files,
            mode="alone",
            database=database,
        )

    def __enter__(self) -> ImportBook:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.complete()
        finally:
            self._files.close()

    def taken(self) -> dict[str, tuple[int, bool]]:
        """Key of a file to how far it was taken, and whether to its end."""
        with self._transaction() as connection:
            rows = connection.execute(statements.POSITIONS, (IMPORTS.name,)).fetchall()
        positions = map(position_of, rows)
        return {p.shard_id: (int(p.sequence_number or 0), p.ended) for p in positions}

    def expect(self, endpoints: int) -> None:
        """About so many are coming: chooses the quickest way to write them."""
        if self.mode != "alone" or endpoints < BULK_ENDPOINTS_MIN:
            return
        with self._writing_down() as connection:
            # What a killed worker left; the indexes it takes are about to go.
            self._touches.begin(connection)
            wall_ms = self._clock.now_ms()
            while self._touches.fold_some(connection, wall_ms=wall_ms, at_once=True):
                pass
            (known,) = connection.execute(ENDPOINTS_KNOWN).fetchone()
            if known <= 2 * endpoints:
                bulk_indexes.drop(connection)
                self._is_bulk = True

    def complete(self) -> None:
        """Makes what `expect` let go."""
        if self._is_bulk:
            assert self._database is not None
            with self._database.outside() as connection:
                assert connection is not None
                bulk_indexes.make(connection)
                _make_temporary_tables(connection)
            self._is_bulk = False

    def take(self, said: Saying, *, key: str) -> tuple[Written, float]:
        """Takes a chunk in; `key` is that of any file of it. Returns what that changed, and how
        many seconds to wait before the next call."""
        if said.stops:
            self.complete()  # who holds the addresses is looked up
        began = self._clock.monotonic()
        with self._writing_down() as connection:
            written = self._apply(connection, said, key)
        return written, self._pause(began, sum(map(len, said.rounds)))

    def mark(self, upto: Mapping[str, tuple[int, bool]]) -> None:
        """Everything of these files up to there has been taken, and will not be read again."""
        if self.mode == "dry":
            return
        places = list(upto.items())
        for first in range(0, len(places), PLACES_AT_ONCE):
            with self._writing_down() as connection:
                self._know_stream(connection)
                for key, (offset, done) in places[first : first + PLACES_AT_ONCE]:
                    position = Position(shard_id=key, sequence_number=str(offset), ended=done)
                    self._tell(connection, Effect(), position, Written())

    def _apply(self, connection: sqlite3.Connection, said: Saying, key: str) -> Written:
        written = Written()
        if self.mode != "dry":
            self._know_stream(connection)
        before: dict[str, Endpoint] = {}
        activities, stops = tuple(said.activities), tuple(said.stops)
        for told in said.rounds:
            effect = Effect(activities=activities, endpoints=tuple(told.values()), stops=stops)
            kept = without_forgotten(connection, effect)
            written.forgotten += len(effect.endpoints) - len(kept.endpoints)
            news = _news(connection, kept.endpoints, written, before)
            activities = stops = ()
            if self.mode == "dry":
                continue
            effect = Effect(activities=kept.activities, endpoints=news, stops=kept.stops)
            applied = self._tell(connection, effect, Position(shard_id=key), written)
            written.users_first_seen += applied.users_new
            written.episodes_returned += applied.episodes_returned
        return written

    def _tell(
        self, connection: sqlite3.Connection, effect: Effect, position: Position, written: Written
    ) -> Applied:
        def count(incident: Incident, times: int) -> None:
            if incident is Incident.USER_MERGED:
                written.users_merged += times

        in_force = read_in_force(connection)
        now_ms = self._clock.now_ms()
        return apply_effect(
            connection,
            effect,
            Batch(stream=IMPORTS, position=position, records=(), read_through_ms=now_ms),
            now_ms=now_ms,
            rearm_after_ms=in_force.rearm_after_ms if in_force is not None else None,
            count=count,
            touches=self._touches,
            wall_ms=now_ms,
        )

    @contextmanager
    def _writing_down(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._transaction() as connection:
                yield connection
        except BaseException:
            self._touches.distrust()
            raise

    def _know_stream(self, connection: sqlite3.Connection) -> None:
        if connection.execute(statements.STREAM_BORN, (IMPORTS.name,)).fetchone() is None:
            connection.execute(statements.PUT_STREAM, (IMPORTS.name, IMPORTS.created_ms))

    def _pause(self, began: float, endpoints: int) -> float:
        if self.mode != "beside":
            return 0.0
        seconds = max(self._clock.monotonic() - began, 0.001)
        fitting = int(endpoints * BESIDE_SECONDS / seconds)
        allowed = min(2 * self.endpoints_at_once, BESIDE_ENDPOINTS_MAX)
        self.endpoints_at_once = max(BESIDE_ENDPOINTS_MIN, min(fitting, allowed))
        return max(BESIDE_PAUSE_SECONDS, 2 * seconds)


def _news(
    connection: sqlite3.Connection,
    told: Sequence[Endpoint],
    written: Written,
    before: dict[str, Endpoint],
) -> tuple[Endpoint, ...]:
    """Those that say something the address book does not know. `before`: signals of the rounds
    before, which a dry run has not written; gets those of this one."""
    entries = read_entries(connection, told)
    news: list[Endpoint] = []
    for endpoint in told:
        earlier = before.setdefault(endpoint.endpoint_id, endpoint)
        old = entries.get(endpoint.endpoint_id)
        if earlier is not endpoint:
            old = merged(old, earlier)
        if old is None:
            written.new += 1
        else:
            new = merged(old, endpoint)
            if new.facts == old.facts:
                written.same += 1
            else:
                written.changed += 1
            if new == old:
                continue
        news.append(endpoint)
    return tuple(news)


@contextmanager
def _dry(path: str) -> Iterator[sqlite3.Connection]:
    """The state as it is, or an empty one."""
    if not Path(path).is_file():
        database = Database.open(IN_MEMORY)
        try:
            with database.snapshot() as connection:
                yield connection
        finally:
            database.close()
        return
    with translated(path), closing(open_read_only(path)) as connection:
        check_current(connection, path)
        _make_temporary_tables(connection)
        yield connection


@contextmanager
def _looking(connection: sqlite3.Connection, path: str) -> Iterator[sqlite3.Connection]:
    with translated(path):
        yield connection


@contextmanager
def _short(connection: sqlite3.Connection, path: str) -> Iterator[sqlite3.Connection]:
    """A transaction beside the worker. Not synced: what a power cut takes away is read again."""
    with translated(path):
        for _ in range(LOCK_TRIES_MAX):
            try:
                connection.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
        else:
            raise StateInUse(
                f"{path}: its worker kept it locked for 30 s. What was imported stands; run the "
                "same command again, it continues there."
            )
        check_current(connection, path)
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _make_temporary_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA temp_store = MEMORY")
    for table in statements.TEMPORARY_TABLES:
        connection.execute(table)
