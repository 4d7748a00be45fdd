"""Writes KPL aggregates, independently of the code that reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def varint(value: int) -> bytes:
    """Base 128, least significant first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field_number: int, value: int) -> bytes:
    """A protobuf field holding a number."""
    return varint(field_number << 3) + varint(value)


def field(field_number: int, value: bytes) -> bytes:
    """A protobuf field holding bytes."""
    return varint(field_number << 3 | 2) + varint(len(value)) + value


def framed(message: bytes) -> bytes:
    """The message between magic bytes and digest."""
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message, usedforsecurity=False).digest()


def aggregate(records: Sequence[tuple[str, bytes]]) -> bytes:
    """An aggregate of (partition key, data)."""
    keys = sorted({key for key, _ in records})
    message = b"".join(field(1, key.encode()) for key in keys)
    for key, data in records:
        message += field(3, number(1, keys.index(key)) + field(3, data))
    return framed(message)
