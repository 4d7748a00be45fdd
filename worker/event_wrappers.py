"""From a record's bytes to the JSON objects in it, through whatever they were wrapped in.

Used only when the bytes are not exactly one event: several objects in one record, an SNS or
EventBridge envelope, a Lambda or Firehose event with base64 inside, a CloudWatch Logs subscription
(gzip), JSON that a strict parser refuses. Pure; every byte string gives objects or unreadable
parts, never an exception.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from worker.model import DeadReason

RECORD_BYTES_MAX: Final = 10 * 1024 * 1024
"""The most Kinesis lets one record hold; also the most a compressed record may unpack to."""

WRAPPERS_MAX: Final = 4
"""SNS in EventBridge in a Lambda event is three; more is no delivery path anybody has."""

OBJECTS_PER_RECORD_MAX: Final = 10_000
"""Of real events no more fit into a megabyte. It bounds the time that one record can take."""

UNREADABLE_PARTS_MAX: Final = 100
"""After so many parts that are no JSON object, the rest of a text is one more of them."""

SOURCE_BYTES_MAX: Final = 4096
"""How much of a part is kept to look at when it cannot be used."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW_BITS: Final = 31
_BETWEEN: Final = re.compile(r"[\s\x00\ufeff\x1e]*")
_NEXT_OBJECT: Final = re.compile(r"\n[ \t\r]*(?=\{)")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_parse: Final = json.JSONDecoder(strict=False).raw_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One JSON object, and the beginning of the text it came from."""

    value: Mapping[str, Any]
    source: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A part that is no object, and why. `detail` never quotes the data."""

    reason: DeadReason
    detail: str
    source: bytes


def objects_in(data: bytes) -> Iterator[Found | Unreadable]:
    """Every object in a record, in order, out of its wrappers; and what is none."""
    if data.startswith(_GZIP_MAGIC):
        unpacked = _unpacked(data)
        if isinstance(unpacked, Unreadable):
            yield unpacked
            return
        data = unpacked
    parts = _in_text(data.decode("utf-8", "replace"), wrappers=0)
    yield from islice(parts, OBJECTS_PER_RECORD_MAX)
    rest = next(parts, None)
    if rest is not None:
        detail = f"more than {OBJECTS_PER_RECORD_MAX} objects; these were read, the rest not"
        yield Unreadable(reason=DeadReason.TOO_LARGE, detail=detail, source=rest.source)


def _unpacked(data: bytes) -> bytes | Unreadable:
    """All members of a gzip text; one that was cut off is not taken for whole."""
    source = data[:SOURCE_BYTES_MAX]
    unpacked = b""
    rest = data
    while rest:
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        try:
            unpacked += member.decompress(rest, RECORD_BYTES_MAX + 1 - len(unpacked))
        except zlib.error:
            return Unreadable(reason=DeadReason.NOT_JSON, detail="broken gzip", source=source)
        if len(unpacked) > RECORD_BYTES_MAX:
            detail = f"unpacks to more than {RECORD_BYTES_MAX} bytes"
            return Unreadable(reason=DeadReason.TOO_LARGE, detail=detail, source=source)
        if not member.eof:
            return Unreadable(reason=DeadReason.NOT_JSON, detail="cut-off gzip", source=source)
        rest = member.unused_data.lstrip(b"\0\n")
    return unpacked


def _in_text(text: str, *, wrappers: int) -> Iterator[Found | Unreadable]:
    for part in _parsed(text):
        if isinstance(part, Found):
            yield from _unwrapped(part, wrappers=wrappers)
        else:
            yield part


def _parsed(text: str) -> Iterator[Found | Unreadable]:
    """The objects of a text, with or without anything between them.

    After a syntax error reading goes on at the next line that begins with an object.
    """
    position, unreadable = _skip(text, 0), 0
    if position == len(text):
        yield Unreadable(reason=DeadReason.NOT_JSON, detail="empty", source=b"")
    while position < len(text):
        value, end, problem = _parse_one(text, position)
        if isinstance(value, dict):
            yield Found(value=value, source=_source(text, position, end))
        else:
            unreadable += 1
            if unreadable == UNREADABLE_PARTS_MAX:
                end = len(text)
            reason, detail = problem or (DeadReason.NOT_AN_OBJECT, "JSON, but not an object")
            yield Unreadable(reason=reason, detail=detail, source=_source(text, position, end))
        position = _skip(text, end)


def _parse_one(text: str, position: int) -> tuple[Any, int, tuple[DeadReason, str] | None]:
    """The JSON value at `position`, where it ends, and what is wrong when there is none."""
    try:
        value, end = _parse(text, position)
        if _ESCAPED_SURROGATE.search(text, position, end):
            value = _without_lone_surrogates(value)
    except RecursionError:
        problem = (DeadReason.TOO_DEEP, "nested too deeply to be read")
    except ValueError as error:
        where = error.msg if isinstance(error, json.JSONDecodeError) else "number too long"
        problem = (DeadReason.NOT_JSON, where)
    else:
        return value, end, None
    following = _NEXT_OBJECT.search(text, position)
    return None, following.end() if following else len(text), problem


def _without_lone_surrogates(value: Any) -> Any:
    r"""JSON may spell half a character ("\ud83d"); no database or provider takes it."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _skip(text: str, position: int) -> int:
    gap = _BETWEEN.match(text, position)
    return gap.end() if gap else position


def _source(text: str, start: int, end: int) -> bytes:
    kept = text[start : min(end, start + SOURCE_BYTES_MAX)]
    return kept.encode("utf-8", "replace")[:SOURCE_BYTES_MAX]


def _unwrapped(found: Found, *, wrappers: int) -> Iterator[Found | Unreadable]:
    contents = _contents(found.value)
    if contents is None:
        yield found
        return
    if wrappers == WRAPPERS_MAX:
        detail = f"more than {WRAPPERS_MAX} wrappers around an event"
        yield Unreadable(reason=DeadReason.TOO_DEEP, detail=detail, source=found.source)
        return
    for content in contents:
        if isinstance(content, str):
            yield from _in_text(content, wrappers=wrappers + 1)
        elif isinstance(content, dict):
            text = json.dumps(content)
            inner = Found(value=content, source=_source(text, 0, len(text)))
            yield from _unwrapped(inner, wrappers=wrappers + 1)
        else:
            detail = "a wrapper holds neither an object nor text"
            yield Unreadable(reason=DeadReason.NOT_AN_OBJECT, detail=detail, source=found.source)


def _contents(value: Mapping[str, Any]) -> list[Any] | None:
    """What a wrapper holds: objects or texts. None when the object is no wrapper."""
    match value:
        case {"event_type": _}:
            return None
        case {"Records": list(records)} | {"records": list(records)}:  # Lambda; Firehose
            return records
        case {"kinesis": {"data": str(data)}} | {"recordId": _, "data": str(data)}:
            return [_from_base64(data)]
        case {"Sns": {"Message": str(message)}} | {"TopicArn": _, "Message": str(message)}:
            return [message]
        case {"detail-type": _, "detail": dict(detail)}:  # EventBridge
            return [detail]
        case {"logEvents": list(), "messageType": "CONTROL_MESSAGE"}:
            return []
        case {"logEvents": list(entries)}:  # a CloudWatch Logs subscription
            return [entry.get("message") if isinstance(entry, dict) else entry for entry in entries]
        case _:
            return None


def _from_base64(data: str) -> str:
    """The text within, or the data as it is, which will then be reported as no JSON."""
    try:
        return base64.b64decode(data).decode("utf-8", "replace")
    except ValueError:
        return data
