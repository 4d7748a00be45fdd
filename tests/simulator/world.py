"""A world with one worker in it: everything it can touch, and one seed that decides all of it.

`play(seed)` lives through some months and tells what could be seen of them. The same seed tells the
same story, in every process and on every machine: the only randomness are generators seeded from
it, one for each part of the world, so that leaving one fault out does not shuffle the others.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from tests.simulator import edges
from tests.simulator.clock import WorkerClock, WorldTime
from tests.simulator.faults import Faults
from tests.simulator.loop import NothingLeft, VirtualLoop
from tests.simulator.people import People
from tests.simulator.plan import Plan
from tests.simulator.provider import Message, Provider
from tests.simulator.rulebook import (
    BOOKS,
    BROKEN,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Book,
    Edit,
    book,
    edited,
)
from tests.simulator.story import Fact, Measured, Put, RulesPut, Story
from tests.simulator.stream import STREAM, Kinesis
from tests.simulator.supervisor import Supervisor
from tests.simulator.surroundings import (
    EPOCH_MS,
    as_asked,
    collect,
    folder_of_a_run,
    metrics,
    new_state,
    undisturbed,
)
from worker.kinesis.source import ANSWERS_IN_MEMORY_MAX
from worker.sandbox.stream_values import Behaviour, TrimmedPosition
from worker.settings import Settings
from worker.store import touches

RETENTION_MS = (DAY_MS, DAY_MS, 7 * DAY_MS)
POLL_MS = (5 * SECOND_MS, 30 * SECOND_MS, 2 * MINUTE_MS, 10 * MINUTE_MS)
SWEEP_MS = (20 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, 20 * MINUTE_MS)
STALENESS_MS = (5 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS)
SERVICES = (
    ("pinpoint", "pinpoint"),
    ("ses", "pinpoint"),
    ("pinpoint", "end_user_messaging"),
    ("ses", "end_user_messaging"),
)
"""What e-mail and SMS are sent by."""
PEOPLE = (3, 3, 3, 4, 4, 5, 6, 8)
FOLD_AFTER_MS = (MINUTE_MS, 6 * HOUR_MS, 4 * DAY_MS)
RELOAD_MS = 10 * SECOND_MS
WAITS_MAX = 20
"""How often a dropped task may try to wait once more."""


class World:
    """One run, before and while it is played."""

    def __init__(
        self,
        seed: int,
        days: float,
        folder: Path,
        without: frozenset[str],
        also: frozenset[str] = frozenset(),
        shelf: int | None = None,
    ) -> None:
        draw = Random(f"comeback {seed}")
        rngs = {name: Random(draw.getrandbits(64)) for name in _PARTS}
        setup = rngs["setup"]
        self.loop = VirtualLoop()
        start_ms = EPOCH_MS + round(setup.random() * 365) * DAY_MS + setup.randrange(DAY_MS)
        self.time = WorldTime(self.loop, start_ms)
        self.start_ms = start_ms
        self.end_ms = start_ms + round(days * DAY_MS)
        self.quiet_end_ms = start_ms + round(days * setup.uniform(0.6, 0.85) * DAY_MS)
        self.story = Story(seed=seed, days=days)
        self.offset_ms = 0
        self.edited_at = -inf
        self.bugs: list[str] = []
        self.graveyard: list[asyncio.Task[Any]] = []
        self.metrics = metrics()
        self.faults = Faults(
            rngs["faults"],
            days=days,
            without=without,
            also=also,
            tell=self.tell,
            now_ms=self.now_ms,
        )
        self.clock = WorkerClock(self.time, lambda: self.offset_ms, as_asked)
        """For people's own commands on the worker's machine."""
        self._puts: list[float] = []
        self._looks: list[float] = []
        self._rules_rng = rngs["rules"]
        drawn = setup.randrange(BOOKS)
        self._shelf = drawn if shelf is None else shelf
        self._edits: tuple[Edit, ...] = ()
        self.book = book(self._shelf)
        self.is_broken = False
        self.settings = self._settings(setup, folder)
        self.start_position = "TRIM_HORIZON"
        self.kinesis = Kinesis(
            self.time,
            self.faults,
            rngs["stream"],
            self.tell,
            shards=setup.choice((1, 1, 1, 2, 2, 3)),
            behaviour=self._behaviour(setup),
        )
        self.provider = Provider(self, rngs["provider"])
        self.supervisor = Supervisor(self, rngs["supervisor"])
        self._replies = rngs["replies"]
        self.people = People(self, rngs["people"], self.book, setup.choice(PEOPLE))
        self.plan = Plan(self, rngs["plan"])
        self._begin(setup)

    def _settings(self, setup: Random, folder: Path) -> Settings:
        poll_ms = setup.choice(POLL_MS)
        staleness = [ms for ms in STALENESS_MS if ms > 3 * poll_ms]
        (folder / "rules").mkdir()
        mail, texts = setup.choice(SERVICES)
        return Settings().model_copy(
            update={
                "pinpoint_application_id": "app0",
                "email_sender": mail,
                "sms_sender": texts,
                "email_from": "shop@example.com",
                "sms_origination_identity": "pool-1",
                "stream": STREAM,
                "state": folder / "state.db",
                "rules": folder / "rules",
                "poll_interval": poll_ms,
                "sweep_interval": setup.choice(SWEEP_MS),
                "max_staleness": setup.choice(staleness),
                "calls_in_flight_max": setup.choice((1, 2, 4, 8)),
                "call_timeout": setup.choice((2, 5, 10)) * SECOND_MS,
            }
        )

    def _behaviour(self, setup: Random) -> Behaviour:
        return Behaviour(
            retention_ms=setup.choice(RETENTION_MS),
            end_with_last_records=setup.random() < 0.5,
            trimmed=setup.choice(tuple(TrimmedPosition)),
        )

    def _begin(self, setup: Random) -> None:
        """What is there at the start, and the instants at which things begin and end."""
        settings = self.settings
        self._write(self.book.yaml())
        first_ms = setup.choice((0, 0, 0, 20 * HOUR_MS)) * setup.random()
        if first_ms == 0 and setup.random() < 0.5:
            self.start_position = "LATEST"
        self.story.settings = {
            "max_staleness_ms": settings.max_staleness,
            "poll_ms": settings.poll_interval,
            "sweep_ms": settings.sweep_interval,
            "reload_ms": RELOAD_MS,
            "call_timeout_ms": settings.call_timeout,
            "calls_in_flight_max": settings.calls_in_flight_max,
            "retention_ms": self.kinesis.stream.behaviour.retention_ms,
            "start_position": self.start_position,
            "email_sender": settings.email_sender,
            "sms_sender": settings.sms_sender,
            "start_ms": self.start_ms,
            "quiet_end_ms": self.quiet_end_ms,
            "end_ms": self.end_ms,
        }
        self.tell(RulesPut(at_ms=self.start_ms, rules=self.book))
        self.at_ms(self.start_ms + first_ms, self.supervisor.ensure)
        self.plan.draw()
        self.at_ms(self.quiet_end_ms, self._calm_down)
        self.at_ms(self.end_ms, self.loop.stop)

    def _calm_down(self) -> None:
        """From here on no fault strikes, and somebody works."""
        self.faults.over = True
        self.plan.disarm()
        self.supervisor.ensure()
        self.recheck()

    # --- time ---------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The true time."""
        return self.time.now_ms()

    def at_ms(self, at_ms: float, act: Callable[[], object], *, puts: bool = False) -> None:
        """Does it then; `puts`: readers of the stream have something to see."""
        at = max(self.time.seconds(at_ms), self.loop.time())
        self.loop.at(at, act)
        if puts:
            insort(self._puts, at)

    def after_ms(self, ms: float, act: Callable[[], object]) -> None:
        """Does it so much later."""
        self.loop.at(self.loop.time() + ms / 1_000, act)

    def next_put(self, now: float) -> float:
        """Loop time of the next event on the stream."""
        index = bisect_right(self._puts, now)
        return self._puts[index] if index < len(self._puts) else inf

    def next_look(self, now: float) -> float:
        """Loop time at which a sweep would find more than due users."""
        index = bisect_right(self._looks, now)
        return self._looks[index] if index < len(self._looks) else inf

    def wrote_beside(self) -> None:
        """A person's command wrote to the state, and synced the log."""
        process = self.supervisor.working
        if process is not None and process.store is not None:
            process.store.watched.note(synced=True)
        self.look_soon()

    def look_soon(self) -> None:
        """Somebody changed the state beside the worker."""
        insort(self._looks, self.loop.time() + 0.001)
        self.recheck()

    def recheck(self) -> None:
        """What waits were stretched by has changed."""
        for process in self.supervisor.processes:
            process.clock.recheck()

    # --- what is told, put, edited ------------------------------------------------------------

    def tell(self, fact: Fact) -> None:
        """A fact of the story."""
        self.story.facts.append(fact)

    def put(self, data: bytes, key: str, fact: Put) -> None:
        """Writes a record, and tells of it."""
        number = self.kinesis.put(data, key)
        self.tell(replace(fact, at_ms=self.now_ms(), record=number))
        self.recheck()

    def calling(self) -> None:
        """A call to the provider begins."""
        self.plan.calling()

    def disk_is_full(self) -> bool:
        """A write is tried now: does it fail?"""
        return self.plan.disk_is_full()

    def reached(self, message: Message) -> None:
        """A message arrived. Some come back at once, some by what they were sent."""
        if message.address not in self.people.of_address:
            return
        chance = self._replies.random()
        soon_ms = self.now_ms() + self._replies.choice((2, 60, 3_600)) * SECOND_MS * (
            self._replies.random()
        )
        if chance < 0.08:
            self.people.returns(message.address, soon_ms)
        elif chance < 0.16 and message.channel == "push":
            self.people.opens(message.address, soon_ms)

    def edit(self, edit: Edit) -> Book | None:
        """Somebody writes the folder; returns what it says then."""
        self._edits = (*self._edits, edit)
        changed = edited(self.book, edit, Random(f"book {self._shelf} {self._edits}"))
        self.is_broken = changed is None
        self.book = changed or self.book
        self._write(BROKEN if changed is None else changed.yaml())
        return changed

    def _write(self, text: str) -> None:
        (self.settings.rules / "rules.yaml").write_text(text)
        self.edited_at = self.loop.time()
        if self.loop.is_running():
            self.recheck()

    # --- the end ------------------------------------------------------------------------------

    def measure(self) -> None:
        """What has a bound, at its fullest."""
        now_ms = self.now_ms()
        in_flight, answers = self.provider.in_flight_most, self.kinesis.answers_in_flight_most
        # A user who needs more calls than there are gets them when no other is under way.
        most_of_a_user = 2 * len(book(self._shelf).rules)
        bounds = (
            ("calls_in_flight", in_flight, max(self.settings.calls_in_flight_max, most_of_a_user)),
            ("answers_in_memory", answers, ANSWERS_IN_MEMORY_MAX),
        )
        for name, value, bound in bounds:
            self.tell(Measured(at_ms=now_ms, name=name, value=value, bound=bound))

    def bury(self) -> None:
        """Kills who is left, and lets go of everything without another line being run."""
        self.bugs += self.loop.failures
        for process in [*self.supervisor.processes]:
            process.over = True
            self.graveyard.extend(asyncio.all_tasks(self.loop))
            self.loop.kill(process)
            if process.store is not None:
                process.store.drop()
        for task in self.graveyard:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.close()
        for task in self.graveyard:
            _close(task)


