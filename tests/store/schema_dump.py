"""Writes schema_v<n>.sql: a small state file of the present schema version, as SQL text.

Run once when a new version is released: `.venv/bin/python -m tests.store.schema_dump`. The tests
load every such file and bring it up to date, so an upgrade from each version is tried for ever.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from tests.store.world import (
    World,
    goal,
    mailbox,
    open_store,
    opening,
    phone,
    seen,
    sending,
)
from worker.model import ClaimState, Sent, SilenceKind
from worker.store.migrations import APPLICATION_ID, SCHEMA_VERSION
from worker.store.silencebook import SilenceBook

FOLDER = Path(__file__).parent


def path_of(version: int) -> Path:
    """Where the dump of a schema version lives."""
    return FOLDER / f"schema_v{version}.sql"


async def fill(path: Path) -> None:
    """Ann was sent a push and is silent; Bob came back and bought; a phone nobody has a name for;
    a silence that stands."""
    store = await open_store(path)
    world = await World(store).begin()
    await world.tell(seen("ann", 0), phone("ann"), mailbox("ann", "ann@example.com"))
    await world.tell(seen("bob", 0), phone("bob"), seen(None, 1, endpoint_id="unnamed"))
    swept = await world.sweep(opening(7, variant="warm", cost_micros=5), on=7)
    sent = [Sent(send_id=delivery.claim.send_id) for delivery in swept.deliveries]
    await world.settle(*sent, state=ClaimState.SENT, on=7)
    await world.sweep(sending(7), on=7)
    await world.tell(seen("bob", 8), goal("bob", 8), on=8)
    await store.close()
    SilenceBook(str(path), clock=world.clock).add(
        SilenceKind.SILENCE, ['rule="winback"'], ends_ms=None, author="eve", comment="a mishap"
    )


def dump() -> str:
    """The SQL text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        asyncio.run(fill(path))
        with closing(sqlite3.connect(path)) as connection:
            lines = list(connection.iterdump())
    lines.insert(0, f"PRAGMA application_id = {APPLICATION_ID};")
    lines.insert(0, f"PRAGMA user_version = {SCHEMA_VERSION};")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    path_of(SCHEMA_VERSION).write_text(dump())
