"""Known faces and their touches: a store that uses them knows what one knows that does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.world import NOON_MS, REARM_MS, STREAM, World, day, open_store, parked
from worker.errors import StateUnwritable
from worker.faces import BUCKETS_MIN, Faces, StaleFaces, print_of
from worker.model import (
    MINUTE_MS,
    Batch,
    Effect,
    Episode,
    Look,
    Position,
    Record,
    SilenceKind,
    UserView,
    episode_id_of,
)
from worker.recency import fold
from worker.rules.ruleset import ActivityPolicy
from worker.store import touches
from worker.store.forget import forget
from worker.store.reading import StateReader
from worker.store.silencebook import SilenceBook
from worker.testing import FakeClock

POLICY = ActivityPolicy()
TABLES = {
    "users": "SELECT * FROM users ORDER BY 1",
    "endpoints": "SELECT * FROM endpoints ORDER BY 1",
    "episodes": "SELECT * FROM episodes ORDER BY 1",
}


def record(
    device: str,
    at_ms: int,
    *,
    user: str | None,
    token: str = "",
    plan: str = "free",
    kind: str = "_session.start",
    changed: int = 0,
    told: bool = True,
) -> Record:
    """What an app writes; `changed` moves only what nobody needs."""
    shape: dict[str, Any] = {
        "ChannelType": "GCM",
        "Address": token or f"token-{device}",
        "EffectiveDate": f"2026-01-01T00:00:{changed:02d}Z",
        "User": {"UserId": user, "UserAttributes": {"plan": [plan]}} if user else {},
    }
    event = {
        "event_type": kind,
        "event_timestamp": at_ms,
        "arrival_timestamp": at_ms,
        "application": {"app_id": "shop"},
        "client": {"client_id": device},
        **({"endpoint": shape} if told else {}),
    }
    return Record(data=json.dumps(event).encode(), sequence_number="1", arrival_ms=at_ms)


class Side:
    """A state of its own, folded with faces or without."""

    def __init__(self, folder: str, *, quick: bool) -> None:
        self.path = Path(folder) / ("quick.db" if quick else "careful.db")
        self.clock = FakeClock(now_ms=NOON_MS)
        self._quick = quick
        self._number = 0

    async def open(self) -> None:
        self.store = await open_store(self.path, clock=self.clock)
        await World(self.store, clock=self.clock).begin()

    def folded(self, records: list[Record]) -> tuple[Effect, Batch]:
        self._number += 1
        batch = Batch(
            stream=STREAM,
            position=Position(shard_id="s", sequence_number=str(self._number)),
            records=tuple(records),
            read_through_ms=self.clock.now_ms(),
        )
        return fold(batch, POLICY, self.store.faces if self._quick else None), batch

    async def read(self, records: list[Record], *, fails: bool = False) -> Effect:
        effect, batch = self.folded(records)
        now_ms = self.clock.now_ms()
        if fails:
            with (
                patch("worker.store.intake._move_position", side_effect=StateUnwritable("full")),
                pytest.raises((StateUnwritable, StaleFaces)),
            ):
                await self.store.apply(effect, batch, now_ms=now_ms)
        try:
            await self.store.apply(effect, batch, now_ms=now_ms)
        except StaleFaces:
            effect = fold(batch, POLICY, self.store.faces)
            await self.store.apply(effect, batch, now_ms=now_ms)
        return effect

    async def look(self, *, fails: bool = False) -> dict[str, UserView]:
        """A sweep that puts on a ladder whoever is silent for long enough."""
        if fails:
            full = StateUnwritable("full")
            with (
                patch("worker.store.looks.put_episodes", side_effect=full),
                contextlib.suppress(StateUnwritable),
            ):
                await self.look()
        found: dict[str, UserView] = {}
        now_ms = self.clock.now_ms()

        def decide(view: UserView) -> Look:
            found[view.user_id] = view
            return ladder(view, now_ms)

        await self.store.sweep(now_ms=now_ms, decide=decide, admits=lambda _: True, users_max=1_000)
        return found

    async def reopen(self) -> None:
        await self.store.close()
        await self.open()

    async def told(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything, once all is folded."""
        with patch.object(touches, "FOLD_AFTER_MS", 0):
            await self.store.prune(now_ms=self.clock.now_ms())
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("SELECT count(*) FROM touches").fetchone() == (0,)
            return {name: connection.execute(sql).fetchall() for name, sql in TABLES.items()}


def ladder(view: UserView, now_ms: int) -> Look:
    since_ms = view.last_active_ms or 0
    ever_due = replace(parked(view), due_ms=since_ms + REARM_MS)
    if any(episode.is_open for episode in view.episodes):
        return ever_due
    tried = any(e.silence_since_ms == since_ms for e in view.episodes)
    if now_ms < since_ms + REARM_MS or tried:
        return replace(parked(view), due_ms=max(since_ms + REARM_MS, now_ms + 1))
    opened = Episode(
        episode_id=episode_id_of(view.user_id, "winback", since_ms),
        user_id=view.user_id,
        rule="winback",
        revision="r1",
        silence_since_ms=since_ms,
        opened_ms=now_ms,
        stage="nudge",
        stage_due_ms=now_ms,
    )
    return replace(ever_due, episodes=(opened,))


