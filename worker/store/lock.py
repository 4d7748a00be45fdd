"""One process per state file: an exclusive `flock` beside it, and the standby that waits for it.

The kernel frees the lock when its holder ends, however it ends; the text in the lock file only says
who holds it. The file itself is never removed, or two processes could lock two files of one name.
Works on local and block volumes; network file systems are not supported (ARCHITECTURE.md).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from datetime import UTC, datetime
from errno import EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS

from worker.errors import SettingsError, StateInUse, StateUnwritable
from worker.model import SECOND_MS
from worker.ports import Clock

LOCK_POLL_SECONDS = 1.0
HOLDER_BYTES_MAX = 512

MISPLACED = frozenset({EACCES, EISDIR, ENOENT, ENOTDIR, EPERM, EROFS})
"""What only somebody who changes the set-up can mend."""


class StateLock:
    """The lock of one state file, held from `acquire` until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    async def acquire(
        cls, state_path: str, *, wait: bool, clock: Clock, on_wait: Callable[[str], None]
    ) -> StateLock:
        """Takes `<state_path>.lock`, symbolic links resolved.

        When another process holds it: raises StateInUse, or with `wait` calls `on_wait(holder)`
        once and looks again every `LOCK_POLL_SECONDS`. Raises SettingsError when the folder is not
        there or not ours, StateUnwritable when the disk is in trouble.
        """
        path = _lock_path(state_path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            problem = SettingsError if error.errno in MISPLACED else StateUnwritable
            raise problem(
                f"{path}: cannot be opened for writing ({error.strerror}). The folder of the state "
                "file must exist and belong to this user; mount the volume, or set COMEBACK_STATE."
            ) from error
        try:
            if not _try_lock(descriptor):
                await _queue(state_path, descriptor, wait=wait, clock=clock, on_wait=on_wait)
            _sign(descriptor, clock.now_ms())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Frees the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


async def _queue(
    state_path: str,
    descriptor: int,
    *,
    wait: bool,
    clock: Clock,
    on_wait: Callable[[str], None],
) -> None:
    holder = _holder(descriptor)
    if not wait:
        raise StateInUse(
            f"{state_path}: in use by {holder}. Stop that process first, or start this one as a "
            "standby; the lock frees itself when its holder ends."
        )
    on_wait(holder)
    while not _try_lock(descriptor):
        await clock.sleep(LOCK_POLL_SECONDS)


def _lock_path(state_path: str) -> str:
    """Two names of one file must not be two locks."""
    return f"{os.path.realpath(state_path)}.lock"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, HOLDER_BYTES_MAX, 0).decode("utf-8", "replace").strip()
    return text or "another process"


def _sign(descriptor: int, now_ms: int) -> None:
    since = datetime.fromtimestamp(now_ms // SECOND_MS, UTC).isoformat()
    text = f"pid {os.getpid()} on {os.uname().nodename} since {since}\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
