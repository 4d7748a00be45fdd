"""The Store port on one SQLite file: the embedded mode, and on ":memory:" the double for tests.

One process, one connection, one writer: the file's lock is held from `open` to `close`. Each verb
is one short transaction that runs inline and never awaits, so it is atomic for the event loop too.
What a transaction does is in `intake` (a batch), `looks` (sweeps and outcomes), `addressbook`,
`rulesets` and `silencebook`; all SQL is in `statements` and `policy_statements`; durability and
errors are in `connection`.

Every verb may raise StateUnwritable, StateInUse or StateDamaged; then nothing of it was done, and
it may be tried again. Those that learn or send raise StateMissing when the file was removed.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from worker.faces import Faces, StaleFaces
from worker.model import (
    DAY_MS,
    Adoption,
    Applied,
    Batch,
    Effect,
    Reason,
    RetiredRule,
    Settlement,
    Silence,
    Spend,
    StreamIdentity,
    StreamMemory,
    Swept,
)
from worker.ports import Admits, Clock, Decide
from worker.store import statements
from worker.store.connection import IN_MEMORY, Database, translated, want
from worker.store.intake import Incident, apply_effect, position_of
from worker.store.lock import StateLock
from worker.store.looks import FailedLooks, recover_claims, settle_claims, sweep_due
from worker.store.presence import Presence, require_made
from worker.store.rulesets import mark_armed, prune_rule_sets, read_in_force, read_retired, record
from worker.store.silencebook import SilencesStanding, prune_silences
from worker.store.spends import prune_spends, read_spends
from worker.store.touches import Touches

ADOPT_CHUNK_USERS = 5_000
"""Users re-armed in one transaction when a rule set is adopted."""

WAKE_CHUNK_USERS = 5_000
"""Users made due in one transaction by `wake`."""

JOURNAL_KEPT_MS = 90 * DAY_MS
EPISODES_KEPT_MS = 400 * DAY_MS
"""Closed episodes and their claims, beside the latest of each user and rule, which stays. Caps that
look further back keep them longer."""

PRUNE_ROWS_MAX = 5_000
"""Rows one `prune` examines in each table."""

log = structlog.get_logger()


def _tell_nobody(holder: str) -> None:
    """The default for `on_wait`."""


class SqliteStore:
    """The durable state of one worker (ports.Store)."""

    def __init__(self, database: Database, lock: StateLock | None, clock: Clock) -> None:
        self._database = database
        self._lock = lock
        self._presence = Presence(database.path)
        self._clock = clock
        self._pruned_upto = 0
        self.incidents: Counter[Incident] = Counter(dict.fromkeys(Incident, 0))
        """How often what happened since the start; for the metrics."""
        with database.snapshot() as connection:
            in_force = read_in_force(connection)
        self._rearm_after_ms = in_force.rearm_after_ms if in_force else None
        self._sends_for_ms = in_force.sends_for_ms if in_force else 0
        self._silences = SilencesStanding(database)
        self._failed_looks = FailedLooks()
        self._touches = Touches()

    @classmethod
    async def open(
        cls,
        path: str,
        *,
        wait: bool,
        clock: Clock,
        on_wait: Callable[[str], None] = _tell_nobody,
    ) -> SqliteStore:
        """Opens the state file, made or migrated as needed, and locks it for this process.

        When another process has it: raises StateInUse, or with `wait` becomes its standby, calls
        `on_wait(holder)` once and returns when the file is free. Raises StateDamaged, StateTooNew,
        StateUnwritable. `path` ":memory:" is a state of its own that ends with the process.
        """
        lock = None
        if path != IN_MEMORY:
            lock = await StateLock.acquire(path, wait=wait, clock=clock, on_wait=on_wait)
        try:
            if lock is not None and lock.made:
                require_made(path, lock_path=lock.path)
            store = cls(Database.open(path), lock, clock)
            if lock is not None:
                with translated(path):
                    lock.remember()
            return store
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    @property
    def faces(self) -> Faces:
        """See ports.Store."""
        return self._touches.faces

    @contextmanager
    def _touching(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction that may change what touches are about."""
        try:
            with self._database.transaction(durable=durable) as connection:
                yield connection
        except StaleFaces:
            raise
        except BaseException:
            self._touches.distrust()
            raise

    async def positions(self, stream: StreamIdentity) -> StreamMemory:
        """See ports.Store."""
        with self._database.transaction() as connection:
            born = connection.execute(statements.STREAM_BORN, (stream.name,)).fetchone()
            is_another = born is not None and born[0] != stream.created_ms
            if born is None or is_another:
                connection.execute(statements.FORGET_POSITIONS, (stream.name,))
                connection.execute(statements.PUT_STREAM, (stream.name, stream.created_ms))
            rows = connection.execute(statements.POSITIONS, (stream.name,)).fetchall()
        if is_another:
            self._count(Incident.STREAM_RECREATED, 1)
            log.warning("stream_recreated", stream=stream.name, reading="from its beginning")
        recreated = is_another or (born is not None and bool(born[1]))
        return StreamMemory(positions=tuple(map(position_of, rows)), recreated=recreated)

    async def apply(self, effect: Effect, batch: Batch, *, now_ms: int) -> Applied:
        """See ports.Store."""
        self._presence.require()
        with self._touching() as connection:
            return apply_effect(
                connection,
                effect,
                batch,
                now_ms=now_ms,
                rearm_after_ms=self._rearm_after_ms,
                count=self._count,
                touches=self._touches,
                wall_ms=self._clock.now_ms(),
            )

    async def adopt(self, adoption: Adoption) -> None:
        """See ports.Store. Due at once are the users some rule may now want something of: those
        silent for `rearm_after_ms`, and those on a ladder. The others become due when their silence
        is that long, so that the cost follows what can change and not the number of users.

        Works in chunks between which others run. The set is recorded first and marked when all of
        it is done: sweeps in between go by it already, so whatever set comes after a crash, this
        one or the one before, makes everybody due anew.
        """
        self._rearm_after_ms = adoption.rearm_after_ms
        self._touches.faces.clear()
        self._sends_for_ms = adoption.sends_for_ms
        with self._database.transaction() as connection:
            in_force = record(connection, adoption, now_ms=self._clock.now_ms())
        if not in_force.is_armed:
            await self._rearm(adoption.rearm_after_ms)
            with self._database.transaction() as connection:
                mark_armed(connection, in_force.rule_set)

    async def _rearm(self, rearm_after_ms: int | None) -> None:
        moments = {"now_ms": self._clock.now_ms(), "rearm_after_ms": rearm_after_ms}
        first: str | None = ""
        while first is not None:
            with self._database.transaction() as connection:
                want(connection, ())
                connection.execute(statements.WANT_CHUNK, (first, ADOPT_CHUNK_USERS))
                connection.execute(statements.LOOK_AGAIN, moments)
                following = connection.execute(
                    statements.NEXT_CHUNK, (first, ADOPT_CHUNK_USERS)
                ).fetchone()
            first = following[0] if following else None
            await self._clock.sleep(0)

    async def retired(self, rules: Mapping[str, str]) -> Sequence[RetiredRule]:
        """See ports.Store."""
        with self._database.snapshot() as connection:
            return read_retired(connection, rules)

    async def silences(self) -> tuple[Silence, ...]:
        """See ports.Store. Ended are those whose end has come by the store's own clock."""
        self._presence.require()
        return self._silences.at(self._clock.now_ms())

    async def wake(self, holds: Collection[Reason], *, now_ms: int) -> None:
        """See ports.Store. Works in chunks between which others run; what a crash leaves undone is
        due when its hold is looked at again."""
        for hold in sorted(holds):
            after = ""
            while True:
                with self._database.transaction() as connection:
                    waiting = [
                        row[0]
                        for row in connection.execute(
                            statements.WAITING_FOR, (hold, after, WAKE_CHUNK_USERS)
                        )
                    ]
                    want(connection, waiting)
                    connection.execute(statements.DUE_NOW, {"now_ms": now_ms})
                if len(waiting) < WAKE_CHUNK_USERS:
                    break
                after = waiting[-1]
                await self._clock.sleep(0)

    async def spends(self, since_ms: int) -> Sequence[Spend]:
        """See ports.Store."""
        with self._database.snapshot() as connection:
            return read_spends(connection, since_ms)

    async def sweep(self, *, now_ms: int, decide: Decide, admits: Admits, users_max: int) -> Swept:
        """See ports.Store. Synced to disk before it returns (P1)."""
        self._presence.require()
        assert users_max > 0
        due_ms = await self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return Swept(users=0, deliveries=(), decisions=(), more=False)
        with self._touching(durable=True) as connection:
            self._touches.begin(connection)
            return sweep_due(
                connection,
                now_ms=now_ms,
                decide=decide,
                admits=admits,
                users_max=users_max,
                sends_for_ms=self._sends_for_ms,
                count=self._count,
                failures=self._failed_looks,
                touches=self._touches,
            )

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> None:
        """See ports.Store. Not synced: what a power cut takes away leaves a claim uncertain."""
        with self._touching() as connection:
            self._touches.begin(connection)
            settle_claims(connection, settlements, self._touches, now_ms=now_ms)

    async def recover(self, *, now_ms: int) -> int:
        """See ports.Store."""
        with self._database.transaction() as connection:
            return recover_claims(connection, now_ms=now_ms)

    async def next_due_ms(self) -> int | None:
        """See ports.Store."""
        with self._database.snapshot() as connection:
            due_ms: int | None = connection.execute(statements.NEXT_DUE).fetchone()[0]
            return due_ms

    async def prune(self, *, now_ms: int) -> int:
        """See ports.Store. Goes through the episodes a piece per call and then from the start."""
        kept_ms = max(EPISODES_KEPT_MS, self._sends_for_ms)
        after = self._pruned_upto
        with self._database.transaction() as connection:
            removed = connection.execute(
                statements.PRUNE_JOURNAL,
                {"rows_max": PRUNE_ROWS_MAX, "before_ms": now_ms - JOURNAL_KEPT_MS},
            ).rowcount
            removed += prune_rule_sets(connection, now_ms)
            removed += prune_spends(connection, now_ms)
            removed += prune_silences(connection, now_ms)
            upto, examined = connection.execute(
                statements.EPISODES_UPTO, (after, PRUNE_ROWS_MAX)
            ).fetchone()
            if examined:
                want(connection, ())
                spent = {"after": after, "upto": upto, "before_ms": now_ms - kept_ms}
                connection.execute(statements.WANT_SPENT_EPISODES, spent)
                removed += connection.execute(statements.FORGET_CLAIMS_WANTED).rowcount
                removed += connection.execute(statements.FORGET_EPISODES_WANTED).rowcount
        self._pruned_upto = upto if examined == PRUNE_ROWS_MAX else 0
        await self._fold_touches()
        return removed

    async def _fold_touches(self) -> None:
        """Folds those whose time has come, in pieces between which others run. Batches do that in
        passing, but an idle stream has none."""
        more = True
        while more:
            with self._touching() as connection:
                self._touches.begin(connection)
                more = self._touches.fold_some(connection, wall_ms=self._clock.now_ms())
            await self._clock.sleep(0)

    async def close(self) -> None:
        """See ports.Store. A second call does nothing. A file that was removed under the worker is
        saved beside it first."""
        try:
            if self._presence.is_lost:
                self._rescue()
            self._database.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    def _rescue(self) -> None:
        with self._database.outside() as connection:
            if connection is not None:
                log.error("state_rescued", file=self._presence.rescue(connection))

    def _count(self, incident: Incident, times: int) -> None:
        self.incidents[incident] += times