DEVICES = ("a", "b", "c", "d")
events = st.fixed_dictionaries(
    {
        "device": st.sampled_from(DEVICES),
        "ago": st.sampled_from([0, 0, 0, 1, 30, 600]),
        "user": st.sampled_from(["ann", "ann", "bob", None]),
        "token": st.sampled_from(["", "", "", "shared"]),
        "plan": st.sampled_from(["free", "free", "paid"]),
        "kind": st.sampled_from(["_session.start", "_session.start", "screen"]),
        "changed": st.sampled_from([0, 0, 1]),
        "told": st.sampled_from([True, True, False]),
    }
)
batches = st.tuples(st.just("read"), st.lists(events, min_size=1, max_size=4))
steps = st.lists(
    st.one_of(
        batches,
        batches,
        batches,
        st.tuples(st.just("fail"), st.lists(events, min_size=1, max_size=3)),
        st.tuples(st.just("pass"), st.sampled_from([1, 5, 2_000, 11_000])),
        st.tuples(st.just("look"), st.booleans()),
        st.tuples(st.sampled_from(["reopen", "silence", "prune"]), st.none()),
        st.tuples(st.just("forget"), st.sampled_from(["ann", "bob"])),
    ),
    min_size=4,
    max_size=16,
)


async def play(story: list[tuple[str, Any]], folder: str) -> int:
    """Plays a story on both sides; how many touches the quick one saw."""
    sides = [Side(folder, quick=True), Side(folder, quick=False)]
    touched = 0
    for side in sides:
        await side.open()
    for verb, what in story:
        outcomes = []
        for side in sides:
            match verb:
                case "read" | "fail":
                    records = [
                        record(
                            e["device"],
                            side.clock.now_ms() - e["ago"] * MINUTE_MS,
                            user=e["user"],
                            token=e["token"],
                            plan=e["plan"],
                            kind=e["kind"],
                            changed=e["changed"],
                            told=e["told"],
                        )
                        for e in what
                    ]
                    touched += len((await side.read(records, fails=verb == "fail")).touches)
                case "pass":
                    await side.clock.advance(what * 60)
                case "look":
                    outcomes.append(await side.look(fails=what))
                case "reopen":
                    await side.reopen()
                case "prune":
                    await side.store.prune(now_ms=side.clock.now_ms())
                case "silence":
                    SilenceBook(str(side.path), clock=side.clock).add(
                        SilenceKind.PAUSE, [], ends_ms=None, author="eve", comment="x"
                    )
                case "forget":
                    forget(str(side.path), what, clock=side.clock)
        assert outcomes[1:] == outcomes[:-1], f"{verb} saw different users"
    quick, careful = [await side.told() for side in sides]
    for side in sides:
        await side.store.close()
    assert quick == careful
    return touched


@pytest.fixture(autouse=True)
def small_pieces() -> Iterator[None]:
    """Folds begin often and take long."""
    with (
        patch.object(touches, "PENDING_MAX", 3),
        patch.object(touches, "FOLD_CHUNK", 1),
        patch.object(touches, "FOLD_CHUNK_MAX", 1),
    ):
        yield


@settings(deadline=None, max_examples=60)
@given(steps)
def test_any_story_is_known_alike_with_faces_and_without(story: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(story, folder))


def same(device: str = "a", **changes: Any) -> dict[str, Any]:
    event = {"device": device, "ago": 0, "user": "ann", "token": "", "plan": "free"}
    return event | {"kind": "_session.start", "changed": 0, "told": True} | changes


@pytest.mark.parametrize(
    ("later", "touches_seen"),
    [
        (same(), 1),
        (same(changed=1), 1),
        (same(kind="screen"), 1),
        (same(plan="paid"), 0),
        (same(token="other"), 0),
        (same(user="bob"), 0),
    ],
)
async def test_what_looks_the_same_is_a_touch(
    later: dict[str, Any], touches_seen: int, tmp_path: Path
) -> None:
    story = [("read", [same()]), ("pass", 1), ("read", [later])]
    assert await play(story, str(tmp_path)) == touches_seen


WEEK = ("pass", 11_000)
TOLD_TWICE = [("read", [same()]), ("pass", 5), ("read", [same()]), ("read", [same()])]


BOB = same("b", user="bob")
EASILY_TOLD_WRONG: dict[str, list[tuple[str, Any]]] = {
    "on a ladder": [
        *TOLD_TWICE,
        WEEK,
        ("look", False),
        ("read", [same(kind="screen")]),
        ("read", [same()]),
    ],
    "failed look": [
        *TOLD_TWICE,
        WEEK,
        ("read", [same()]),
        ("look", True),
        ("pass", 1),
        ("look", False),
    ],
    "one token": [
        ("read", [BOB]),
        ("pass", 2_880),
        *TOLD_TWICE,
        ("pass", 2_875),
        ("read", [same()]),
        ("read", [BOB | {"kind": "screen", "token": "token-a", "ago": 1_440}]),
        ("pass", 5_300),
        ("look", False),
    ],
    "new owner": [
        ("read", [BOB]),
        ("pass", 5),
        *TOLD_TWICE,
        ("read", [same(user="bob", kind="screen")]),
        ("reopen", None),
    ],
    "late": [*TOLD_TWICE, ("read", [same(plan="paid", ago=3)])],
    "forgotten": [*TOLD_TWICE, ("forget", "ann"), ("read", [same(ago=1)]), ("read", [same()])],
}


