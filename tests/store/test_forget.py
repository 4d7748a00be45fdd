"""Erasing a person: what goes, what stays, what comes back, what a running worker makes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.store.world import World, day, mailbox, open_store, opening, phone, seen, sending
from worker.errors import UsageError
from worker.model import (
    Activity,
    Channel,
    ClaimState,
    DeadLetter,
    DeadReason,
    Endpoint,
    Reason,
    Rejected,
    Retry,
    Sent,
    Stop,
    StopReason,
    address_hash_of,
)
from worker.store.forget import TOMBSTONES_KEPT_MS, Forgotten, forget
from worker.store.reading import StateReader
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

ANN = ("ann", "phone-ann", "mail-ann", "token-phone-ann", "ann@example.com")
"""Every word by which Ann can be found."""

EVERYTHING = "SELECT * FROM {}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(path)
    yield store
    await store.close()


def erased(path: Path, user: str = "ann", *, on: float = 10) -> Forgotten:
    return forget(str(path), user, clock=FakeClock(now_ms=day(on)))


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def known(path: Path, user: str = "ann") -> bool:
    with StateReader(str(path), clock=FakeClock(now_ms=day(10))) as reader:
        return reader.user(user) is not None


def bytes_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


async def lived(store: SqliteStore) -> World:
    """Ann and Bob have a phone and a mailbox, and were sent a push on day 7."""
    world = await World(store).begin()
    for user in ("ann", "bob"):
        await world.tell(seen(user, 0), phone(user), mailbox(user, f"{user}@example.com"))
    swept = await world.sweep(opening(7, cost_micros=5), on=7)
    sent = [Sent(send_id=delivery.claim.send_id) for delivery in swept.deliveries]
    await world.settle(*sent, state=ClaimState.SENT, on=7)
    await world.sweep(sending(7), on=7)
    return world


async def test_everything_of_one_person_goes_and_nothing_of_others(
    path: Path, store: SqliteStore
) -> None:
    await lived(store)
    tables = ("users", "endpoints", "episodes", "claims", "journal")
    before = {table: rows(path, EVERYTHING.format(table)) for table in tables}
    done = erased(path)
    assert done == Forgotten(users=1, endpoints=2, episodes=1, claims=1, journal=done.journal)
    assert done.journal > 0
    assert not known(path)
    for table in tables:
        left = [row for row in before[table] if not set(ANN) & set(map(str, row))]
        assert left
        assert rows(path, EVERYTHING.format(table)) == left


async def test_no_byte_of_the_person_is_left_in_the_file(path: Path, tmp_path: Path) -> None:
    store = await open_store(path)
    world = await lived(store)
    await world.tell(phone("ann", 8, token="token-of-old"), on=8)
    await world.tell(phone("ann", 9), on=9)
    await store.close()
    assert all(word.encode() in bytes_in(tmp_path) for word in ANN)
    assert erased(path).knew_something
    assert [
        word for word in (*ANN[1:], "token-of-old") if word.encode() in bytes_in(tmp_path)
    ] == []
    assert not erased(path).knew_something


async def test_the_past_does_not_come_back_and_the_future_begins_blank(
    path: Path, store: SqliteStore
) -> None:
    world = await lived(store)
    erased(path, on=10)
    late = Activity(at_ms=day(9), event_type="x", endpoint_id="phone-ann")
    await world.tell(seen("ann", 9), phone("ann", 10), late, on=11)
    assert not known(path)
    assert not known(path, "anonymous:phone-ann")
    await world.tell(phone("ann", 11), on=11)
    await world.tell(seen("ann", 11), on=11)
    with StateReader(str(path), clock=FakeClock(now_ms=day(12))) as reader:
        view = reader.user("ann")
        assert view is not None
        assert (view.last_active_ms, view.episodes, view.sends) == (day(11), (), ())
        assert [e.endpoint_id for e in view.endpoints] == ["phone-ann"]
        assert reader.journal_of("ann", 10) == ()


async def test_a_phone_that_changed_hands_is_the_new_users_also_in_late_events(
    path: Path, store: SqliteStore
) -> None:
    world = await lived(store)
    erased(path, on=10)
    await world.tell(seen("dan", 9, endpoint_id="phone-ann"), phone("dan", 9, name="phone-ann"))
    with StateReader(str(path), clock=FakeClock(now_ms=day(10))) as reader:
        view = reader.user("dan")
    assert view is not None
    assert view.last_active_ms == day(9)


async def test_an_endpoint_that_is_told_again_without_activity_gets_nothing(
    path: Path, store: SqliteStore
) -> None:
    world = await lived(store)
    erased(path, on=10)
    await world.tell(phone("ann", 11), on=11)
    assert "ann" not in await world.due(on=400)


@pytest.mark.parametrize("told_late", [False, True])
async def test_an_opt_out_outlives_the_person(
    path: Path, store: SqliteStore, told_late: bool
) -> None:
    world = await lived(store)
    out = Endpoint(
        endpoint_id="mail-ann",
        at_ms=day(8),
        user_id="ann",
        channel_type="EMAIL",
        address="ann@example.com",
        opted_out=True,
    )
    await world.tell(
        Stop(at_ms=day(8), channel=Channel.PUSH, reason=StopReason.DEAD, address="token-phone-ann")
    )
    if not told_late:
        await world.tell(out, on=8)
    assert erased(path).opt_outs_kept == (0 if told_late else 1)
    if told_late:
        await world.tell(out, on=11)
    found = dict(rows(path, "SELECT address_hash, reason FROM suppressions"))
    assert found == {
        address_hash_of("ann@example.com"): "opted_out",
        address_hash_of("token-phone-ann"): "dead",
    }
    await world.tell(phone("ann", 12), mailbox("ann", "ann@example.com", 12), seen("ann", 12))
    with StateReader(str(path), clock=FakeClock(now_ms=day(12))) as reader:
        view = reader.user("ann")
    assert view is not None
    assert {e.suppressed for e in view.endpoints} == {StopReason.OPTED_OUT, StopReason.DEAD}


async def test_a_call_under_way_is_answered_and_is_nobodys(path: Path, store: SqliteStore) -> None:
    world = await World(store).begin()
    sends = await world.claimed("ann", "bob", "cid", "dan")
    for user in ("ann", "bob", "cid", "dan"):
        assert erased(path, user).under_way == 1
    await world.settle(
        Sent(send_id=sends[0], message_id="m-1", updated_token="new"), state=ClaimState.SENT, on=11
    )
    await world.settle(
        Rejected(send_id=sends[1], detail="gone", stop=StopReason.DEAD),
        state=ClaimState.REJECTED,
        on=11,
    )
    again = Retry(send_id=sends[2], reason=Reason.PROVIDER_THROTTLED, detail="")
    await world.settle(again, state=ClaimState.RETRY, on=11)
    assert await store.recover(now_ms=day(11)) == 1
    claims = rows(path, "SELECT user_id, episode_id FROM claims")
    assert len(claims) == 4
    assert all(user == f"forgotten:{episode}" for user, episode in claims)
    assert rows(path, "SELECT DISTINCT outcome FROM episodes") == [("cancelled",)]
    assert rows(path, "SELECT count(*) FROM suppressions") == [(1,)]
    clicked = Activity(at_ms=day(12), event_type="_email.click", message_id="m-1")
    assert (await world.tell(clicked, on=12)).activities_unknown == 1
    assert await world.due(on=400) == []


async def test_episodes_of_calls_under_way_are_pruned_in_the_end(
    path: Path, store: SqliteStore
) -> None:
    world = await World(store).begin()
    await world.claimed("ann")
    erased(path)
    await store.recover(now_ms=day(11))
    await store.prune(now_ms=day(1_000))
    assert rows(path, "SELECT count(*) FROM episodes") == [(0,)]


async def test_unreadable_records_that_name_the_person_go_too(
    path: Path, store: SqliteStore
) -> None:
    world = await lived(store)
    datas = [
        b'{"client": {"client_id": "PHONE-ANN"}',
        b'{"u": "ann"}',
        b'{"u": "annette", "manner": "hannah"}',
        b'{"u": "bob"}',
        b"\xff\xfeann@example.com\x00",
    ]
    for number, data in enumerate(datas):
        letter = DeadLetter(
            reason=DeadReason.NOT_JSON,
            detail="",
            shard_id="shard-0",
            sequence_number=str(number),
            arrival_ms=day(8),
            data=data,
        )
        await world.tell(letter, on=8)
    assert erased(path).dead_letters == 3
    left = [row[0] for row in rows(path, "SELECT data FROM dead_letters ORDER BY id")]
    assert left == [datas[2], datas[3]]


async def test_an_anonymous_user_can_be_forgotten(path: Path, store: SqliteStore) -> None:
    world = await World(store).begin()
    stranger = Activity(at_ms=day(0), event_type="x", endpoint_id="e-1")
    await world.tell(stranger, phone(None, name="e-1"))
    assert erased(path, "anonymous:e-1").endpoints == 1
    await world.tell(stranger, phone(None, name="e-1"))
    assert not known(path, "anonymous:e-1")


async def test_who_is_not_known_leaves_a_tombstone_all_the_same(
    path: Path, store: SqliteStore
) -> None:
    world = await World(store).begin()
    assert not erased(path, "eve").knew_something
    await world.tell(seen("eve", 9), on=11)
    assert not known(path, "eve")
    erased(path, "bob", on=11 + TOMBSTONES_KEPT_MS / 86_400_000)
    assert rows(path, "SELECT count(*) FROM forgotten") == [(1,)]


def test_there_must_be_a_state(path: Path) -> None:
    with pytest.raises(UsageError, match="no state file"):
        erased(path)


async def test_a_state_where_nobody_was_erased_is_asked_once_a_batch(
    path: Path, store: SqliteStore
) -> None:
    world = await lived(store)
    asked: list[str] = []
    store._database._connection.set_trace_callback(asked.append)
    await world.tell(seen("ann", 9), phone("ann", 9), on=9)
    assert sum("forgotten" in statement for statement in asked) == 1
