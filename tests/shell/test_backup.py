"""Backup and restore as people use them: the commands, and a worker that lost its state."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core import samples
from tests.core.timeline import LADDER, day, rule, rule_set
from tests.shell.feed import FeedSource
from tests.store.world import World, open_store, opening, phone, seen
from worker.app import Worker
from worker.cli import commands
from worker.health import Health
from worker.metrics import Metrics
from worker.model import Channel, Record, Rejected, StopReason
from worker.rules.ruleset import Rule
from worker.settings import Settings
from worker.store.backup import copy_state
from worker.store.reading import StateReader
from worker.store.restore import restore_state
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock, ScriptedSender, settle_tasks

STEP = 0.25
"""Days between two looks."""

READY_SECONDS_MAX = 20.0


# --- a worker that lost its state ------------------------------------------------------------


@dataclass
class Shop:
    """A stream that keeps everything, a provider that remembers, and workers one after another."""

    folder: Path
    active: Mapping[str, Sequence[float]]
    """User to the days on which the user was here."""
    dead: frozenset[str] = frozenset()
    """Users whose push token the provider rejects."""
    rules: tuple[Rule, ...] = (rule(),)
    accepted: Counter[str] = field(default_factory=Counter)
    """Send id to how often the provider took it."""
    told: list[tuple[float, str, str]] = field(default_factory=list)
    """(day, user, stage) of every call the provider took."""

    @property
    def state(self) -> Path:
        return self.folder / "state.db"

    @property
    def copy(self) -> Path:
        return self.folder / "copy.db"

    async def live(self, begin: float, end: float, *, copy_at: float | None = None) -> None:
        """A worker reads the whole stream and works from one day to another."""
        clock = FakeClock(now_ms=day(begin))
        store = await SqliteStore.open(str(self.state), wait=False, clock=clock)
        source, sender, health = FeedSource(), ScriptedSender(), Health(clock=clock)
        source.watermark = clock.now_ms
        for user in self.dead:
            gone = [lambda s: Rejected(send_id=s, detail="gone", stop=StopReason.DEAD)] * 9
            sender.script(f"token-{user}", *gone)
        worker = Worker(
            source=source,
            store=store,
            senders=dict.fromkeys(Channel, sender),
            rules=replace(rule_set(*self.rules), revision="+".join(r.name for r in self.rules)),
            clock=clock,
            metrics=Metrics(),
            health=health,
            settings=Settings(rules=self.folder / "no rules here"),
        )
        stop = asyncio.Event()
        for at, record in self._records(until=begin):
            source.give(record, read_through_ms=day(at))
        task = asyncio.create_task(worker.run(stop))
        async with asyncio.timeout(READY_SECONDS_MAX):
            # Rules are read in a thread, which takes real time.
            while health.not_ready_because is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await settle_tasks()
        at = begin
        while at < end:
            if copy_at is not None and copy_at <= at:
                copy_state(str(self.state), self.copy, clock=clock)
                copy_at = None
            await self._step(clock, source, sender, at)
            at += STEP
        stop.set()
        await task
        await store.close()

    async def _step(
        self, clock: FakeClock, source: FeedSource, sender: ScriptedSender, at: float
    ) -> None:
        for when, record in self._records(since=at - STEP, until=at):
            source.give(record, read_through_ms=day(when))
        await settle_tasks()
        await clock.advance(3)
        clock.step_wall(day(at + STEP) - clock.now_ms())
        for delivery in sender.accepted:
            self.accepted[delivery.claim.send_id] += 1
            self.told.append((at, delivery.claim.user_id, delivery.claim.stage))
        sender.accepted.clear()

    def _records(self, *, since: float = -1, until: float) -> list[tuple[float, Record]]:
        visits = sorted((at, user) for user, days in self.active.items() for at in days)
        return [(at, visit(user, at)) for at, user in visits if since < at <= until]


def visit(user: str, at: float) -> Record:
    """One event: a user with a phone and a mailbox was here."""
    event = samples.app_event(
        event_type="_session.start",
        event_timestamp=day(at),
        arrival_timestamp=day(at),
        client={"client_id": f"phone-{user}", "cognito_id": ""},
        endpoint=samples.endpoint(
            Id=f"phone-{user}", Address=f"token-{user}", User={"UserId": user}
        ),
    )
    mail = samples.app_event(
        event_type="_session.start",
        event_timestamp=day(at),
        arrival_timestamp=day(at),
        client={"client_id": f"mail-{user}", "cognito_id": ""},
        endpoint=samples.endpoint(
            Id=f"mail-{user}",
            Address=f"{user}@example.com",
            ChannelType="EMAIL",
            User={"UserId": user},
        ),
    )
    return samples.as_record(event, mail, arrival_ms=day(at))


async def lose_and_restore(
    shop: Shop, *, copied: float, lost: float, end: float, resend: bool = False
) -> None:
    """The worker's state is lost on a day, and a copy of an earlier day takes its place."""
    await shop.live(0, lost, copy_at=copied)
    clock = FakeClock(now_ms=day(lost))
    await restore_state(shop.copy, str(shop.state), clock=clock, force=True, resend=resend)
    await shop.live(lost, end)


USERS = {"ann": (0,), "bob": (2,), "cid": (0, 9), "dan": (4,), "eve": (0, 11)}


async def test_after_a_restore_nobody_gets_anything_twice(tmp_path: Path) -> None:
    shop = Shop(tmp_path, USERS, dead=frozenset({"ann", "dan"}))
    await lose_and_restore(shop, copied=6, lost=10, end=40)
    assert max(shop.accepted.values()) == 1
    after = [(user, stage) for at, user, stage in shop.told if at > 10]
    assert ("dan", "email") in after, "a silence that was too short by then is not given up"
    assert ("eve", "push") in after, "who comes back begins anew"
    assert not {user for user, _ in after} & {"ann", "bob"}


