"""Whether the state file is where it was, asked of the file system: at start and while running.

SQLite makes a file that is missing, takes an empty one for a new one, and goes on writing to one
that was removed. Each would forget who was sent what, and send it again (P1), so none may pass
unnoticed. What is in the file is not asked here.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from worker.errors import StateMissing, StateUnwritable
from worker.store.rights import open_private

RESCUED = ".rescued"
RESCUES_MAX = 10
"""Copies that may lie beside the state; afterwards no more are made."""


def require_made(path: str, *, lock_path: str) -> None:
    """For a state that a worker has used before: the file must be there, and not be empty.

    Raises StateMissing.
    """
    try:
        found = "is empty" if Path(path).stat().st_size == 0 else None
    except FileNotFoundError:
        found = "is not there"
    if found is None:
        return
    rescued = [name for name in map(Path, _rescue_names(path)) if name.exists()]
    copy = (
        f"{rescued[-1]} is a copy of it from when it was removed: move that to {path}. "
        if rescued
        else "Put it back, or a copy of it with `comeback restore FILE`. "
    )
    raise StateMissing(
        f"{path}: {found}, though a worker has used it. Starting without it would send again what "
        f"was sent. {copy}Only to begin anew on purpose: remove {lock_path} and what is left of "
        "the state (-wal, -shm); recency is rebuilt from what the stream still holds, and who was "
        "sent what is forgotten."
    )


class Presence:
    """The file as it was when it was opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = _identity(path)

    @property
    def is_lost(self) -> bool:
        """Has the file of this name become another one, or none? Takes microseconds."""
        return self._identity is not None and _identity(self._path) != self._identity

    def require(self) -> None:
        """Raises StateMissing when the file was removed or replaced since it was opened."""
        if self.is_lost:
            raise StateMissing(
                f"{self._path}: was removed or replaced while the worker used it. The worker stops "
                f"and saves what it knows beside it as {self._path}{RESCUED}. Find out who removed "
                f"it, move that copy to {self._path} (without what may lie there now, and its -wal "
                "and -shm), and start again."
            )

    def rescue(self, connection: sqlite3.Connection) -> str:
        """Writes all that the connection still sees into a file beside the lost one, mode 0600;
        returns its name. Raises StateUnwritable and errors of SQLite."""
        for name in _rescue_names(self._path):
            if not Path(name).exists():
                os.close(open_private(name))
                # SQLite fills a file that is empty and refuses any other.
                connection.execute("VACUUM INTO ?", (name,))
                return name
        raise StateUnwritable(
            f"{self._path}: was removed, and {RESCUES_MAX} rescued copies lie beside it already. "
            "Move those that are not needed away."
        )


def _rescue_names(path: str) -> list[str]:
    return [f"{path}{RESCUED}", *(f"{path}{RESCUED}-{n}" for n in range(2, RESCUES_MAX + 1))]


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another of its name; None: there is none."""
    try:
        # Asked in every transaction, and a Path costs more than the question.
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
