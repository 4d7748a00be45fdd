"""The state as a file: what survives, who may read it, what is refused, a disk that is full."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.store.world import STREAM, World, day, open_store, opening, phone, seen
from worker.errors import SettingsError, StateDamaged, StateInUse, StateUnwritable
from worker.model import Adoption, ClaimState, DeadLetter, DeadReason, Look, Position, UserView
from worker.store import intake
from worker.store.intake import Incident
from worker.store.lock import MADE
from worker.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def letter(number: int, data: bytes = b"{") -> DeadLetter:
    return DeadLetter(
        reason=DeadReason.NOT_JSON,
        detail="at byte 1",
        shard_id="shard-0",
        sequence_number=str(number),
        arrival_ms=day(number),
        data=data,
    )


# --- what survives -----------------------------------------------------------------------------


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"), position=Position(shard_id="s", ended=True))
    await world.sweep(opening(7), on=7)
    await store.close()
    again = await open_store(path)
    assert (await again.positions(STREAM)).positions == (Position(shard_id="s", ended=True),)
    assert await again.recover(now_ms=day(8)) == 1
    view = (await World(again).views())["ann"]
    assert [claim.state for claim in view.claims] == [ClaimState.UNCERTAIN]
    await again.close()


async def test_the_rearm_time_is_known_before_rules_are_adopted_again(path: Path) -> None:
    store = await open_store(path)
    await World(store).begin()
    await store.close()
    again = await open_store(path)
    await again.positions(STREAM)
    await World(again).tell(seen("ann", 0))
    assert await again.next_due_ms() == day(7)
    await again.close()


@pytest.mark.parametrize("dies_at", ["write_stops", "_close_returned", "_move_position", "_bury"])
async def test_a_batch_and_its_position_are_kept_both_or_neither(
    path: Path, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), position=Position(shard_id="s", sequence_number="1"))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(intake, dies_at, die)
    batch = (seen("bob", 1), phone("ann", 1), seen("ann", 1), letter(1))
    position = Position(shard_id="s", sequence_number="2")
    with pytest.raises(KeyboardInterrupt):
        await world.tell(*batch, position=position)
    monkeypatch.undo()
    await store.close()
    again = await open_store(path)
    world = World(again)
    assert (await again.positions(STREAM)).positions == (
        Position(shard_id="s", sequence_number="1"),
    )
    applied = await world.tell(*batch, position=position)
    assert (applied.users_new, applied.users_active) == (1, 2)
    await again.close()


async def test_adopting_rules_that_was_cut_off_begins_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.sqlite.ADOPT_CHUNK_USERS", 2)
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(*(seen(f"user-{number}", -9) for number in range(5)))
    await world.views()
    slept: list[float] = []

    async def die(seconds: float, wake: object = None) -> bool:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(store._clock, "sleep", die)
    with pytest.raises(KeyboardInterrupt):
        await store.adopt(Adoption(revision="second", rearm_after_ms=1, sends_for_ms=0))
    await store.close()
    again = await open_store(path)
    await again.adopt(Adoption(revision="second", rearm_after_ms=1, sends_for_ms=0))
    assert len(await World(again).due(on=0)) == 5
    await again.close()


async def test_an_adoption_that_was_cut_off_and_taken_back_loses_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps in the middle of it may have put users off under rules that are no longer there."""
    monkeypatch.setattr("worker.store.sqlite.ADOPT_CHUNK_USERS", 2)
    store = await open_store(path)
    world = await World(store).begin()
    before = Adoption(revision="before", rearm_after_ms=1, sends_for_ms=0)
    await store.adopt(before)
    await world.tell(*(seen(f"user-{number}", -9) for number in range(5)))

    async def sweep_and_die(seconds: float, wake: object = None) -> bool:
        await world.views()
        raise KeyboardInterrupt

    monkeypatch.setattr(store._clock, "sleep", sweep_and_die)
    with pytest.raises(KeyboardInterrupt):
        await store.adopt(Adoption(revision="bad", rearm_after_ms=1, sends_for_ms=0))
    await store.close()
    again = await open_store(path)
    await again.adopt(before)
    assert len(await World(again).due(on=0)) == 5
    await again.close()


# --- who may read it, and what is refused ------------------------------------------------------


async def test_only_its_user_may_read_the_state(path: Path) -> None:
    store = await open_store(path)
    await World(store).begin()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ["state.db", "state.db-wal", "state.db-shm", "state.db.lock"], 0o600
    )
    await store.close()


async def test_a_closed_state_is_one_whole_file(path: Path) -> None:
    store = await open_store(path)
    await World(store).begin()
    await store.close()
    await store.close()
    sizes = {file.name: file.stat().st_size for file in path.parent.iterdir()}
    assert sizes.keys() == {"state.db", "state.db.lock"}
    assert sizes["state.db.lock"] == len(MADE), "it names nobody any more"


def test_a_file_that_is_no_database_is_refused_with_what_to_do(path: Path) -> None:
    path.write_bytes(b"this is not a database, but it is long enough to be one" * 100)
    with pytest.raises(StateDamaged, match=r"state\.db: .*put a backup in its place"):
        asyncio.run(open_store(path))
    assert path.read_bytes().startswith(b"this is not"), "it is left as it was"


