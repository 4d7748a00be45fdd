"""The state as people read it, beside the worker and without it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.world import (
    World,
    day,
    goal,
    mailbox,
    open_store,
    opening,
    phone,
    seen,
    sending,
)
from worker.errors import StateInUse, TryLater, UsageError
from worker.model import (
    Arm,
    Channel,
    ClaimState,
    DeadLetter,
    DeadReason,
    Look,
    Position,
    Receipt,
    ReceiptStatus,
    Rejected,
    Sent,
    Stop,
    StopReason,
    UserView,
)
from worker.store import reading
from worker.store.journal import CONVERTED, CREDIT
from worker.store.migrations import SCHEMA_VERSION
from worker.store.reading import StateReader
from worker.testing import FakeClock

SOMEBODY_ELSE = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def world(path: Path) -> AsyncIterator[World]:
    store = await open_store(path)
    yield await World(store).begin()
    await store.close()


def reader(path: Path) -> StateReader:
    return StateReader(str(path), clock=FakeClock())


# --- one user ----------------------------------------------------------------------------------


async def test_explain_sees_what_a_look_would_see(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0), phone("ann"), mailbox("ann", "ann@example.com"))
    stop = Stop(
        at_ms=day(1), channel=Channel.EMAIL, reason=StopReason.COMPLAINED, address="ann@example.com"
    )
    await world.tell(stop)
    await world.sweep(opening(7), on=7)
    await world.store.recover(now_ms=day(8))
    with reader(path) as state:
        view = state.user("ann")
        assert state.user("nobody") is None
    assert view == (await world.views())["ann"]


async def test_a_user_is_found_by_id_endpoint_or_address(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0), phone("ann", name="e1", token="To-Ken"))
    await world.tell(mailbox("ann", "us@example.com"), mailbox("bob", "us@example.com"))
    found = {
        "ann": ("ann",),
        "bob": ("bob",),
        "E1": ("ann",),
        "Us@Example.com": ("ann", "bob"),
        "To-Ken": ("ann",),
        "nobody": (),
    }
    with reader(path) as state:
        assert {word: state.find(word) for word in found} == found


async def test_the_journal_tells_what_happened_and_why_newest_first(
    world: World, path: Path
) -> None:
    await world.tell(seen("ann", 0), phone("ann"), seen(None, 0, endpoint_id="e1"))
    await world.sweep(opening(7), on=7)
    await world.store.recover(now_ms=day(8))
    await world.tell(seen("ann", 9), on=9)
    await world.tell(phone("ann", 9, name="e1"), on=9)
    with reader(path) as state:
        story = [(e.at_ms, e.action, e.reason, e.outcome) for e in state.journal_of("ann", 10)]
        assert state.journal_of("anonymous:e1", 1) == (), "the story moved to the user it is about"
        assert len(state.journal_of("ann", 2)) == 2
    assert story[0] == (day(9), "close", "merged", "cancelled")
    assert sorted(story[1:], reverse=True) == [
        (day(9), "close", "active_again", "returned"),
        (day(8), "send", "stopped_mid_call", None),
        (day(7), "send", "claimed", None),
        (day(7), "send", "claimed", None),
    ]


async def test_the_journal_keeps_only_what_is_notable(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0))

    def look(view: UserView) -> Look:
        decided = opening(7)(view)
        return replace(
            decided, decisions=tuple(replace(d, notable=False) for d in decided.decisions)
        )

    swept = await world.sweep(look, on=7)
    assert len(swept.decisions) == 1
    with reader(path) as state:
        assert state.journal_of("ann", 10) == ()


async def test_a_look_that_failed_is_in_the_journal(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0))

    def look(view: object) -> object:
        raise ZeroDivisionError

    await world.sweep(look, on=7)  # type: ignore[arg-type]
    with reader(path) as state:
        (entry,) = state.journal_of("ann", 10)
    assert (entry.reason, entry.until_ms) == ("look_failed", day(7) + 3_600_000)


async def test_sends_are_told_with_what_became_of_them(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0), phone("ann", name="e1"), phone("ann", name="e2"))
    first, second = (d.claim.send_id for d in (await world.sweep(opening(7), on=7)).deliveries)
    await world.settle(Sent(send_id=first, message_id="m1"), state=ClaimState.SENT, on=7.1)
    detail = "x" * 1_000
    await world.settle(Rejected(send_id=second, detail=detail), state=ClaimState.REJECTED, on=7.2)
    for status, at in (("delivered", 8), ("buffered", 9), ("failed", 7)):
        told = Receipt(
            at_ms=day(at),
            channel=Channel.PUSH,
            status=ReceiptStatus(status),
            detail=status,
            message_id="m1",
        )
        await world.tell(told)
    with reader(path) as state:
        sends = {send.claim.send_id: send for send in state.claims_of("ann", 10)}
        assert len(state.claims_of("ann", 1)) == 1
    assert (sends[first].message_id, sends[first].settled_ms) == ("m1", day(7.1))
    assert (sends[first].receipt, sends[first].receipt_ms) == ("delivered", day(8))
    assert sends[second].claim.state is ClaimState.REJECTED
    assert sends[second].detail == "x" * 500


# --- all of it ---------------------------------------------------------------------------------


async def test_the_summary_counts_everything(world: World, path: Path) -> None:
    letter = DeadLetter(
        reason=DeadReason.NOT_JSON,
        detail="at byte 1",
        shard_id="shard-0",
        sequence_number="4",
        arrival_ms=day(0),
        data=b"{",
    )
    await world.tell(seen("ann", 0), phone("ann"), letter)
    await world.tell(seen("bob", 5), seen("eve", 20), seen("dan", 29.5))
    await world.sweep(opening(7), on=7)
    await world.store.recover(now_ms=day(7))
    await world.tell(position=Position(shard_id="shard-1", start_at_ms=9))
    with reader(path) as state:
        summary = state.summary(now_ms=day(30))
        assert state.dead_letters(10) == (letter,)
    assert (summary.users, summary.users_active) == (4, {1: 1, 7: 1, 30: 3})
    assert summary.next_due_ms == day(7)
    assert summary.episodes_open == {("winback", "nudge", None): 1}
    assert summary.claims == {("uncertain", "push"): 1}
    assert [send.claim.user_id for send in summary.uncertain] == ["ann"]
    assert summary.positions == (
        ("events", Position(shard_id="shard-0", sequence_number="2")),
        ("events", Position(shard_id="shard-1", start_at_ms=9)),
    )
    assert summary.dead_letters == {"not_json": 1}
    assert (summary.revision, summary.adopted_ms) == ("first", day(0))
    assert summary.schema_version == SCHEMA_VERSION
    assert summary.file_bytes > 0


async def test_the_summary_tells_of_money_and_conversions(world: World, path: Path) -> None:
    await world.claimed("ann", "bob", cost_micros=30)
    await world.store.recover(now_ms=day(7))
    await world.sweep(sending(7), on=7)
    await world.on_ladder("eve", since=10, sent=17, arm=Arm.HOLDOUT)
    await world.tell(seen("dan", 10), phone("dan", 10), goal("ann", 8), goal("eve", 18), on=18)
    await world.sweep(opening(18), on=18)
    with reader(path) as state:
        summary = state.summary(now_ms=day(7.4))
        assert state.summary(now_ms=day(7.6)).spent_today == {}, "a new day has begun"
    assert summary.spent_today == {"push": 60}
    assert summary.conversions == {
        ("winback", "holdout", "nudge"): (1, 1),
        ("winback", "treated", None): (1, 0),
        ("winback", "treated", "nudge"): (2, 1),
    }


async def test_users_are_gone_through_in_the_order_of_their_ids(world: World, path: Path) -> None:
    await world.claimed("bob")
    await world.tell(seen("eve", 1), seen("ann", 2), phone("nobody"))
    with reader(path) as state:
        first = state.users("", 2)
        rest = state.users(first[-1].user_id, 2)
        assert state.users(rest[-1].user_id, 2) == ()
        assert [view.user_id for view in (*first, *rest)] == ["ann", "bob", "eve"]
        assert list(first) == [state.user("ann"), state.user("bob")]
        nobody = UserView(user_id="dan", last_active_ms=None)
        assert state.views(["bob", "dan", "ann"]) == (first[1], nobody, first[0])
        assert state.recency("", 2) == (("ann", day(2), False), ("bob", day(0), True))
        assert state.recency("bob", 2) == (("eve", day(1), False),)


async def test_attribute_names_are_those_of_the_newest_endpoints(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reader(path) as state:
        assert state.attribute_names() == (frozenset(), frozenset())
        await world.tell(phone("ann"), replace(phone("bob"), attributes={"tier": ()}))
        await world.tell(replace(phone("eve"), attributes=None, user_attributes=None))
        assert tuple(map(set, state.attribute_names())) == ({"name"}, {"plan", "tier"})
        monkeypatch.setattr(reading, "ATTRIBUTES_SAMPLED_MAX", 2)
        assert tuple(map(set, state.attribute_names())) == ({"name"}, {"tier"})


async def test_a_conversion_is_in_the_journal_once(world: World, path: Path) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    await world.tell(goal("ann", 9), on=9)
    await world.tell(goal("ann", 8), on=10)
    with reader(path) as state:
        entry, *before = state.journal_of("ann", 10)
    assert (entry.at_ms, entry.action, entry.reason) == (day(9), CREDIT, CONVERTED)
    assert (entry.rule, entry.stage, entry.outcome) == ("winback", "nudge", None)
    assert CONVERTED not in {earlier.reason for earlier in before}


async def test_an_empty_state_has_a_summary_too(path: Path) -> None:
    await (await open_store(path)).close()
    with reader(path) as state:
        summary = state.summary(now_ms=day(0))
    assert (summary.users, summary.revision, summary.next_due_ms) == (0, None, None)


# --- how it is opened --------------------------------------------------------------------------


def test_there_must_be_a_state_file(path: Path) -> None:
    with pytest.raises(UsageError, match="there is no state file here"):
        reader(path)
    assert not path.exists(), "looking makes nothing"


async def test_a_reader_cannot_write(world: World, path: Path) -> None:
    with reader(path) as state, pytest.raises(sqlite3.OperationalError, match="readonly"):
        state._connection.execute("DELETE FROM users")


async def test_a_reader_does_not_stand_in_the_workers_way(world: World, path: Path) -> None:
    await world.tell(seen("ann", 0))
    with reader(path) as state, state._reading() as snapshot:
        assert snapshot.execute("SELECT count(*) FROM users").fetchone() == (1,)
        assert (await world.tell(seen("bob", 0))).users_new == 1
        assert snapshot.execute("SELECT count(*) FROM users").fetchone() == (1,)


async def test_reading_is_cut_off_after_a_while(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hurried(FakeClock):
        """Once `hurry` is set, every look at it takes that many seconds."""

        hurry, seconds = 0.0, 0.0

        def monotonic(self) -> float:
            self.seconds += self.hurry
            return self.seconds

    monkeypatch.setattr(reading, "STEPS_BETWEEN_CHECKS", 10)
    await world.tell(*(seen(f"user-{number}", 0) for number in range(100)))
    clock = Hurried()
    with StateReader(str(path), clock=clock) as state:
        clock.hurry = 1.0
        with pytest.raises(TryLater, match="longer than 10 s"):
            state.summary(now_ms=day(0))
        clock.hurry = 0.0
        assert state.summary(now_ms=day(0)).users == 100


@contextmanager
def as_somebody_else(folder: Path) -> Iterator[None]:
    """May read the folder, and write nothing in it; also when the tests are run by root."""
    folder.chmod(0o555)
    for file in folder.iterdir():
        file.chmod(0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(SOMEBODY_ELSE)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


async def filled(path: Path, *, close: bool) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0))
    if close:
        await store.close()


def test_who_may_only_read_can_read_a_state_that_was_closed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        asyncio.run(filled(path, close=True))
        with as_somebody_else(path.parent), reader(path) as state:
            assert state.find("ann") == ("ann",)


def test_who_may_only_read_is_told_why_a_killed_workers_state_must_wait() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        asyncio.run(filled(path, close=True))
        Path(f"{path}-wal").write_bytes(b"a log that a killed worker left" * 4)
        with (
            as_somebody_else(path.parent),
            pytest.raises(StateInUse, match="not closed properly"),
        ):
            reader(path)