async def test_a_ladder_is_given_up_when_its_stage_fell_due_and_goes_on_when_it_did_not(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, {"ann": (0,), "zoe": (0.75,)})
    await lose_and_restore(shop, copied=8, lost=9.5, end=40)
    told = [(user, stage) for _, user, stage in sorted(shop.told)]
    assert told == [("ann", "push"), ("zoe", "push"), ("ann", "email"), ("zoe", "email")]
    with StateReader(str(shop.state), clock=FakeClock(now_ms=day(40))) as reader:
        ends = {user: reader.journal_of(user, 1)[0].reason for user in ("ann", "zoe")}
    assert ends == {"ann": "restored", "zoe": "ladder_done"}


async def test_who_accepts_repeats_gets_them(tmp_path: Path) -> None:
    shop = Shop(tmp_path, USERS)
    await lose_and_restore(shop, copied=6, lost=10, end=40, resend=True)
    assert max(shop.accepted.values()) == 2


async def test_a_rule_of_the_time_between_is_not_begun_again_and_a_later_one_is(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, {"ann": (0,)}, rules=(rule(stages=LADDER[:1]),))
    await shop.live(0, 8, copy_at=6)
    between = rule("between", inactive_for_ms=day(2) - day(0), stages=LADDER[:1])
    shop.rules = (*shop.rules, between)
    await shop.live(8, 10)
    assert [what for _, *what in shop.told] == [["ann", "push"], ["ann", "push"]]
    clock = FakeClock(now_ms=day(10))
    await restore_state(shop.copy, str(shop.state), clock=clock, force=True)
    sent = len(shop.told)
    await shop.live(10, 12)
    assert len(shop.told) == sent
    shop.rules = (*shop.rules, replace(between, name="later"))
    await shop.live(12, 14)
    assert [what for _, *what in shop.told[sent:]] == [["ann", "push"]]
    with StateReader(str(shop.state), clock=clock) as reader:
        view = reader.user("ann")
        assert view is not None
        assert set(view.restored) == {"winback", "between"}


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    visits=st.lists(
        st.lists(st.integers(0, 60).map(lambda n: n / 4), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    ),
    dead=st.integers(0, 15),
    copied=st.integers(1, 50),
    gap=st.integers(1, 30),
)
def test_whenever_the_copy_is_made_and_the_state_lost_nothing_is_sent_twice(
    tmp_path_factory: pytest.TempPathFactory,
    visits: list[list[float]],
    dead: int,
    copied: int,
    gap: int,
) -> None:
    active = {f"user-{number}": days for number, days in enumerate(visits)}
    rejected = frozenset(user for n, user in enumerate(active) if dead >> n & 1)
    shop = Shop(tmp_path_factory.mktemp("shop"), active, dead=rejected)
    lost = (copied + gap) / 4
    asyncio.run(lose_and_restore(shop, copied=copied / 4, lost=lost, end=lost + 20))
    assert max(shop.accepted.values(), default=0) <= 1


def test_the_ladder_of_these_tests_escalates() -> None:
    assert [stage.name for stage in LADDER] == ["push", "email", "sms"]


# --- the commands ------------------------------------------------------------------------------


@dataclass
class Console:
    """The commands, on one state."""

    state: Path

    def run(self, *words: str | Path) -> Result:
        environment = {"COMEBACK_STATE": str(self.state)}
        return CliRunner().invoke(commands, [str(word) for word in words], env=environment)

    def told(self, *words: str | Path) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split())


@pytest.fixture
async def console(tmp_path: Path) -> Console:
    """Ann's stage is long due, as the real clock has it."""
    store = await open_store(tmp_path / "state.db")
    world = await World(store).begin()
    await world.tell(seen("ann", -900), phone("ann"))
    await world.sweep(opening(-893), on=-893)
    await store.close()
    return Console(tmp_path / "state.db")


def test_a_backup_tells_what_is_in_it_and_a_restore_what_it_assumes(
    console: Console, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    text = console.told("backup", copy)
    assert "the copy is whole and was checked" in text
    assert "users 1, the last one active 2024-05-14" in text
    assert "positions 1 shards to read on" in text
    text = console.told("restore", copy, "--force")
    assert "1 ladders were closed (reason restored), 1 sends count as uncertain" in text
    assert "The state that was here is now" in text
    assert "before-restore" in text
    assert "`comeback forget` them again" not in text
    story = console.told("explain", "ann")
    assert "restored" in story


def test_resend_says_what_it_risks(console: Console, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    console.told("backup", copy)
    console.state.unlink()
    text = console.told("restore", copy, "--resend")
    assert "users get a message a second time" in text
    assert "`comeback forget` them again" in text
    assert "ladders were closed" not in text


def test_refusals_say_what_to_do_and_have_codes(console: Console, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    console.told("backup", copy)
    for words, code, what in (
        (("backup", copy), 2, "add --force"),
        (("backup", console.state), 2, "is the state itself"),
        (("restore", copy), 2, "Add --force"),
        (("restore", tmp_path / "none.db"), 2, "Add --force"),
    ):
        error: Any = console.run(*words).exception
        assert error.exit_code == code
        assert what in str(error)
    copy.write_bytes(b"no database at all, just some text that is long enough to be read" * 9)
    error = console.run("restore", copy, "--force").exception
    assert error.exit_code == 78
    with closing(sqlite3.connect(console.state)) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
