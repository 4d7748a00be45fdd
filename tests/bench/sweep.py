"""What a sweep over a crowd that is due at once costs, against SQLite that only moves due times.

The measure reads the same users off the index of due times and updates their rows by primary key,
in chunks as large, on a copy of the same file, and commits each chunk to disk. Chunks of both are
taken in turns and the medians of their CPU time compared, so a busy machine changes neither much.

    python -m tests.bench.sweep [USERS DUE]
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TypeAlias

from tests.bench.line import report, report_share
from worker.ladder import look_at
from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, Delivery, Look, UserView, address_hash_of
from worker.moment import Moment
from worker.money import LOOKBACK_MS, Purse
from worker.outbox import USERS_PER_SWEEP_MAX
from worker.pace import Pace
from worker.rules.load import load_contents
from worker.rules.ruleset import RuleSet
from worker.store import statements
from worker.store.sqlite import SqliteStore
from worker.testing import FakeClock

NOW_MS = 1_793_534_400_000
"""2026-11-01T12:00:00Z, when it is day in all the zones of these users."""

LATER_MS = NOW_MS + HOUR_MS
"""When those fall due who were active meanwhile."""

SILENCE_MS = 7 * DAY_MS
ZONES = (("Europe/Berlin", "DE"), ("Europe/Paris", "FR"), ("Europe/Madrid", "ES"))
RULES = Path(__file__).parents[2] / "rules"
IDLE_TRIES = 200
RAW_CACHE_KIB = 65_536
DUE = "SELECT user_id FROM users WHERE due_ms <= ? ORDER BY due_ms LIMIT ?"


def rules() -> RuleSet:
    """The shipped rules, live for everybody and without a rate that would stop a crowd."""
    text = (RULES / "shop.yaml").read_text(encoding="utf-8")
    changes = (
        ("mode: shadow", "mode: live"),
        ("holdout: {percent: 10}", "holdout: {percent: 0}"),
        ("{max: 500, per: 1s}", "{max: 999999, per: 1s}"),
    )
    for before, after in changes:
        assert before in text, f"the shipped rules no longer say {before}"
        text = text.replace(before, after)
    template = (RULES / "templates" / "comeback_email.yaml").read_bytes()
    files = {"shop.yaml": text.encode(), "templates/comeback_email.yaml": template}
    return load_contents(files)


def user_id(number: int) -> str:
    """Ids come in no order, as those of Cognito do."""
    digest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def fill(path: Path, *, users: int, due: int, minutes: int = 5, seed: int = 1) -> None:
    """So many users, each with a phone and a mailbox. Of them `due` fall due in the `minutes` up to
    `NOW_MS` and were not seen since, and as many up to `LATER_MS` who were; the others are due in
    some days."""
    chance = random.Random(seed)
    ids = sorted(user_id(number) for number in range(users))
    groups = [0] * due + [1] * due + [2] * (users - 2 * due)
    chance.shuffle(groups)
    people: list[tuple[str, int, int]] = []
    for name, group in zip(ids, groups, strict=True):
        ago_ms = chance.randrange(minutes * MINUTE_MS)
        due_ms = (NOW_MS, LATER_MS, NOW_MS + chance.randrange(DAY_MS, SILENCE_MS))[group] - ago_ms
        last_ms = due_ms - SILENCE_MS + (2 * DAY_MS if group == 1 else 0)
        people.append((name, last_ms, due_ms))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO users VALUES (?, ?, ?)", people)
    columns = (
        "endpoint_id, at_ms, user_id, channel_type, address, active, opted_out, timezone, country, "
        "locale, platform, app, attributes, user_attributes, address_hash"
    )
    marks = ", ".join("?" * len(columns.split(",")))
    for index in ("endpoints_by_owner", "endpoints_by_address"):
        connection.execute(f"DROP INDEX {index}")
    connection.executemany(
        f"INSERT INTO endpoints ({columns}) VALUES ({marks})",  # noqa: S608  constants of this file
        (row for person in people for row in _endpoints(*person)),
    )
    connection.execute("COMMIT")
    connection.close()


def _endpoints(name: str, last_ms: int, due_ms: int) -> Sequence[tuple[object, ...]]:
    zone, country = ZONES[due_ms % len(ZONES)]
    told = (1, 0, zone, country, "de_DE", "android", "shop", '{"interests":["shoes"]}')
    said = f'{{"first_name":["Guest {name[:4]}"],"plan":["premium"]}}'
    found = []
    for kind, address in (("GCM", f"{name}:APA91-{name}{name}"), ("EMAIL", f"{name}@example.com")):
        hashed = address_hash_of(address)
        found.append((f"{name}-{kind}".lower(), last_ms, name, kind, address, *told, said, hashed))
    return found


class Raw:
    """SQLite that moves due times, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"cache_size = -{RAW_CACHE_KIB}",
            "wal_autocheckpoint = 4096",
        ):
            self._connection.execute(f"PRAGMA {pragma}")

    def sweep(self, now_ms: int, users_max: int) -> int:
        """One chunk; returns how many users it moved."""
        self._connection.execute("BEGIN IMMEDIATE")
        rows = self._connection.execute(DUE, (now_ms, users_max)).fetchall()
        moved = [(now_ms + 2 * DAY_MS, row[0]) for row in rows]
        self._connection.executemany(statements.SET_DUE, moved)
        self._connection.execute("COMMIT")
        return len(moved)


