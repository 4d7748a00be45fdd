"""The indexes of the address book that a bulk import does without, and makes anew when it is done.

An endpoint is known by its id; who owns it and where it leads are looked up by two more trees,
whose keys come in no order. To make them once, sorted, costs a small part of keeping them row by
row. What an import that was killed leaves behind, the next one who opens the file to write mends.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

DROP: Final = (
    "DROP INDEX IF EXISTS endpoints_by_owner",
    "DROP INDEX IF EXISTS endpoints_by_address",
)
MAKE: Final = (
    "CREATE INDEX IF NOT EXISTS endpoints_by_owner ON endpoints (owner)",
    (
        "CREATE INDEX IF NOT EXISTS endpoints_by_address ON endpoints (address_hash)"
        " WHERE address_hash IS NOT NULL"
    ),
)
_KNOWN: Final = "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name IN (?, ?)"
_NAMES: Final = ("endpoints_by_owner", "endpoints_by_address")


def are_there(connection: sqlite3.Connection) -> bool:
    """Does the file have both?"""
    count: int = connection.execute(_KNOWN, _NAMES).fetchone()[0]
    return count == len(_NAMES)


def drop(connection: sqlite3.Connection) -> None:
    """Inside a transaction of the caller, who holds the file's lock."""
    for statement in DROP:
        connection.execute(statement)


def make(connection: sqlite3.Connection) -> None:
    """Outside of a transaction. Takes some seconds per million endpoints; each index is there whole
    or not at all. Sorts in a file beside the state, so that memory does not grow with the address
    book; when it had to, temporary tables of the connection are gone afterwards."""
    if are_there(connection):
        return
    (store,) = connection.execute("PRAGMA temp_store").fetchone()
    connection.execute("PRAGMA temp_store = FILE")
    for _, name, file in connection.execute("PRAGMA database_list").fetchall():
        if name == "main" and file:
            sort_in(connection, Path(file).parent)
    for statement in MAKE:
        connection.execute(statement)
    connection.execute(f"PRAGMA temp_store = {store}")


def sort_in(connection: sqlite3.Connection, folder: Path) -> None:
    """Temporary files of this process lie there from now on: a container may have no other place
    for them. Where SQLite does not let itself be told, they lie where it likes."""
    quoted = str(folder).replace("'", "''")
    with suppress(sqlite3.Error):
        connection.execute(f"PRAGMA temp_store_directory = '{quoted}'")
