"""A state file of every earlier schema version opens, is brought up to date, and works."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.schema_dump import path_of
from tests.store.world import FILES, LATER, World, day, goal, open_store, opening
from worker.errors import StateTooNew, TryLater
from worker.model import Adoption, Arm, ClaimState, EpisodeOutcome, ReceiptStatus
from worker.store.migrations import MIGRATIONS, SCHEMA_VERSION, script_from
from worker.store.reading import StateReader
from worker.store.silencebook import SilenceBook
from worker.testing import FakeClock

VERSIONS = range(1, SCHEMA_VERSION + 1)


def load(version: int, path: Path) -> None:
    """Makes the state file a comeback of that version left."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(path_of(version).read_text())


def shape(path: Path) -> set[tuple[str, str, str]]:
    """Every table and index with its definition."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        return set(connection.execute(query))


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_file_of_every_version_opens_with_what_it_knew(
    version: int, tmp_path: Path
) -> None:
    load(version, tmp_path / "state.db")
    store = await open_store(tmp_path / "state.db")
    world = World(store)
    await store.adopt(Adoption(revision="after the upgrade", rearm_after_ms=1, sends_for_ms=0))
    views = await world.views(on=LATER)
    assert set(views) == {"ann", "bob", "anonymous:unnamed"}
    ann, bob = views["ann"], views["bob"]
    assert {endpoint.endpoint_id for endpoint in ann.endpoints} == {"phone-ann", "mail-ann"}
    assert [claim.state for claim in ann.claims] == [ClaimState.SENT]
    assert [(e.outcome, e.closed_ms) for e in bob.episodes] == [(EpisodeOutcome.RETURNED, day(8))]
    await store.adopt(Adoption(revision="and again", rearm_after_ms=1, sends_for_ms=0))
    with pytest.raises(AssertionError, match="claimed twice"):
        await world.sweep(opening(LATER), on=LATER, users_max=1)
    await store.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upgraded_file_is_like_a_new_one(version: int, tmp_path: Path) -> None:
    load(version, tmp_path / "old.db")
    for name in ("old.db", "new.db"):
        await (await open_store(tmp_path / name)).close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")


def test_a_released_migration_is_never_edited(tmp_path: Path) -> None:
    for version in VERSIONS:
        load(version, tmp_path / f"dumped{version}.db")
        with closing(sqlite3.connect(tmp_path / f"made{version}.db")) as connection:
            for script in MIGRATIONS[:version]:
                connection.executescript(script)
        dumped, made = tmp_path / f"dumped{version}.db", tmp_path / f"made{version}.db"
        assert shape(dumped) == shape(made), "see tests/store/schema_dump.py"


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    load(1, path)
    before = shape(path)
    broken = script_from(1).replace("COMMIT;", "CREATE TABLE half (x); SELECT nonsense; COMMIT;")
    monkeypatch.setattr("worker.store.connection.SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr("worker.store.connection.script_from", lambda _: broken)
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        await open_store(path)
    monkeypatch.undo()
    assert shape(path) == before
    await (await open_store(path)).close()


async def test_a_file_of_a_newer_comeback_is_refused_and_both_versions_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    load(SCHEMA_VERSION, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    said = rf"schema version {SCHEMA_VERSION + 1}; this one knows up to {SCHEMA_VERSION}\)"
    with pytest.raises(StateTooNew, match=said):
        await open_store(path)
    with pytest.raises(StateTooNew, match=said):
        StateReader(str(path), clock=FakeClock())


def test_a_file_that_waits_for_its_upgrade_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    load(1, path)
    before = path.read_bytes()
    with pytest.raises(TryLater, match="Start its worker once"):
        StateReader(str(path), clock=FakeClock())
    with pytest.raises(TryLater, match="Start its worker once"):
        SilenceBook(str(path), clock=FakeClock()).end(1, author="eve")
    assert path.read_bytes() == before


async def test_the_second_version_knows_when_the_first_sent_its_last_stage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    load(1, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE episodes SET last_stage = stage WHERE user_id = 'ann'")
        connection.commit()
    store = await open_store(path)
    world = World(store)
    assert (await world.tell(goal("ann", 8), goal("bob", 8), on=8)).conversions_credited == 1
    views = {user: await world.view_of(user) for user in ("ann", "bob")}
    sent = {user: view.episodes[0].last_sent_ms for user, view in views.items()}
    assert sent == {"ann": day(7), "bob": None}
    assert {e.arm for view in views.values() for e in view.episodes} == {Arm.TREATED}
    await store.close()


async def test_a_rule_set_an_older_version_adopted_gets_its_files_without_a_look_at_anybody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    load(1, path)
    store = await open_store(path)
    await World(store).views()
    await World(store).begin()
    assert await store.next_due_ms() is None, "the same revision wakes nobody"
    (ladder,) = await store.retired({})
    assert (ladder.rule, ladder.revision, ladder.contents) == ("winback", "r1", FILES)
    with StateReader(str(path), clock=FakeClock()) as state:
        assert state.rule_set_in_force() == FILES
    await store.close()


async def test_the_third_version_knows_which_receipts_were_proof_and_which_soft_bounces(
    tmp_path: Path,
) -> None:
    told = {
        "delivered": ("delivered", "delivered", True, ReceiptStatus.DELIVERED, 0),
        "soft": ("failed", "softbounce Transient General", False, ReceiptStatus.SOFT_BOUNCED, 1),
        "hard": ("failed", "hardbounce Permanent", False, ReceiptStatus.FAILED, 0),
    }
    for name, (receipt, detail, taken, now, bounces) in told.items():
        copy = tmp_path / f"{name}.db"
        load(2, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute(
                "UPDATE claims SET receipt = ?, receipt_detail = ?, receipt_ms = 5 "
                "WHERE user_id = 'ann'",
                (receipt, detail),
            )
            connection.commit()
        store = await open_store(copy)
        (claim,) = (await World(store).view_of("ann")).claims
        assert (claim.receipt, claim.soft_bounces) == (now, bounces)
        await store.close()
        with closing(sqlite3.connect(copy)) as connection:
            row = connection.execute("SELECT taken FROM claims WHERE user_id = 'ann'").fetchone()
        assert row == (taken,)