def _close(task: asyncio.Task[Any]) -> None:
    """Ends what was dropped while it waited; all it could still do is fenced."""
    coroutine = task.get_coro()
    for _ in range(WAITS_MAX):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001, S112  it may complain, or want to wait again
            continue
        return


_PARTS = (
    "setup", "faults", "rules", "stream", "provider", "supervisor", "replies", "people", "plan",
)  # fmt: skip


def play(
    seed: int,
    *,
    days: float = 90.0,
    without: frozenset[str] = frozenset(),
    also: frozenset[str] = frozenset(),
    shelf: int | None = None,
) -> Story:
    """One run. `without`: kinds of faults that are left out; all else stays as it was. `also`:
    kinds that strike as often as they can. `shelf`: the number of the book of rules.

    The settings of the story tell under `bugs` of what no world may cause: an exception nobody
    foresaw, a task that died of one, a look or a call that failed in the worker's own code.
    """
    # Years pass in seconds: what a worker folds every minute waits for some hours here.
    fold_after = patch.object(touches, "FOLD_AFTER_MS", FOLD_AFTER_MS[seed % len(FOLD_AFTER_MS)])
    with folder_of_a_run() as folder, undisturbed() as lines, edges.simulated(), fold_after:
        world = World(seed, days, folder, without, also, shelf)
        world.settings.state.write_bytes(new_state())
        world.settings.state.chmod(0o600)
        _run(world)
        world.bugs += lines
        world.measure()
        world.story.settings = {**world.story.settings, "bugs": tuple(world.bugs)}
        world.bury()
        story = world.story
        del world
        collect()
    return story


def _run(world: World) -> None:
    try:
        world.loop.run_forever()
    except NothingLeft:
        world.bugs.append("the world stood still")
