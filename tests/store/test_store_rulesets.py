"""Rule sets in the state file: what of them is kept, for how long, and how much."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.world import FILES, REARM_MS, World, day, holding, open_store, opening, seen
from worker.model import DAY_MS, Adoption, Reason
from worker.store import rulesets
from worker.store.reading import StateReader
from worker.store.rulesets import RULE_SETS_KEPT_MS, packed, unpacked
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now_ms=day(0))


@pytest.fixture
async def world(path: Path, clock: FakeClock) -> AsyncIterator[World]:
    store = await open_store(path, clock=clock)
    yield await World(store, clock=clock).begin()
    await store.close()


def adoption(number: int, contents: Mapping[str, bytes] | None = None) -> Adoption:
    return Adoption(
        revision=f"set {number}",
        rearm_after_ms=REARM_MS,
        sends_for_ms=0,
        rules={"winback": f"w{number}"},
        contents=contents or {"shop.yaml": b"%d" % number},
    )


def kept(world: World) -> tuple[list[str], list[tuple[str, str]]]:
    """The revisions of the rule sets kept, and the ladders."""
    assert isinstance(world.store, SqliteStore)
    connection = world.store._database._connection
    revisions = [row[0] for row in connection.execute("SELECT revision FROM rule_sets ORDER BY id")]
    return revisions, connection.execute("SELECT rule, revision FROM ladders").fetchall()


async def test_old_rule_sets_are_forgotten_but_not_those_somebody_walks(
    world: World, clock: FakeClock
) -> None:
    await world.claimed("ann")
    for number in (1, 2):
        clock.step_wall(DAY_MS)
        await world.store.adopt(adoption(number))
    await world.store.prune(now_ms=day(0) + RULE_SETS_KEPT_MS)
    assert len(kept(world)[0]) == 3, "none is so old yet"
    await world.store.prune(now_ms=day(5) + RULE_SETS_KEPT_MS)
    assert kept(world) == (["first", "set 2"], [("winback", "r1"), ("winback", "w2")])
    await world.tell(seen("ann", 8), on=8)
    await world.store.prune(now_ms=day(5) + RULE_SETS_KEPT_MS)
    assert kept(world) == (["set 2"], [("winback", "w2")])


async def test_only_so_many_rule_sets_are_kept_whatever_their_age(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulesets, "RULE_SETS_KEPT_MAX", 2)
    for number in range(5):
        await world.store.adopt(adoption(number))
    await world.store.prune(now_ms=day(0))
    assert kept(world) == (["set 3", "set 4"], [("winback", "w3"), ("winback", "w4")])


async def test_files_that_are_too_large_are_not_kept_and_the_rules_hold_all_the_same(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulesets, "CONTENTS_BYTES_MAX", 100)
    large = adoption(1, {"shop.yaml": b"x" * 100})
    await world.store.adopt(replace(large, rules={"winback": "r1"}))
    await world.claimed("ann")
    assert await world.store.retired({}) == []
    with StateReader(str(path), clock=FakeClock()) as state:
        assert state.rule_set_in_force() is None
        assert state.summary(now_ms=day(0)).revision == "set 1"


async def test_only_so_many_ladders_are_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rulesets, "LADDERS_WALKED_MAX", 1)
    await world.tell(seen("ann", 0))
    for rule in ("a", "winback"):
        await world.sweep(opening(7, rule=rule), on=7)
        await world.store.adopt(
            Adoption(
                revision=rule,
                rearm_after_ms=1,
                sends_for_ms=0,
                rules={"a": "r1", "winback": "r1"},
                contents=FILES,
            )
        )
    assert [ladder.rule for ladder in await world.store.retired({})] == ["a"]


async def test_the_files_in_force_can_be_read_beside_the_worker(world: World, path: Path) -> None:
    with StateReader(str(path), clock=FakeClock()) as state:
        assert state.rule_set_in_force() == FILES
        await world.store.adopt(adoption(1))
        assert state.rule_set_in_force() == {"shop.yaml": b"1"}


async def test_a_state_without_rules_has_no_files(tmp_path: Path) -> None:
    await (await open_store(tmp_path / "new.db")).close()
    with StateReader(str(tmp_path / "new.db"), clock=FakeClock()) as state:
        assert state.rule_set_in_force() is None


async def test_waking_many_lets_others_run(
    world: World, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("worker.store.sqlite.WAKE_CHUNK_USERS", 2)
    users = [f"user-{number}" for number in range(5)]
    await world.tell(*(seen(user, 0) for user in users))
    await world.sweep(holding(7, Reason.KILL_SWITCH), on=7)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    await world.store.wake([Reason.KILL_SWITCH], now_ms=day(8))
    assert slept == [0, 0]
    assert sorted(await world.due(on=8)) == users


@given(st.dictionaries(st.text(), st.binary(max_size=1_000), min_size=1, max_size=5))
def test_what_is_packed_is_unpacked(contents: dict[str, bytes]) -> None:
    try:
        "".join(contents).encode()
    except UnicodeEncodeError:
        return  # no file name msgspec can write, and none a loader reads
    assert unpacked(packed(contents)) == contents
