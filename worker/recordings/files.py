"""Recorded events in files: plain or gzip, one file, several, whole folders, standard input.

Read in the order named, folders sorted by path, so that Firehose objects (`YYYY/MM/DD/HH/name`)
come in the order of time. Memory does not grow with the files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from worker.errors import UsageError
from worker.gunzip import MAGIC, BrokenGzip, gunzipped
from worker.model import Record
from worker.recordings.framing import Splitter, stamped

BLOCK_BYTES: Final = 1 << 20
"""Read at once; also the most a compressed block is unpacked to at once."""

STDIN: Final = "-"


class Files:
    """A recording in files. Read once."""

    def __init__(self, names: Sequence[str], *, stdin: BinaryIO, latest_ms: int) -> None:
        """`names`: files, folders, `-` for `stdin`. Raises UsageError for one that cannot be read.
        `latest_ms`: no record can have arrived later."""
        for name in names:
            _must_be_readable(name)
        self._names = names
        self._stdin = stdin
        self._latest_ms = latest_ms
        self.bytes_read = 0
        """Of the files as they lie there, compressed ones too."""
        self.files = 0
        self.broken: Counter[str] = Counter()
        """What of the files themselves could not be read, by kind."""
        self.odd: Counter[str] = Counter()
        """Records that count all the same, by what is odd about them."""

    @property
    def bytes_total(self) -> int | None:
        """How many there are to read; None: nobody knows."""
        if STDIN in self._names:
            return None
        return sum(path.stat().st_size for path in self._paths(self._names))

    def records(self) -> Iterator[Sequence[Record]]:
        """All of them, some at a time, with their arrival in ms."""
        return stamped(self._lines(), latest_ms=self._latest_ms, odd=self.odd)

    def _lines(self) -> Iterator[list[bytes]]:
        for name in self._names:
            if name == STDIN:
                yield from self._split(self._blocks(self._stdin))
                continue
            for path in self._paths([name]):
                try:
                    with path.open("rb", buffering=0) as file:
                        yield from self._split(self._blocks(file))
                except OSError:
                    self.broken["unreadable file"] += 1

    def _split(self, blocks: Iterator[bytes]) -> Iterator[list[bytes]]:
        self.files += 1
        first = next(blocks, b"")
        rest: Iterator[bytes] = _chained(first, blocks)
        splitter = Splitter()
        for block in self._unpacked(rest) if first.startswith(MAGIC) else rest:
            yield splitter.feed(block)
        yield splitter.end()

    def _blocks(self, file: BinaryIO | FileIO) -> Iterator[bytes]:
        while block := file.read(BLOCK_BYTES):
            self.bytes_read += len(block)
            yield block

    def _unpacked(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """All members of a gzip file, and of a broken one what stands before the break."""
        try:
            yield from gunzipped(blocks, block_bytes=BLOCK_BYTES)
        except BrokenGzip as error:
            self.broken["cut-off gzip" if error.cut_off else "broken gzip"] += 1

    def _paths(self, names: Sequence[str]) -> Iterator[Path]:
        for name in names:
            if Path(name).is_dir():
                yield from _files_within(Path(name))
            elif name != STDIN:
                yield Path(name)


def _files_within(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by path; hidden ones are not recordings."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files_within(entry)
        elif entry.is_file():
            yield entry


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
        yield from rest


def _must_be_readable(name: str) -> None:
    if name == STDIN:
        return
    path = Path(name)
    if not path.exists():
        raise UsageError(
            f"{name} does not exist; name a file of events (NDJSON, also gzip), a folder of them, "
            "- for standard input, or kinesis:STREAM"
        )
    if not os.access(path, os.R_OK):
        raise UsageError(f"{name} may not be read by this user; give it read permission")
