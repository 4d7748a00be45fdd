"""Takes Kinesis Producer Library aggregates apart: one stored record may hold many user records.

Pure. Bytes of one Kinesis record come from `reader.py`, user records go back. Whatever is not an
aggregate from end to end is left as it is, as the KCL does (`AggregatorUtil`). Unlike the KCL,
inner records are not dropped when their hash key lies outside the shard: after a split that loses
records of producers with an old shard map (amazon-kinesis-client issue 343).

The frame (aggregation-format.md of amazon-kinesis-producer): four magic bytes, a protobuf message,
the MD5 of the message. The message: 1 partition keys (repeated string), 2 explicit hash keys
(repeated string), 3 records (repeated): 1 index into the partition keys, 3 the data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TypeAlias

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16
USER_RECORDS_MAX = 100_000
"""Inner records of one aggregate. A 1 MiB record cannot hold so many events, but it could hold half
a million empty ones."""
VARINT_BYTES_MAX = 10

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
PARTITION_KEYS, RECORDS = 1, 3
KEY_INDEX, DATA = 1, 3

UserRecord: TypeAlias = tuple[str | None, bytes]
"""Partition key and data."""


class _Malformed(Exception):
    """Not the protobuf message of an aggregate."""


def user_records(data: bytes) -> tuple[UserRecord, ...] | None:
    """The user records of an aggregate in their order; None when `data` is a plain record."""
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + DIGEST_BYTES:
        return None
    message, digest = data[len(MAGIC) : -DIGEST_BYTES], data[-DIGEST_BYTES:]
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return None
    try:
        return _user_records(message)
    except (_Malformed, UnicodeDecodeError):
        return None


def _user_records(message: bytes) -> tuple[UserRecord, ...]:
    keys: list[str] = []
    inner: list[bytes] = []
    for number, value in _fields(message):
        if number == PARTITION_KEYS:
            keys.append(_bytes(value).decode())
        elif number == RECORDS:
            inner.append(_bytes(value))
            if len(inner) > USER_RECORDS_MAX:
                raise _Malformed
    return tuple(_user_record(record, keys) for record in inner)


def _user_record(message: bytes, keys: list[str]) -> UserRecord:
    index: int | None = None
    data: bytes | None = None
    for number, value in _fields(message):
        if number == KEY_INDEX and isinstance(value, int):
            index = value
        elif number == DATA:
            data = _bytes(value)
    if index is None or index >= len(keys) or data is None:
        raise _Malformed
    return keys[index], data


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value, in order; fields of later schemas are for the caller to ignore."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if tag & 7 == LENGTH_DELIMITED:
            size, at = _varint(message, at)
        elif tag & 7 in (FIXED32, FIXED64):
            size = 4 if tag & 7 == FIXED32 else 8
        else:
            raise _Malformed
        if at + size > len(message):
            raise _Malformed
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and where it ends."""
    value = 0
    for shift, byte in enumerate(message[at : at + VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + shift + 1
    raise _Malformed


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Malformed
    return value
