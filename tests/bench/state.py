"""State files of so many users, made by SQL in a fraction of the time that events would take.

A file holds what the worker would have made of one event a user and endpoint, in the file's real
schema and with the shipped rules in force: `check` holds it against the worker's own reading. It is
kept in the temporary folder for the next run; who writes takes a `copy`.

    python -m tests.bench.state USERS [ENDPOINTS]
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter

from tests.bench.recording import CHANNELS, PLACES, START_MS, event
from worker.clock import SystemClock
from worker.model import (
    DAY_MS,
    Batch,
    Position,
    Record,
    StreamIdentity,
    address_hash_of,
)
from worker.recency import fold
from worker.rules.load import load
from worker.rules.ruleset import ActivityPolicy
from worker.store import bulk_indexes
from worker.store.connection import Database
from worker.store.migrations import MIGRATIONS
from worker.store.sqlite import SqliteStore

SEEN_WITHIN_MS = 6 * DAY_MS
"""Everybody was active in the days before `START_MS`, so nobody is due at once."""

RULES = Path(__file__).parents[2] / "rules"
SILENCE_MS = 8 * DAY_MS
SAMPLES = 7
"""Users whose endpoints are held against the worker's own reading."""

STREAM = StreamIdentity(name="bench", created_ms=0)
FOLDER = Path(tempfile.gettempdir()) / "comeback-bench"

NUMBERS = """
CREATE TEMP TABLE people AS
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < :users - 1)
SELECT n FROM numbers ORDER BY CAST(n AS TEXT)
"""
CHANNEL_TABLE = "CREATE TEMP TABLE channels (ch INTEGER PRIMARY KEY, channel_type TEXT, form TEXT)"
PLACE_TABLE = """
CREATE TEMP TABLE places (place INTEGER PRIMARY KEY, zone TEXT, country TEXT, locale TEXT)
"""
USERS = """
INSERT INTO users (user_id, last_active_ms, due_ms)
SELECT 'user-' || n, seen_ms, seen_ms + :rearm_after_ms
FROM (SELECT n, :start_ms - 1 - (n * 104729) % :within_ms AS seen_ms FROM temp.people)
"""
ENDPOINTS = """
INSERT INTO endpoints (endpoint_id, at_ms, user_id, channel_type, address, active, opted_out,
  timezone, country, locale, platform, app, attributes, user_attributes, address_hash)
SELECT 'c' || n || '-' || ch, :start_ms, 'user-' || n, channel_type, printf(form, n), 1, 0,
  zone, country, locale, 'android', 'shop', '{"interests":["shoes","hats"]}',
  printf('{"first_name":["Guest %d"],"ltv":["%d"],"plan":["%s"]}',
         n, n % 100, CASE WHEN n % 3 THEN 'premium' ELSE 'free' END),
  address_hash_of(printf(form, n))
FROM temp.people CROSS JOIN temp.channels CROSS JOIN temp.places ON place = n % :places
"""


def state(users: int, *, endpoints: int = 1) -> Path:
    """The file of that many users with so many endpoints each (0 to 3), made when it is not there.

    Not to be written to: see `copy`.
    """
    FOLDER.mkdir(exist_ok=True)
    made_of = f"v{len(MIGRATIONS)}-{load(RULES).adoption.revision}"
    path = FOLDER / f"{made_of}-{users}-{endpoints}.db"
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        asyncio.run(_make(part, users, endpoints))
        check(part, users, endpoints)
        part.with_name(part.name + ".lock").unlink(missing_ok=True)
        part.rename(path)
    return path


SHIFT = "UPDATE users SET last_active_ms = last_active_ms + :by_ms, due_ms = due_ms + :by_ms"
FALL_DUE = """
UPDATE users SET last_active_ms = :start_ms - :silence_ms, due_ms = :start_ms
WHERE user_id LIKE '%7'
"""


@contextmanager
def copy(
    users: int, *, endpoints: int = 1, start_ms: int = START_MS, due: bool = False
) -> Iterator[Path]:
    """A file of its own with that many users, removed at the end. Everybody was active in the days
    before `start_ms`; with `due` a tenth of them was not, and is due then."""
    original = state(users, endpoints=endpoints)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = Path(folder) / "state.db"
        shutil.copyfile(original, path)
        path.chmod(0o600)
        with closing(sqlite3.connect(path)) as connection, connection:
            if start_ms != START_MS:
                connection.execute(SHIFT, {"by_ms": start_ms - START_MS})
            if due:
                connection.execute(FALL_DUE, {"start_ms": start_ms, "silence_ms": SILENCE_MS})
        # What is still on its way to the disk would hold up whoever syncs next.
        with path.open("rb") as file:
            os.fsync(file.fileno())
        yield path


