"""Who may read the state: this user alone. The file holds the addresses of every user.

A new file is 0600 whatever the umask says; SQLite gives its companions (-wal, -shm) the rights of
the file. What is found open to others, by a `cp` or a volume's defaults, is closed to them.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import structlog

PRIVATE: Final = 0o600
OTHERS: Final = 0o077
COMPANIONS: Final = ("", "-wal", "-shm")

log = structlog.get_logger()


def open_private(path: str) -> int:
    """A descriptor of the file for reading and writing. One that is made here is 0600, one that was
    there is as it was. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE)
    except FileExistsError:
        # A link to a file that is not there yet is the same to O_EXCL as a file that is.
        return os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        os.fchmod(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_private(path: str) -> None:
    """Makes sure that the state file is there, can be written, and is nobody else's to read.

    Raises OSError when it cannot be opened for writing.
    """
    os.close(open_private(path))
    close_to_others(path)


def close_to_others(path: str) -> None:
    """Takes the rights of group and others off the state file and its companions; says so, and
    says when it may not, which is no reason to stop working."""
    for name in (f"{path}{ending}" for ending in COMPANIONS):
        try:
            mode = stat.S_IMODE(os.stat(name).st_mode)  # noqa: PTH116  follows links, as SQLite does
        except FileNotFoundError:
            continue
        if not mode & OTHERS:
            continue
        try:
            os.chmod(name, mode & ~OTHERS)  # noqa: PTH101
        except OSError as error:
            log.error(
                "state_readable_by_others",
                file=name,
                mode=f"{mode:04o}",
                because=error.strerror,
                do="make the file belong to the user of comeback, with mode 0600",
            )
        else:
            log.warning("state_was_readable_by_others", file=name, mode=f"{mode:04o}", now="0600")
