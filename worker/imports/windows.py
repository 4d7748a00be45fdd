"""Files to windows of endpoints in the order of their ids: large pieces that memory can hold.

The address book is a tree by endpoint id. Written in the order of a file each endpoint would move a
page of its own; written sorted, neighbours share one. A window spans files, and says how far each
is read once all of it is taken. Pure but for the reading of the files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from worker.imports.endpoints import sort_key
from worker.imports.files import ImportFile
from worker.imports.findings import Findings
from worker.imports.framing import BrokenFile, Item, items, unpacked

WINDOW_BYTES_MAX: Final = 160 << 20
"""Of endpoints as JSON and what they take beside it."""
WINDOW_ITEMS_MAX: Final = 200_000
ITEM_BYTES: Final = 250
"""What one takes in memory beside its JSON."""

Progress: TypeAlias = tuple[int, bool]
"""How far a file is taken (bytes or items), and whether to its end."""


@dataclass(slots=True)
class Window:
    """Endpoints of one or several files."""

    lines: list[tuple[str, int, int, bytes]] = field(default_factory=list)
    """Endpoint id or "", number of the file, number of the line, JSON; sorted."""
    upto: dict[str, Progress] = field(default_factory=dict)
    """Key of a file to how far it is taken when all of the window is."""
    size: int = 0

    @property
    def is_full(self) -> bool:
        return self.size >= WINDOW_BYTES_MAX or len(self.lines) >= WINDOW_ITEMS_MAX


class Windows:
    """Reads files into windows. Read once."""

    def __init__(
        self,
        files: Sequence[ImportFile],
        *,
        taken: Mapping[str, Progress],
        findings: Findings,
    ) -> None:
        """`taken`: what an earlier run took, by the keys of the files."""
        self._files = files
        self._taken = taken
        self._findings = findings
        self.bytes_read = 0
        """Of the files as they lie there; files that were taken already count as read."""
        self.lines = 0
        self.known: list[str] = []
        """Names of files that were taken to their end before."""
        self.continued: list[str] = []
        """Names of files of which a part was taken before."""
        self.broken: list[tuple[str, str]] = []
        """Name and fault of each file that could not be read to its end."""

    @property
    def bytes_total(self) -> int:
        """How many there are to read."""
        return sum(file.size for file in self._files)

    @property
    def bytes_coming(self) -> int:
        """The same without the files that were taken before."""
        return sum(
            file.size for file in self._files if not self._taken.get(file.key, (0, False))[1]
        )

    def __iter__(self) -> Iterator[Window]:
        """Raises an error of the tree when S3 fails; the windows before it stand."""
        window = Window()
        for number, file in enumerate(self._files):
            taken, done = self._taken.get(file.key, (0, False))
            if done:
                self.known.append(file.name)
                self.bytes_read += file.size
                continue
            if taken:
                self.continued.append(file.name)
            for some in self._some(number, file, taken):
                for line, end, raw in some:
                    window.lines.append((sort_key(raw), number, line, raw))
                    window.size += len(raw) + ITEM_BYTES
                    if window.is_full:
                        window.upto[file.key] = (end, False)
                        yield self._sorted(window)
                        window = Window()
                if some:
                    window.upto[file.key] = (some[-1][1], False)
            if not self.broken or self.broken[-1][0] != file.name:
                window.upto[file.key] = (window.upto.get(file.key, (taken, False))[0], True)
        if window.lines or window.upto:
            yield self._sorted(window)

    def _sorted(self, window: Window) -> Window:
        self.lines += len(window.lines)
        window.lines.sort()
        return window

    def _some(self, number: int, file: ImportFile, taken: int) -> Iterator[list[Item]]:
        try:
            yield from items(
                unpacked(self._blocks(file)),
                taken=taken,
                file_number=number,
                findings=self._findings,
            )
        except BrokenFile as error:
            self.broken.append((file.name, str(error)))
        except OSError as error:
            self.broken.append((file.name, f"cannot be read: {error.strerror}"))

    def _blocks(self, file: ImportFile) -> Iterator[bytes]:
        for block in file.blocks():
            self.bytes_read += len(block)
            yield block
