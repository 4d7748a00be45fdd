"""Which files an import reads: local ones here, S3 objects in s3.py. Opens them only to read.

Folders are read in the order of their paths, without hidden files. A file is known again by its
name, size, time of change and beginning: one that was written anew counts as another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from worker.errors import UsageError

READ_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 64 << 10
FILES_MAX: Final = 100_000

S3_PREFIX: Final = "s3://"


class ImportFile(Protocol):
    """One file to import."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def key(self) -> str:
        """By which the state knows what was taken of it."""

    @property
    def size(self) -> int:
        """Bytes, as it lies there."""

    def blocks(self) -> Iterator[bytes]:
        """What it holds, from its beginning. Raises OSError, or an error of the tree."""


class LocalFile:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path
        found = path.stat()
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        self.name = str(path)
        self.size = found.st_size
        identity = f"{found.st_size} {found.st_mtime_ns} ".encode() + head
        self.key = f"{path.name}#{blake2b(identity, digest_size=8).hexdigest()}"

    def blocks(self) -> Iterator[bytes]:
        """What it holds. Raises OSError."""
        with self._path.open("rb", buffering=0) as file:
            while block := file.read(READ_BYTES):
                yield block


def local_files(name: str) -> Sequence[LocalFile]:
    """A file, or those of a folder. Raises UsageError when there is none, or one is unreadable."""
    path = Path(name)
    paths = list(islice(_within(path), FILES_MAX + 1)) if path.is_dir() else [path]
    if len(paths) > FILES_MAX:
        raise UsageError(f"{name} holds more than {FILES_MAX:,} files; name folders within it")
    if not paths:
        raise UsageError(f"{name} holds no files; name a file, a folder of files, or s3://...")
    try:
        return [LocalFile(found) for found in paths]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error


def _within(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _within(entry)
        else:
            yield entry
