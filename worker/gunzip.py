"""Gzip files block by block, all their members one after the other. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

MAGIC: Final = b"\x1f\x8b"
"""How a gzip begins."""

_WINDOW_BITS: Final = 31


class BrokenGzip(Exception):
    """Nothing more can be unpacked; what came before the break was given out."""

    def __init__(self, *, cut_off: bool) -> None:
        super().__init__("cut off" if cut_off else "damaged")
        self.cut_off = cut_off
        """It ends too early; otherwise its bytes are wrong."""


def gunzipped(blocks: Iterable[bytes], *, block_bytes: int) -> Iterator[bytes]:
    """What the blocks are the gzip of, at most `block_bytes` at once. Zeros between members and
    after the last are padding. Raises BrokenGzip."""
    member = zlib.decompressobj(_WINDOW_BITS)
    begun = False
    for packed in blocks:
        rest = packed
        while rest:
            begun = True
            try:
                block = member.decompress(rest, block_bytes)
            except zlib.error as error:
                raise BrokenGzip(cut_off=False) from error
            if block:
                yield block
            rest = member.unconsumed_tail
            if member.eof:
                rest = member.unused_data.lstrip(b"\0")
                member = zlib.decompressobj(_WINDOW_BITS)
                begun = False
    if begun:
        raise BrokenGzip(cut_off=True)
