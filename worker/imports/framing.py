"""Bytes of a file to endpoints as JSON, one by one: NDJSON, CSV, or one JSON document. Pure.

Each comes with its number (line, or item of a document) and with where reading goes on after it, so
that an import which was cut off continues there. Bounded: holds one block and one line, or a
document of at most `DOCUMENT_BYTES_MAX`.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from worker.gunzip import MAGIC, BrokenGzip, gunzipped
from worker.imports.findings import Findings, Oddity
from worker.imports.spelling import Column, columns_of

BLOCK_BYTES: Final = 1 << 20
"""The most a compressed block is unpacked to at once."""

LINE_BYTES_MAX: Final = 1 << 20
"""Pinpoint's endpoints have 15 KB at most."""

DOCUMENT_BYTES_MAX: Final = 64 << 20
COLUMNS_MAX: Final = 2_000

Item: TypeAlias = tuple[int, int, bytes]
"""Number, from 1; where the next one begins (bytes, or items of a document); one JSON value."""

_ZIP: Final = b"PK\x03\x04"
_DELIMITERS: Final = ",;\t"
_LISTS: Final = ("EndpointsResponse", "Item", "Endpoints")
"""Under which names answers of the API hold their endpoints."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class BrokenFile(Exception):
    """What is left of a file cannot be read; the text says why, for a person."""


def unpacked(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, or what they are the gzip of. Raises BrokenFile where a gzip ends early or is
    damaged, and for a zip archive."""
    coming = iter(blocks)
    first = next(coming, b"")
    if first.startswith(_ZIP):
        raise BrokenFile("is a zip archive; unzip it first")
    whole = chain((first,), coming)
    return _gunzipped(whole) if first.startswith(MAGIC) else whole


def _gunzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from gunzipped(blocks, block_bytes=BLOCK_BYTES)
    except BrokenGzip as error:
        if error.cut_off:
            told = "its gzip is cut off; the end of the file is missing"
        else:
            told = "its gzip is damaged from here on"
        raise BrokenFile(told) from error


def items(
    blocks: Iterable[bytes], *, taken: int, file_number: int, findings: Findings
) -> Iterator[list[Item]]:
    """The endpoints of a file after `taken` (0: from its beginning), some at a time.

    Raises BrokenFile when nothing more of it can be read.
    """
    coming = iter(blocks)
    first = b""
    for block in coming:
        first += block
        if first.strip(b"\xef\xbb\xbf \t\r\n"):
            break
        if len(first) > LINE_BYTES_MAX:
            raise BrokenFile("begins with more than 1 MiB of nothing")
    head = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    whole = chain((first,), coming)
    if not head:
        return
    if not head.startswith((b"{", b"[")):
        yield from _rows(whole, taken=taken, file_number=file_number, findings=findings)
    elif _is_document(head):
        yield from _document(whole, taken=taken)
    else:
        yield from _lines(whole, taken=taken, file_number=file_number, findings=findings)


# --- one JSON object a line ---------------------------------------------------------------------


def _lines(
    blocks: Iterable[bytes], *, taken: int, file_number: int, findings: Findings
) -> Iterator[list[Item]]:
    number = offset = 0
    rest = b""
    skipping = False
    for block in chain(blocks, (b"\n",)):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        found: list[Item] = []
        for line in lines:
            number += 1
            offset += len(line) + 1
            if skipping:
                skipping = False
            elif len(line) > LINE_BYTES_MAX:
                findings.note(Oddity.LINE_TOO_LONG, (file_number, number))
            elif offset > taken and line.strip(b"\xef\xbb\xbf \t\r"):
                found.append((number, offset, line.lstrip(b"\xef\xbb\xbf")))
        if len(rest) > LINE_BYTES_MAX:
            if not skipping and offset + len(rest) > taken:
                findings.note(Oddity.LINE_TOO_LONG, (file_number, number + 1))
            skipping = True
            offset += len(rest)
            rest = b""
        yield found


# --- one JSON document --------------------------------------------------------------------------


def _is_document(head: bytes) -> bool:
    """Is it a list, or an object over several lines? In a file of lines the first one is whole, or,
    where it is damaged, the second one begins an object too."""
    if head.startswith(b"["):
        return True
    first, newline, rest = head.partition(b"\n")
    try:
        value = msgspec.json.decode(first)
    except _UNREADABLE:
        return bool(newline) and not rest.lstrip().startswith(b"{")
    return any(name in value for name in _LISTS)