@pytest.mark.parametrize("name", EASILY_TOLD_WRONG)
async def test_a_story_that_is_easily_told_wrong(name: str, tmp_path: Path) -> None:
    with patch.object(touches, "PENDING_MAX", 99), patch.object(touches, "FOLD_AFTER_MS", 1 << 50):
        assert await play(EASILY_TOLD_WRONG[name], str(tmp_path)) > 0


async def test_a_phone_that_changed_hands_while_it_was_folded(tmp_path: Path) -> None:
    three = [same(device) for device in "acd"]
    story = [("read", [BOB]), ("read", three), ("pass", 5), ("read", three)]
    story += [("read", [same(user="bob", kind="screen")]), ("reopen", None)]
    assert await play(story, str(tmp_path)) == len(three)


async def quick_side(tmp_path: Path) -> Side:
    """A side on which ann's phone has a known face, and a touch that waits to be folded."""
    side = Side(str(tmp_path), quick=True)
    await side.open()
    await side.read([record("a", day(0), user="ann")])
    await side.clock.advance(86_390)
    await side.read([record("a", day(1) - 10_000, user="ann")])
    await side.clock.advance(10)
    assert (await side.read([record("a", day(1), user="ann")])).touches
    return side


async def test_who_is_put_on_a_ladder_between_fold_and_apply_is_folded_anew(
    tmp_path: Path,
) -> None:
    side = await quick_side(tmp_path)
    await side.clock.advance(8 * 86_400)
    effect, batch = side.folded([record("a", day(9), user="ann")])
    assert effect.touches
    assert (await side.look())["ann"].last_active_ms == day(1)
    with pytest.raises(StaleFaces):
        await side.store.apply(effect, batch, now_ms=day(9))
    applied = await side.store.apply(fold(batch, POLICY, side.store.faces), batch, now_ms=day(9))
    assert applied.episodes_returned == 1
    await side.store.close()


async def test_who_reads_beside_the_worker_sees_what_is_not_folded_yet(tmp_path: Path) -> None:
    side = await quick_side(tmp_path)
    with StateReader(str(side.path), clock=side.clock) as reader:
        view = reader.user("ann")
    assert view is not None
    assert view.last_active_ms == day(1)
    await side.store.close()


async def test_who_was_erased_is_in_no_row_that_is_not_folded_yet(tmp_path: Path) -> None:
    side = await quick_side(tmp_path)
    forget(str(side.path), "ann", clock=side.clock)
    await side.store.close()
    with closing(sqlite3.connect(side.path)) as connection:
        rows = connection.execute("SELECT entries FROM touches").fetchall()
    assert rows
    assert all(touches._decode(entries) == {} for (entries,) in rows)


async def test_a_phone_that_changed_hands_leaves_its_last_owner_what_it_said(
    tmp_path: Path,
) -> None:
    side = await quick_side(tmp_path)
    await side.read([record("a", day(2), user="bob")])
    await side.reopen()
    users = {row[0]: row[1] for row in (await side.told())["users"]}
    assert users == {"ann": day(1), "bob": day(2)}
    await side.store.close()


def test_faces_know_what_they_learnt_and_no_more() -> None:
    faces = Faces()
    face = print_of("phone", "shop", b"{}")
    assert not faces.knows("phone", "shop", b"{}")
    faces.learn("phone", face)
    assert faces.knows("phone", "shop", b"{}")
    assert not faces.knows("phone", "shop", b"{ }")
    assert not faces.knows("phone", "other", b"{}")
    assert not faces.knows("phonf", "shop", b"{}")
    faces.forget("phone")
    assert not faces.knows("phone", "shop", b"{}")


def test_faces_are_bounded_and_most_are_kept() -> None:
    faces = Faces()
    names = [f"phone-{number}" for number in range(BUCKETS_MIN * 3)]
    faces.expect(len(names))
    for name in names:
        faces.learn(name, print_of(name, None, b"{}"))
    known = sum(faces.knows(name, None, b"{}") for name in names)
    assert known > 0.95 * len(names)
    faces.clear()
    assert not any(faces.knows(name, None, b"{}") for name in names)


def test_a_fold_is_stale_when_one_of_its_faces_was_forgotten() -> None:
    faces = Faces()
    assert faces.lost({"a": (1, 1)}), "nobody watched"
    faces.watch()
    faces.forget("b")
    assert not faces.lost({"a": (1, 1)})
    faces.forget("a")
    assert faces.lost({"a": (1, 1)})
    faces.watch()
    faces.clear()
    assert faces.lost({"a": (1, 1)})