async def test_a_damaged_file_is_refused(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(*(seen(f"user-{number:05}", 0) for number in range(2_000)))
    await store.close()
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(os.urandom(20 * 4096))
    with pytest.raises(StateDamaged, match=r"integrity check|not a usable database"):
        await open_store(path)


async def test_the_database_of_another_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StateDamaged, match="of another program"):
        await open_store(path)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere/state\.db.*No such file"):
        await open_store(tmp_path / "nowhere" / "state.db")


# --- when it cannot write ----------------------------------------------------------------------


async def test_a_full_disk_changes_nothing_and_passes(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0))
    connection = store._database._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    crowd = [seen(f"user-{number:05}", 0) for number in range(2_000)]
    with pytest.raises(StateUnwritable, match=r"full.*rolled back and nothing is lost"):
        await world.tell(*crowd)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert (await world.tell(*crowd)).users_new == 2_000
    assert len((await store.positions(STREAM)).positions) == 1
    await store.close()


FULL_DISK = """
import asyncio, resource, signal, sys
from tests.store.world import World, open_store, seen
from worker.errors import SettingsError, StateUnwritable

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = await open_store(sys.argv[1])
    world = await World(store).begin()
    crowd = [seen(f"user-{number:06}", 0) for number in range(10_000)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        await world.tell(*crowd)
    except StateUnwritable as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    print((await world.tell(*crowd)).users_new)
    await store.close()

asyncio.run(main())
"""


def test_a_file_system_that_takes_no_more_is_survived(path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert "cannot be written" in said[0]
    assert said[1:] == ["10000"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


async def test_somebody_elses_transaction_is_told_and_passes(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateInUse, match="another program is writing"):
            await world.tell(seen("ann", 0))
    assert (await world.tell(seen("ann", 0))).users_new == 1
    await store.close()


# --- incidents and bounds ----------------------------------------------------------------------


def broken(view: UserView) -> Look:
    raise ZeroDivisionError


async def test_what_the_store_meets_is_counted(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    assert dict(store.incidents) == dict.fromkeys(Incident, 0)
    for number in ("2", "1"):
        await world.tell(position=Position(shard_id="s", sequence_number=number))
    await world.tell(seen(None, 0, endpoint_id="e1"), phone(None, name="e1"))
    await world.tell(phone("ann", 1, name="e1"))
    await world.sweep(broken, on=30)
    await store.positions(STREAM)
    assert +store.incidents == {
        Incident.POSITION_BEHIND: 1,
        Incident.USER_MERGED: 1,
        Incident.LOOK_FAILED: 1,
    }
    await store.close()


async def test_the_oldest_dead_letters_make_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "DEAD_LETTERS_MAX", 3)
    monkeypatch.setattr(intake, "DEAD_LETTER_BYTES_MAX", 4)
    store: SqliteStore = await open_store(path)
    world = await World(store).begin()
    for number in range(5):
        await world.tell(letter(number, b"0123456789"))
    assert store.incidents[Incident.DEAD_LETTER_DROPPED] == 2
    kept = store._database._connection.execute(
        "SELECT sequence_number, bytes, data FROM dead_letters"
    )
    assert kept.fetchall() == [(str(number), 10, b"0123") for number in (2, 3, 4)]
    await store.close()


async def test_the_journal_is_kept_90_days_and_spent_episodes_400(path: Path) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    for start in (0, 20, 40):
        await world.tell(seen("ann", start), phone("ann"), on=start)
        await world.sweep(opening(start + 7), on=start + 7)
    await world.tell(seen("ann", 60), on=60)
    assert await store.prune(now_ms=day(97)) == 0, "nothing is 90 days old"
    assert await store.prune(now_ms=day(300)) == 6, "the journal, after 90 days"
    assert await store.prune(now_ms=day(419)) == 0, "closed less than 400 days ago"
    assert await store.prune(now_ms=day(1_000)) == 4, "two episodes with a claim each"
    assert await store.prune(now_ms=day(1_000)) == 0
    await store.close()


async def test_forgetting_goes_through_the_episodes_piece_by_piece(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.store.sqlite.PRUNE_ROWS_MAX", 2)
    store = await open_store(path)
    world = await World(store).begin()
    for start in (0, 20, 40):
        await world.tell(seen("ann", start), seen("bob", start), on=start)
        await world.sweep(opening(start + 7), on=start + 7)
    await world.tell(seen("ann", 60), seen("bob", 60), on=60)
    removed = [await store.prune(now_ms=day(1_000)) for _ in range(8)]
    # 12 journal lines and 4 of 6 episodes: two rows of each per call, and a round of the episodes
    # ends with an empty look beyond the last one.
    assert removed == [4, 4, 2, 2, 2, 2, 0, 0]
    await store.close()


@pytest.mark.parametrize(("claims", "level"), [(1, 2), (0, 1)], ids=["FULL", "NORMAL"])
async def test_only_a_sweep_waits_for_the_disk(path: Path, claims: int, level: int) -> None:
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"))
    if claims:
        await world.sweep(opening(7), on=7)
    synchronous = store._database._connection.execute("PRAGMA synchronous").fetchone()[0]
    assert synchronous == level
    await store.close()
