"""One process of the worker: put together as `comeback run` does it, and ended as the world likes.

Everything that is the worker's is the worker's own; the edges are the simulated ones. A killed
process is dropped: none of its callbacks runs again, its open transaction is rolled back, its lock
is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import copy_context
from math import inf
from random import Random
from typing import TYPE_CHECKING, Literal

from tests.simulator import kept_rules
from tests.simulator.apis import CLIENTS, Wire
from tests.simulator.clock import WorkerClock
from tests.simulator.loop import OWNER, Owner
from tests.simulator.state import WatchedStore, cut_power
from tests.simulator.story import Ended, Started
from tests.simulator.stream import STREAM, KinesisClient
from worker.app import Worker, latest_rules, start_position, unless_stopped
from worker.channels import open_senders
from worker.errors import ComebackError, place_of
from worker.health import Health
from worker.kinesis.reader import ShardState
from worker.kinesis.source import LISTING_SECONDS, KinesisSource
from worker.rules.folder import fingerprint

if TYPE_CHECKING:
    from tests.simulator.world import World

HEARTBEAT_SECONDS: Mapping[str, float] = {
    "outbox": 120 * 3_600,
    "housekeeping": 72 * 3_600,
    "reload": 120 * 3_600,
    "kinesis shard list": 72 * 3_600,
    "standby": 24 * 3_600,
}
"""The longest a wait is stretched when nothing is known to happen."""

EDIT_SETTLES_SECONDS = 8.0
"""After somebody wrote the folder, it is polled as in life."""

Moment = Literal["before_commit", "after_commit"]


@asynccontextmanager
async def open_client(service: str, **_: object) -> AsyncIterator[object]:
    """`worker.senders.client.open_client` for the process that asks."""
    process = OWNER.get()
    assert isinstance(process, Process)
    yield process.client(service)


class Killed(BaseException):
    """The process is dead; this only gets its thread of control out of the way."""


class Process(Owner):
    """One life, from start to end. The store's hand (`state.Hand`) is the process itself."""

    def __init__(
        self, world: World, number: int, rng: Random, *, ended: Callable[[Process], None]
    ) -> None:
        self.world = world
        self.number = number
        self._rng = rng
        self._ended = ended
        self.stop = asyncio.Event()
        self.working = False
        """It has the state."""
        self.over = False
        self.store: WatchedStore | None = None
        self.clock = WorkerClock(world.time, lambda: world.offset_ms, self._horizon)
        self._source: KinesisSource | None = None
        self._due_ms: int | None = None
        self._began_at = inf

    def start(self) -> None:
        """Begins to run."""
        context = copy_context()
        context.run(OWNER.set, self)
        task = self.world.loop.create_task(self._main(), name="main", context=context)
        task.add_done_callback(self._finished, context=self.world.loop.world)

    async def _main(self) -> None:
        world = self.world
        folder = world.settings.rules
        seen = fingerprint(folder)
        rules = kept_rules.load(folder)
        store = await unless_stopped(self._open(), self.stop)
        if store is None:
            return
        assert isinstance(store, WatchedStore)
        self._has_state(store)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            source = KinesisSource(
                KinesisClient(world.kinesis, world.time, world.faults, self._rng, self.number),
                stream=STREAM,
                start=start_position(world.start_position),
                clock=self.clock,
                observer=world.metrics.source,
                poll_seconds=world.settings.poll_interval / 1_000,
            )
            self._source = source
            senders = await stack.enter_async_context(open_senders(world.settings, self.clock))
            worker = Worker(
                source=source,
                store=store,
                senders=senders,
                rules=latest_rules(folder, rules, seen),
                clock=self.clock,
                metrics=world.metrics,
                health=Health(clock=self.clock),
                settings=world.settings,
            )
            await worker.run(self.stop)

    async def _open(self) -> WatchedStore:
        kind = type("ProcessStore", (WatchedStore,), {"hand_of_next": self})
        store = await kind.open(  # type: ignore[attr-defined]
            str(self.world.settings.state), wait=True, clock=self.clock
        )
        assert isinstance(store, WatchedStore)
        return store

    def client(self, service: str) -> object:
        """The SDK's client of a service that sends."""
        world = self.world
        wire = Wire(world.provider, world.loop, world.faults, self._rng, self.clock)
        wire.calling = world.calling
        return CLIENTS[service](wire)

    def _has_state(self, store: WatchedStore) -> None:
        self.store = store
        self.working = True
        self._began_at = self.world.loop.time()
        self._due_ms = store.watched.next_due_ms()
        self.world.tell(Started(at_ms=self.world.now_ms(), process=self.number))

    # --- the end ------------------------------------------------------------------------------

    def _finished(self, task: asyncio.Task[None]) -> None:
        if self.dead:
            return
        error = None if task.cancelled() else task.exception()
        self.working = False
        if error is None:
            self._tell_end("stopped", "")
        elif isinstance(error, ComebackError):
            self._tell_end("failed", type(error).__name__)
        else:
            where = f"{type(error).__name__} at {place_of(error)}: {error}"
            self.world.bugs.append(where)
            self._tell_end("failed", where)

    def kill(self, where: str, *, power: bool = False) -> None:
        """Drops the process here and now."""
        world = self.world
        if self.over:
            return
        world.graveyard.extend(asyncio.all_tasks(world.loop))
        world.loop.kill(self)
        if self.store is not None:
            if power:
                cut_power(self.store)
            else:
                self.store.drop()
        world.provider.in_flight = world.kinesis.answers_in_flight = 0
        self._tell_end("killed", f"power cut, {where}" if power else where)

    def _tell_end(self, how: Literal["killed", "stopped", "failed"], where: str) -> None:
        self.over = True
        now_ms = self.world.now_ms()
        self.world.kinesis.ended_ms[self.number] = now_ms
        if self.store is not None or how == "failed":
            self.world.tell(Ended(at_ms=now_ms, process=self.number, how=how, where=where))
        self._ended(self)

    # --- the hand on its transactions (state.Hand) --------------------------------------------

    def now(self) -> float:
        """See state.Hand."""
        return self.world.loop.time()

    def before_commit(self, verb: str) -> None:
        """See state.Hand."""
        self._perhaps_kill("before_commit", verb)

    def after_commit(self, verb: str) -> None:
        """See state.Hand."""
        self._perhaps_kill("after_commit", verb)

    def _perhaps_kill(self, moment: Moment, verb: str) -> None:
        if self.dead:
            raise Killed
        armed = self.world.plan.armed_for(moment, verb)
        if armed is not None and self.working:
            self.world.faults.struck(armed.kind)
            self.kill(f"{moment} of {verb}", power=armed.power)
            raise Killed

    def disk_full(self) -> bool:
        """See state.Hand."""
        if self.dead:
            raise Killed
        return self.world.disk_is_full()

    def wrote(self) -> None:
        """See state.Hand."""
        if self.store is None:
            return
        due_ms, before_ms = self.store.watched.next_due_ms(), self._due_ms
        self._due_ms = due_ms
        if due_ms != before_ms:
            self.clock.recheck()
        self.world.plan.something_was_written(self)

    # --- how long waits may be stretched ------------------------------------------------------

    def _horizon(self, task: str, seconds: float, due: float, wakeable: bool) -> float:
        now = self.world.loop.time()
        if not self.working:
            waits = self.world.supervisor.working is not None
            return now + HEARTBEAT_SECONDS["standby"] if waits else due
        if task.startswith("kinesis shardId"):
            return self._reader_horizon(task, due, now)
        if task == "outbox" and wakeable:
            return self._outbox_horizon(due, now)
        if task == "reload" and wakeable:
            settled = now - max(self.world.edited_at, self._began_at) > EDIT_SETTLES_SECONDS
            return now + HEARTBEAT_SECONDS[task] if settled else due
        if task == "kinesis shard list" and wakeable:
            return self._lister_horizon(task, due, now)
        if task == "housekeeping":
            return now + HEARTBEAT_SECONDS[task]
        return due

    def _due_at(self) -> float:
        """Loop time at which somebody falls due, by the worker's clock."""
        if self._due_ms is None:
            return inf
        return self.world.time.seconds(self._due_ms - self.world.offset_ms)

    def _reader_horizon(self, task: str, due: float, now: float) -> float:
        assert self._source is not None
        reader = self._source._readers.get(task.removeprefix("kinesis "))
        if reader is None:
            return due
        if reader.state is not ShardState.CAUGHT_UP:
            return self.world.kinesis.outage_until(now) or due
        if self.world.kinesis.has_news(reader.shard_id):
            # Between two polls; where in its round the reader is now, nobody knows.
            return max(due, now + self._rng.random() * self.world.settings.poll_interval / 1_000)
        due_at = self._due_at()
        if due_at <= now:
            # Somebody waits for the next sweep; until then there is no use for the stream's time.
            sweep_at = self.clock.wakes_at("outbox")
            return due if sweep_at is None else sweep_at - self._rng.random()
        return max(due, min(due_at, now + HEARTBEAT_SECONDS["outbox"]))

    def _lister_horizon(self, task: str, due: float, now: float) -> float:
        """Of a stream that was made anew under the old name nobody else may ever tell."""
        description = None if self._source is None else self._source._description
        made_ms = self.world.kinesis.stream.created_ms
        if description is None or description.identity.created_ms == made_ms:
            return now + HEARTBEAT_SECONDS[task]
        # Where in its round the lister is now, nobody knows.
        return max(due, now + self._rng.random() * LISTING_SECONDS)

    def _outbox_horizon(self, due: float, now: float) -> float:
        at = self._due_at()
        if at <= now:
            return due
        look = min(at + 0.1 + self._rng.random() * 0.4, self.world.next_look(now))
        return max(due, min(look, now + HEARTBEAT_SECONDS["outbox"]))
