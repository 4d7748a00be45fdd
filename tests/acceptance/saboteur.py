"""`comeback` with a saboteur inside: ends its own process at a named boundary, or bends its clock.

    KILL_AT=sweep:committed KILL_ON=2 python -m tests.acceptance.saboteur run

The product has no code for this. `KILL_AT` is one of `BOUNDARIES`, `KILL_ON` says which time it is
reached (1 is the first); the end is a SIGKILL, so nothing is closed, flushed or told. `CLOCK_FILE`
names eight bytes, a signed number of milliseconds, that are added to the wall clock at every look,
so that a test can step the clock of a running process.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from worker import app, cli
from worker.clock import SystemClock
from worker.senders.pinpoint import PinpointSender
from worker.store import connection as store_connection
from worker.store.connection import Database
from worker.store.sqlite import SqliteStore

VERBS = ("positions", "recover", "adopt", "wake", "apply", "sweep", "settle", "prune")
"""Verbs of the store that write. `uncommitted`: all is written, the commit is not asked for;
`committed`: the commit is done, its caller has not heard of it."""

BOUNDARIES = (
    "open:locked",  # the state is ours, the file may not be there
    "open:created",  # the file is there, its tables may not be
    "open:migrated",
    *(f"{verb}:{moment}" for verb in VERBS for moment in ("uncommitted", "committed")),
    "call:before",  # claims are durable, no byte of the call is sent
    "call:answered",  # the provider's answer is in memory only
    "close:before",
    "close:after",
)

_verb: ContextVar[str | None] = ContextVar("verb", default=None)
_reached: Counter[str] = Counter()


def reached(boundary: str) -> None:
    """Ends the process when this is where, and when, it is to end."""
    _reached[boundary] += 1
    if boundary == os.environ.get("KILL_AT") and _reached[boundary] >= int(
        os.environ.get("KILL_ON", "1")
    ):
        os.kill(os.getpid(), signal.SIGKILL)


def _watch_verb(name: str) -> None:
    original: Callable[..., Any] = getattr(SqliteStore, name)

    async def verb(self: SqliteStore, *arguments: Any, **named: Any) -> Any:
        batch = arguments[1] if name == "apply" else None
        token = _verb.set(None if batch is not None and not batch.records else name)
        try:
            return await original(self, *arguments, **named)
        finally:
            _verb.reset(token)

    setattr(SqliteStore, name, verb)


def _watch_transactions() -> None:
    original: Callable[..., AbstractContextManager[Any]] = Database.transaction

    @contextmanager
    def transaction(self: Database, *, durable: bool = False) -> Iterator[Any]:
        verb = _verb.get()
        with original(self, durable=durable) as connection:
            yield connection
            if verb == "sweep" and not _any_claimed(connection):
                verb = None
            reached(f"{verb}:uncommitted")
        reached(f"{verb}:committed")

    setattr(Database, "transaction", transaction)  # noqa: B010 - mypy knows methods do not change


def _any_claimed(connection: Any) -> bool:
    """A sweep that claims nothing is no boundary of interest."""
    found = connection.execute("SELECT EXISTS (SELECT 1 FROM claims WHERE state = 'claimed')")
    return bool(found.fetchone()[0])


def _watch_file() -> None:
    open_file, close_file, migrate = Database.open, Database.close, store_connection._migrate

    def opened(path: str) -> Database:
        reached("open:locked")
        database = open_file(path)
        reached("open:migrated")
        return database

    def migrated(connection: Any) -> None:
        reached("open:created")
        migrate(connection)

    def closed(self: Database) -> None:
        reached("close:before")
        close_file(self)
        reached("close:after")

    replacements = (
        (Database, "open", opened),
        (Database, "close", closed),
        (store_connection, "_migrate", migrated),
    )
    for owner, name, replacement in replacements:
        setattr(owner, name, replacement)


def _watch_calls() -> None:
    original = PinpointSender.send

    async def send(self: PinpointSender, deliveries: Any) -> Any:
        reached("call:before")
        outcomes = await original(self, deliveries)
        reached("call:answered")
        return outcomes

    setattr(PinpointSender, "send", send)  # noqa: B010 - mypy knows methods do not change


def _bend_clock(path: Path) -> None:
    with path.open("r+b") as file:
        cell = mmap.mmap(file.fileno(), 8)
    original = SystemClock.now_ms

    def now_ms(self: SystemClock) -> int:
        offset_ms: int = struct.unpack("<q", cell[:8])[0]
        return original(self) + offset_ms

    setattr(SystemClock, "now_ms", now_ms)  # noqa: B010 - mypy knows methods do not change


def main() -> None:
    """Patches what is asked for, and is `comeback` from there on."""
    boundary = os.environ.get("KILL_AT")
    if boundary is not None:
        assert boundary in BOUNDARIES, boundary
        for name in VERBS:
            _watch_verb(name)
        _watch_transactions()
        _watch_file()
        _watch_calls()
        if boundary.startswith("prune"):
            app.PRUNE_SECONDS, app.BEAT_SECONDS = 0.0, 0.2
    if "CLOCK_FILE" in os.environ:
        _bend_clock(Path(os.environ["CLOCK_FILE"]))
    cli.main()


if __name__ == "__main__":
    main()