class Ours:
    """The store with the ladder, as the outbox asks it."""

    def __init__(self, store: SqliteStore, rule_set: RuleSet) -> None:
        self._store = store
        self._rules = rule_set
        self.claims = 0

    async def sweep(self, now_ms: int, users_max: int) -> int:
        """One chunk; returns how many users were looked at."""
        await self._store.silences()
        spends = await self._store.spends(now_ms - LOOKBACK_MS)
        pace = Pace(self._rules.limits.send_rates)
        moment = Moment(now_ms=now_ms, wall_ms=now_ms, purse=Purse(spends), pace=pace)

        def decide(view: UserView) -> Look:
            looked = look_at(view, self._rules, moment)
            moment.puts_off(looked)
            return looked

        def admits(deliveries: Sequence[Delivery]) -> bool:
            moment.sends(deliveries)
            return True

        swept = await self._store.sweep(
            now_ms=now_ms, decide=decide, admits=admits, users_max=users_max
        )
        self.claims += len(swept.deliveries)
        return swept.users


Costs: TypeAlias = tuple[float, float]
"""Median CPU microseconds a user: ours, and the measure."""


async def compare(ours: Ours, raw: Raw, *, now_ms: int, chunk: int) -> tuple[int, Costs]:
    """How many users both went over, and what it cost."""
    users = 0
    costs: list[Costs] = []
    while True:
        started = process_time()
        looked = await ours.sweep(now_ms, chunk)
        between = process_time()
        moved = raw.sweep(now_ms, chunk)
        ended = process_time()
        assert looked == moved, "both go over the same users"
        if looked < chunk:
            return users, (median(cost[0] for cost in costs), median(cost[1] for cost in costs))
        users += looked
        costs.append((1e6 * (between - started) / looked, 1e6 * (ended - between) / looked))


async def idle_ms(ours: Ours, chunk: int) -> float:
    """Median milliseconds of looking for due users when nobody is due."""
    tries = []
    for _ in range(IDLE_TRIES):
        started = perf_counter()
        assert await ours.sweep(NOW_MS - DAY_MS, chunk) == 0
        tries.append(perf_counter() - started)
    return median(tries) * 1_000


async def main(users: int, due: int, chunk: int = USERS_PER_SWEEP_MAX) -> None:
    """Prints a line for each case; fails when a user who should be claimed was not."""
    rule_set = rules()
    with tempfile.TemporaryDirectory(prefix="comeback-bench-") as folder:
        path, copy = Path(folder, "state.db"), Path(folder, "copy.db")
        clock = FakeClock(now_ms=NOW_MS)
        store = await SqliteStore.open(str(path), wait=False, clock=clock)
        await store.adopt(rule_set.adoption)
        await store.close()
        fill(path, users=users, due=due)
        store = await SqliteStore.open(str(path), wait=False, clock=clock)
        await store.close()
        shutil.copyfile(path, copy)
        store = await SqliteStore.open(str(path), wait=False, clock=clock)
        ours, raw = Ours(store, rule_set), Raw(copy)
        name = f"due: {users:,} users"
        milliseconds = await idle_ms(ours, chunk)
        report(f"{name}, none due, in 2 ms", f"{milliseconds:.2f} ms", milliseconds / 2, 1.0)
        for what, now_ms in (("look and claim", NOW_MS), ("seen meanwhile", LATER_MS)):
            count, (cost, measure) = await compare(ours, raw, now_ms=now_ms, chunk=chunk)
            assert count > due - chunk, "all of the crowd were due"
            report_share(f"{name}, {what}", f"{cost:.1f} us/user", measure / cost, 0.4)
        assert ours.claims == due, "who was not seen meanwhile was claimed, and nobody else"
        await store.close()


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    asyncio.run(main(*(given + [200_000, 20_000][len(given) :])))
