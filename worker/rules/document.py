"""One YAML file to a tree of nodes that know their place. Pure: bytes in, node and problems out.

YAML 1.2 and less: every scalar is text (so `no`, `21:00`, `007` and `1.10` stay what was written),
only an empty value or `null` is nothing. Keys are text, given once. No tags, no merge keys, one
document. Anchors and aliases work, and count against the bounds each time they are used, so that
no alias can blow a small file up. ruamel.yaml does the scanning and parsing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from worker.rules.problems import Place, Problem, quoted

FILE_BYTES_MAX = 1024 * 1024
NODES_MAX = 10_000
DEPTH_MAX = 20

_COLON = "mapping values are not allowed"
"""What the scanner says of a colon too many."""
_NOTHING = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A scalar (`text`, None for nothing), a list (`items`) or a mapping (`entries`)."""

    place: Place
    text: str | None = None
    items: Sequence[Node] | None = None
    entries: Mapping[str, Entry] | None = None
    is_block: bool = False
    """Written with `|`: line n of the text is line n after `place`."""
    size: int = 1
    is_broken: bool = False
    """A mapping with a key that is none, or that stands for others; it stands for nothing."""
    inherited: frozenset[str] = frozenset()
    """Keys that stand elsewhere and hold here too (`with_inherited`)."""

    @property
    def is_nothing(self) -> bool:
        """An empty or broken value. No key takes one, and the reader has reported it."""
        return self.text is None and self.items is None and self.entries is None

    def plain(self) -> Any:
        """The same as str, None, list and dict."""
        if self.items is not None:
            return [item.plain() for item in self.items]
        if self.entries is not None:
            return {key: entry.value.plain() for key, entry in self.entries.items()}
        return self.text

    def get(self, key: str) -> Node | None:
        """The value of a key; None when this is no mapping or has no such key."""
        entry = (self.entries or {}).get(key)
        return entry.value if entry else None

    def get_text(self, key: str) -> str | None:
        """The text of a key; None when it is missing or no text."""
        value = self.get(key)
        return value.text if value else None

    def get_items(self, key: str) -> Sequence[Node]:
        """The list of a key; empty when it is missing or no list."""
        value = self.get(key)
        return (value.items if value else None) or ()

    def key_place(self, key: str) -> Place:
        """Where a key stands, or where this mapping begins when it does not state the key."""
        entry = (self.entries or {}).get(key)
        return entry.place if entry and key not in self.inherited else self.place

    def value_place(self, key: str) -> Place:
        """Where the value of a key stands; `key_place` tells what else."""
        value = self.get(key)
        return value.place if value and key not in self.inherited else self.place

    def with_value(self, key: str, value: Node) -> Node:
        """The same mapping with another value for one of its keys."""
        assert self.entries is not None
        entry = Entry(self.entries[key].place, value)
        return replace(self, entries={**self.entries, key: entry})

    def with_inherited(self, entries: Mapping[str, Entry]) -> Node:
        """The same mapping, where `entries` hold for keys it does not state."""
        assert self.entries is not None
        missing = {key: entry for key, entry in entries.items() if key not in self.entries}
        return replace(self, entries={**self.entries, **missing}, inherited=frozenset(missing))


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's place and its value."""

    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read. `root` is None when a problem kept it from being read at all."""

    root: Node | None
    problems: Sequence[Problem]


def read_document(data: bytes, file: str) -> Document:
    """Never raises on content: what cannot be read is a problem with its place."""
    reader = _Reader(file)
    try:
        return Document(reader.read(data), reader.problems)
    except _Unreadable as stop:
        return Document(None, [*reader.problems, stop.problem])


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Reader:
    """Parser events to nodes, depth first."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._place = Place(file, 1, 1)
        self._nodes = 0
        self._anchors: dict[str, Node] = {}
        self._text = ""
        self._events: Iterator[Any] = iter(())

    def read(self, data: bytes) -> Node | None:
        self._text = self._decoded(data)
        self._events = iter(YAML(typ="safe", pure=True).parse(self._text))
        root: Node | None = None
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise self._stop(
                        "a second document begins here; keep one document a file, and put the "
                        "rest into a file of its own"
                    )
                root = self._node(self._next(), depth=0)
        return root

    def _decoded(self, data: bytes) -> str:
        if len(data) > FILE_BYTES_MAX:
            raise self._stop(
                f"the file is larger than {FILE_BYTES_MAX // 1024} KiB; split it into several files"
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start].decode("utf-8-sig", "replace")
            self._place = self._place_after(before)
            raise self._stop("this is not UTF-8; save the file as UTF-8") from error

    def _next(self) -> Any:
        try:
            event = next(self._events)
        except MarkedYAMLError as error:
            raise self._syntax(error) from error
        except ReaderError as error:
            self._place = self._place_after(self._text[: error.position])
            raise self._stop(
                f"the character U+{ord(self._text[error.position]):04X} is not allowed; remove it"
            ) from error
        except (YAMLError, ValueError, OverflowError, RecursionError) as error:
            # The scanner converts escapes such as "\UFFFFFFFF" without checking them.
            raise self._stop("what follows cannot be read as YAML; look at its escapes") from error
        mark = event.start_mark
        self._place = Place(self._file, mark.line + 1, mark.column + 1)
        return event

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if getattr(event, "ctag", None) is not None:
            raise self._stop(
                "tags are not allowed; remove the word that begins with !, or quote the text"
            )
        self._count(1)
        if depth > DEPTH_MAX:
            raise self._stop(f"nested deeper than {DEPTH_MAX} levels; flatten it")
        if isinstance(event, MappingStartEvent):
            node = self._mapping(place, depth)
        elif isinstance(event, SequenceStartEvent):
            items = list(self._until(SequenceEndEvent, depth))
            for item in items:
                if item.is_nothing and not item.is_broken:
                    self._report(item.place, "an empty list entry; fill it, or remove the dash")
            size = 1 + sum(item.size for item in items)
            node = Node(place=place, items=items, size=size)
        else:
            node = self._scalar(event, place)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, place: Place, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        is_broken = False
        reported = len(self.problems)
        nodes = self._until(MappingEndEvent, depth)
        for key in nodes:
            value = next(nodes)
            size += key.size + value.size
            if key.text is None:
                is_broken = True
                del self.problems[reported:]  # an unquoted {{x}} is one mistake, not three
                self._report(
                    key.place,
                    "a key must be text; if this is meant as text that begins with { or [, put "
                    "it in quotes",
                )
            elif key.text == "<<":
                is_broken = True
                self._report(key.place, "merge keys (<<) are not supported; write the keys out")
            elif key.text in entries:
                first = entries[key.text].place
                self._report(
                    key.place,
                    f"the key {quoted(key.text)} is given twice, first in line {first.line}; "
                    "keep one of them",
                )
            else:
                entries[key.text] = Entry(key.place, value)
                if value.is_nothing and not value.is_broken:
                    self._report(
                        key.place,
                        f"the key {quoted(key.text)} has no value; give it one, or remove the key",
                    )
            reported = len(self.problems)
        if is_broken:
            return Node(place=place, size=size, is_broken=True)
        return Node(place=place, entries=entries, size=size)

    def _until(self, end: type, depth: int) -> Iterator[Node]:
        while not isinstance(event := self._next(), end):
            yield self._node(event, depth + 1)

    def _scalar(self, event: ScalarEvent, place: Place) -> Node:
        if any("\ud800" <= char <= "\udfff" for char in event.value):
            raise self._stop("half a character (a lone surrogate); write the character itself")
        if event.style is None and event.value in _NOTHING:
            return Node(place=place)
        return Node(place=place, text=event.value, is_block=event.style == "|")

    def _alias(self, event: AliasEvent) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._stop(
                f"no anchor &{event.anchor} before this alias; if it is meant as text, put it in "
                "quotes"
            )
        self._count(node.size)
        return node

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise self._stop(
                f"more than {NODES_MAX} values, counting each use of an alias; split the file"
            )

    def _syntax(self, error: MarkedYAMLError) -> _Unreadable:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            self._place = Place(self._file, mark.line + 1, mark.column + 1)
        told = " ".join(str(error.problem or error.context).split())
        begun = error.context_mark
        since = f", begun in line {begun.line + 1}" if begun and begun.line != mark.line else ""
        remedy = self._missing_dash() if _COLON in told else None
        return self._stop(f"cannot be read as YAML: {told}{since}; {remedy or _remedy(told)}")

    def _missing_dash(self) -> str | None:
        """What to do where a key stands deeper than the `key: value` before it."""
        *before, line = self._text.splitlines()[: self._place.line]
        above = next((text for text in reversed(before) if text.split("#")[0].strip()), "")
        first, second = (re.match(r"( *)([\w.-]+):( +\S)?", text) for text in (above, line))
        if not (first and first[3] and second and len(second[1]) > len(first[1])):
            return None
        if second.end(2) + 1 != self._place.column:
            return None
        return (
            f"it stands deeper than {first[2]}: above it; line the two up, and where they begin "
            f"an entry of a list, put a dash before the first: - {first[2]}:"
        )

    def _report(self, place: Place, message: str) -> None:
        self.problems.append(Problem(*place, message))

    def _stop(self, message: str) -> _Unreadable:
        return _Unreadable(Problem(*self._place, message))

    def _place_after(self, text: str) -> Place:
        column = len(text) - (text.rfind("\n") + 1) + 1
        return Place(self._file, text.count("\n") + 1, column)


def _remedy(told: str) -> str:
    """What to do about the commonest mistakes, found by the scanner's own words."""
    for sign, remedy in (
        ("\\t", "indent with spaces, not with tabs"),
        (_COLON, "put text that contains a colon in quotes"),
        ("cannot start any token", "put text that begins with this sign in quotes"),
        ("end of stream", "close the quote or the bracket"),
        ("stream end", "close the quote or the bracket"),
        ("block end", "line it up with its neighbours, or put the text in quotes"),
        ("':'", "put a colon and a space after the key"),
    ):
        if sign in told:
            return remedy
    return "look at this line and the one before it"