def _document(blocks: Iterable[bytes], *, taken: int) -> Iterator[list[Item]]:
    whole = bytearray()
    for block in blocks:
        whole += block
        if len(whole) > DOCUMENT_BYTES_MAX:
            raise BrokenFile(
                f"is one JSON document of more than {DOCUMENT_BYTES_MAX >> 20} MiB; write one "
                "endpoint a line (jq -c '.[]')"
            )
    try:
        found = _within(bytes(whole).lstrip(b"\xef\xbb\xbf"))
    except _UNREADABLE as error:
        raise BrokenFile("is neither a JSON document nor one JSON object a line") from error
    yield [(number, number, bytes(raw)) for number, raw in enumerate(found, 1) if number > taken]


def _within(text: bytes) -> list[msgspec.Raw]:
    if text.lstrip().startswith(b"["):
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    inner = next((members[name] for name in _LISTS if name in members), None)
    return [msgspec.Raw(text)] if inner is None else _within(bytes(inner))


# --- CSV ----------------------------------------------------------------------------------------


class _Text:
    """The lines of a CSV file as text, and how far they were taken."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.offset = 0
        """Bytes of the lines given so far."""

    def __iter__(self) -> Iterator[str]:
        rest = b""
        for block in chain(self._blocks, (b"",)):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                self.offset += len(line) + 1
                yield _as_text(line) + "\n"
            if len(rest) > LINE_BYTES_MAX:
                raise BrokenFile("has a line of more than 1 MiB; it is no CSV of endpoints")
        if rest:
            self.offset += len(rest)
            yield _as_text(rest)


def _as_text(line: bytes) -> str:
    return line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")


def _rows(
    blocks: Iterable[bytes], *, taken: int, file_number: int, findings: Findings
) -> Iterator[list[Item]]:
    text = _Text(blocks)
    lines = iter(text)
    head = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(chain((head,), lines), delimiter=delimiter)
    try:
        headers = next(reader, [])
    except csv.Error as error:
        raise BrokenFile("is no JSON, and its first line is no line of CSV") from error
    columns = _columns(headers, file_number=file_number, findings=findings)
    found: list[Item] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            if text.offset > taken:
                findings.note(Oddity.BAD_LINE, (file_number, number))
            continue
        if cells is None:
            break
        if text.offset <= taken or not any(cells):
            continue
        if len(cells) != len(columns):
            many = len(cells) > len(columns)
            oddity = Oddity.CSV_CELLS_TOO_MANY if many else Oddity.CSV_CELLS_TOO_FEW
            findings.note(oddity, (file_number, number))
        found.append((number, text.offset, msgspec.json.encode(_endpoint(columns, cells))))
        if len(found) >= ROWS_AT_ONCE:
            yield found
            found = []
    yield found


ROWS_AT_ONCE: Final = 1_000


def _columns(
    headers: list[str], *, file_number: int, findings: Findings
) -> list[tuple[Column | None, bool]]:
    if len(headers) > COLUMNS_MAX:
        raise BrokenFile(f"has more than {COLUMNS_MAX:,} CSV columns")
    columns = list(columns_of(headers))
    known = {".".join(column.path) for column, _ in columns if column is not None}
    if not known & {"Id", "Address", "User.UserId"}:
        raise BrokenFile(
            "is no JSON, and its first line does not name CSV columns: Id, Address, ChannelType, "
            "User.UserId, Attributes.NAME and so on"
        )
    for column, repeats in columns:
        if column is None:
            findings.note(Oddity.CSV_COLUMN_UNKNOWN, (file_number, 1))
        elif repeats:
            findings.note(Oddity.CSV_COLUMN_REPEATED, (file_number, 1))
    return columns


def _endpoint(columns: list[tuple[Column | None, bool]], cells: list[str]) -> dict[str, Any]:
    """A line as the JSON of its endpoint. An empty cell tells nothing."""
    endpoint: dict[str, Any] = {}
    for (column, _), cell in zip(columns, cells, strict=False):
        value = cell.strip()
        if column is None or not value:
            continue
        *above, name = column.path
        within = endpoint
        for part in above:
            within = within.setdefault(part, {})
        if column.is_list:
            within.setdefault(name, []).append(value)
        else:
            within.setdefault(name, value)
    return endpoint