async def _make(path: Path, users: int, endpoints: int) -> None:
    store = await SqliteStore.open(str(path), wait=False, clock=SystemClock())
    adoption = load(RULES).adoption
    await store.adopt(adoption)
    await store.close()
    assert adoption.rearm_after_ms is not None
    connection = sqlite3.connect(path, isolation_level=None)
    _fill(connection, users, endpoints, adoption.rearm_after_ms)
    connection.close()
    # Makes the indexes anew that the filling did without.
    Database.open(str(path)).close()


def _fill(connection: sqlite3.Connection, users: int, endpoints: int, rearm_after_ms: int) -> None:
    connection.create_function("address_hash_of", 1, address_hash_of, deterministic=True)
    # A file half made is thrown away: neither log nor sync is needed.
    for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("BEGIN")
    bulk_indexes.drop(connection)
    connection.execute(CHANNEL_TABLE)
    connection.execute(PLACE_TABLE)
    forms = [(ch, kind, form.replace("{}", "%d")) for ch, (kind, form) in enumerate(CHANNELS)]
    forms = [(ch, kind, form.replace("{:07d}", "%07d")) for ch, kind, form in forms]
    connection.executemany("INSERT INTO temp.channels VALUES (?, ?, ?)", forms[:endpoints])
    places = [(number, *place) for number, place in enumerate(PLACES)]
    connection.executemany("INSERT INTO temp.places VALUES (?, ?, ?, ?)", places)
    connection.execute(NUMBERS, {"users": users})
    moments = {"start_ms": START_MS, "within_ms": SEEN_WITHIN_MS}
    connection.execute(USERS, {**moments, "rearm_after_ms": rearm_after_ms})
    connection.execute(ENDPOINTS, {"start_ms": START_MS, "places": len(PLACES)})
    connection.execute("COMMIT")
    connection.execute("ANALYZE users_by_due")
    connection.execute("PRAGMA journal_mode = WAL")


def check(path: Path, users: int, endpoints: int) -> None:
    """Asserts that endpoints lie here as the worker writes them when their events come."""
    columns = "endpoint_id, at_ms, owner, channel_type, address, active, opted_out, timezone, "
    columns += "country, locale, platform, app, attributes, user_attributes, address_hash"
    chosen = [users * part // SAMPLES for part in range(SAMPLES)]
    asked = f"SELECT {columns} FROM endpoints WHERE owner = ? ORDER BY endpoint_id"  # noqa: S608
    database = Database.open(str(path))
    with database.snapshot() as made:
        found = [made.execute(asked, (f"user-{n}",)).fetchall() for n in chosen]
        count = made.execute("SELECT count(*) FROM users").fetchone()[0]
    database.close()
    assert count == users, f"{count} users instead of {users}"
    if endpoints:
        expected = asyncio.run(_as_the_worker_does(asked, chosen, endpoints))
        assert found == expected, f"endpoints differ from the worker's: {found[0]}, {expected[0]}"


async def _as_the_worker_does(
    asked: str, chosen: list[int], endpoints: int
) -> list[list[tuple[object, ...]]]:
    records = tuple(
        Record(
            data=event(n, START_MS, "_session.start", channel),
            sequence_number=str(n + 1),
            arrival_ms=START_MS,
        )
        for n in sorted(chosen)
        for channel in range(endpoints)
    )
    batch = Batch(
        stream=STREAM,
        position=Position(shard_id="s", sequence_number=records[-1].sequence_number),
        records=records,
        read_through_ms=START_MS,
    )
    store = await SqliteStore.open(":memory:", wait=False, clock=SystemClock())
    await store.positions(STREAM)
    await store.apply(fold(batch, ActivityPolicy()), batch, now_ms=START_MS)
    with store._database.snapshot() as connection:
        rows = [connection.execute(asked, (f"user-{n}",)).fetchall() for n in chosen]
    await store.close()
    return rows


def bytes_of(path: Path) -> int:
    """What the file takes, with its log."""
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    users, endpoints = given + [1_000_000, 1][len(given) :]
    begun = perf_counter()
    made = state(users, endpoints=endpoints)
    seconds = perf_counter() - begun
    print(f"{made}  {bytes_of(made) / users:.1f} bytes a user  {seconds:.1f} s")
