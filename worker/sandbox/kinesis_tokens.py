"""The opaque strings a reader gets from Kinesis and hands back: shard iterators and page tokens.

Pure. A token carries all it stands for, so the simulated stream keeps no table of them, and a
digest, so a string nobody issued is recognised. Readers must not look inside.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec

TOKEN_LIFE_MS = 300_000
"""Shard iterators and page tokens die five minutes after they were issued."""

_DIGEST_BYTES = 8


class ShardFilterType(StrEnum):
    """Which shards `ListShards` lists; the words of its `ShardFilter.Type`."""

    AFTER_SHARD_ID = "AFTER_SHARD_ID"
    AT_TRIM_HORIZON = "AT_TRIM_HORIZON"
    FROM_TRIM_HORIZON = "FROM_TRIM_HORIZON"
    AT_LATEST = "AT_LATEST"
    AT_TIMESTAMP = "AT_TIMESTAMP"
    FROM_TIMESTAMP = "FROM_TIMESTAMP"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFilter:
    """`shard_id` goes with AFTER_SHARD_ID, `timestamp_ms` with the two timestamp types."""

    kind: ShardFilterType = ShardFilterType.FROM_TRIM_HORIZON
    shard_id: str | None = None
    timestamp_ms: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether it has the value its kind needs, and no other."""
        by_id = self.kind is ShardFilterType.AFTER_SHARD_ID
        by_time = self.kind in (ShardFilterType.AT_TIMESTAMP, ShardFilterType.FROM_TIMESTAMP)
        return by_id == (self.shard_id is not None) and by_time == (self.timestamp_ms is not None)


class ShardIterator(msgspec.Struct, frozen=True, kw_only=True, tag="iterator"):
    """A place in a shard: the counter of the record to read next.

    `lost`: it was asked for at a trimmed record of a stream that answers nothing there.
    """

    stream: str
    created_ms: int
    shard_id: str
    counter: int
    issued_ms: int
    lost: bool = False


class PageToken(msgspec.Struct, frozen=True, kw_only=True, tag="page"):
    """Where the next page of a list of shards begins: after `after`."""

    stream: str
    created_ms: int
    wanted: ShardFilter
    after: str
    issued_ms: int


TokenT = TypeVar("TokenT", ShardIterator, PageToken)


def seal(token: ShardIterator | PageToken) -> str:
    """The token as a string of at most 512 characters."""
    content = msgspec.json.encode(token)
    return base64.b64encode(_digest(content) + content).decode("ascii")


def unseal(text: str, kind: type[TokenT]) -> TokenT | None:
    """The token `text` was sealed from; None when nobody issued it, or as another kind."""
    try:
        sealed = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    digest, content = sealed[:_DIGEST_BYTES], sealed[_DIGEST_BYTES:]
    if digest != _digest(content):
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError:
        return None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=b"sandbox").digest()
