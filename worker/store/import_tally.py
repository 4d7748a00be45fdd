"""Which endpoints and users an import has told of, to count those it told too often.

Kept apart from the state, in a temporary file of SQLite's own that goes with the connection, so
that memory does not grow with the import; hashes only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from worker.store.bulk_indexes import sort_in

ENDPOINTS_PER_USER_MAX: Final = 15
"""Pinpoint's quota (developer guide, "Quotas")."""

CACHE_KIB: Final = 16_384
FILE_STEP: Final = 1 << 40
"""A place is the number of its file times this, and its line."""

Told: TypeAlias = tuple[int, int | None, int]
"""Hash of an endpoint id, hash of its user id if it has one, place."""

_MAKE = "CREATE TABLE told (endpoint INTEGER NOT NULL, user INTEGER, place INTEGER NOT NULL)"
_ADD = "INSERT INTO told VALUES (?, ?, ?)"
_AGAIN = """
SELECT count(*) - 1, max(place) FROM told GROUP BY endpoint HAVING count(*) > 1
"""
_CROWDED = """
SELECT max(place) FROM (SELECT user, endpoint, max(place) AS place FROM told
                        WHERE user IS NOT NULL GROUP BY user, endpoint)
GROUP BY user HAVING count(*) > ?
"""


class Tally:
    """A context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where there is room for 40 bytes per endpoint."""
        self._connection = sqlite3.connect("", isolation_level=None)
        sort_in(self._connection, folder)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_MAKE)

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, told: Iterable[Told]) -> None:
        """Takes some endpoints down."""
        self._connection.execute("BEGIN")
        self._connection.executemany(_ADD, told)
        self._connection.execute("COMMIT")

    def told_again(self) -> Iterator[tuple[int, int]]:
        """Per endpoint that came more than once: how often again, and the last place."""
        return iter(self._connection.execute(_AGAIN))

    def crowded_users(self) -> Iterator[int]:
        """Per user with more than `ENDPOINTS_PER_USER_MAX` endpoints: the last place."""
        rows = self._connection.execute(_CROWDED, (ENDPOINTS_PER_USER_MAX,))
        return (row[0] for row in rows)


def place_number(file: int, line: int) -> int:
    """A place as one number."""
    return file * FILE_STEP + line


def place_of(number: int) -> tuple[int, int]:
    """The place of a number."""
    return divmod(number, FILE_STEP)
