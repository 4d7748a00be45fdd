"""A proxy that breaks things: between the worker and Kinesis, or the worker and Pinpoint.

It passes HTTP requests on, one after the other on each connection, and lets `decide` say what goes
wrong with each. What it saw is kept as `passages`: for a judge, who must know which calls may have
been taken without the worker hearing of it. Loopback only; chance comes in as a seeded `Random`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import urlsplit

PASSAGES_KEPT_MAX = 200_000
HEAD_BYTES_MAX = 256 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
DELAY_SECONDS = (0.2, 1.2)
STALL_SECONDS = 30.0
"""Longer than any timeout the tests set."""
PIECES = 8
"""In which a slow answer comes."""
DRIBBLE_SECONDS = 0.05
"""Between two of them: the fault itself."""


class Fault(StrEnum):
    """What can befall a request. Those of `AFTER` strike when the upstream has done its work."""

    REFUSED = "refused"
    """Read and not passed on; the connection is closed without a word."""
    RESET = "reset"
    """The same, with a reset."""
    THROTTLED = "throttled"
    """Not passed on; the service's own answer to being called too often."""
    ERROR = "error"
    """Not passed on; 500."""
    DELAYED = "delayed"
    """Passed on and answered, late."""
    DRIBBLED = "dribbled"
    """Answered in pieces, with pauses."""
    LOST = "lost"
    """Done upstream; the answer is thrown away and the connection closed."""
    CUT = "cut"
    """Done upstream; the answer is reset in its middle."""
    TRUNCATED = "truncated"
    """Done upstream; the answer ends in its middle as if it were whole."""
    ERROR_AFTER = "error_after"
    """Done upstream; answered with 503."""
    STALLED = "stalled"
    """Done upstream; nothing is ever answered."""


AFTER = frozenset({Fault.LOST, Fault.CUT, Fault.TRUNCATED, Fault.ERROR_AFTER, Fault.STALLED})


@dataclass(slots=True)
class Passage:
    """One request."""

    number: int
    at: float
    """Seconds since the epoch."""
    target: str
    """The operation of an AWS JSON call, the path of a REST call."""
    body: bytes
    fault: Fault | None = None
    upstream_status: int | None = None
    """What the upstream answered; None: it was not asked, or did not answer."""
    ended_at: float | None = None
    """When the worker was given what it was to get; None: under way, or the worker hung up."""


Decide: TypeAlias = Callable[[Passage], Fault | None]


def calm(_passage: Passage) -> Fault | None:
    """Nothing goes wrong."""
    return None


def dealt(chance: random.Random, faults: Collection[Fault], *, clear: int) -> Decide:
    """Deals from a shuffled deck: each of the faults, and `clear` requests that pass. When it is
    empty it is shuffled anew, so that every kind strikes in any stretch of two decks."""
    deck: list[Fault | None] = []

    def decide(_passage: Passage) -> Fault | None:
        if not deck:
            deck.extend([*faults, *[None] * clear])
            chance.shuffle(deck)
        return deck.pop()

    return decide


class FaultyProxy:
    """The server. `decide` may be changed while it runs."""

    def __init__(self, upstream_url: str, *, chance: random.Random) -> None:
        parts = urlsplit(upstream_url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._numbers = 0
        self.decide: Decide = calm
        self.passages: deque[Passage] = deque(maxlen=PASSAGES_KEPT_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listens on a free port of the loopback; the URL to use as the endpoint."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Closes the port and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def under_way(self, at: float) -> list[Passage]:
        """Requests that had come by then and whose answer had not been handed over whole."""
        return [p for p in self.passages if p.at <= at and (p.ended_at is None or p.ended_at > at)]

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """All requests of one connection."""
        upstream: tuple[StreamReader, StreamWriter] | None = None
        try:
            while (message := await _read_message(reader)) is not None:
                head, body = message
                self._numbers += 1
                passage = Passage(self._numbers, time.time(), _target(head), body)
                self.passages.append(passage)
                passage.fault = self.decide(passage)
                if upstream is None and passage.fault not in _NOT_PASSED_ON:
                    upstream = await asyncio.open_connection(*self._upstream)
                if not await self._pass(passage, head, upstream, writer):
                    return
        except (OSError, EOFError):
            return  # the worker or the upstream hung up
        finally:
            ends = [writer] + ([upstream[1]] if upstream else [])
            for one in ends:
                one.close()
            for one in ends:
                with suppress(OSError):
                    await one.wait_closed()

    async def _pass(
        self,
        passage: Passage,
        head: bytes,
        upstream: tuple[StreamReader, StreamWriter] | None,
        writer: StreamWriter,
    ) -> bool:
        """Serves one request. True when the connection can take another."""
        fault = passage.fault
        if fault in _NOT_PASSED_ON:
            answer = _own_answer(fault, passage.target)
        else:
            assert upstream is not None
            if fault is Fault.DELAYED:
                await asyncio.sleep(self._chance.uniform(*DELAY_SECONDS))
            upstream[1].write(head + passage.body)
            await upstream[1].drain()
            answered = await _read_message(upstream[0])
            if answered is None:
                return False
            answer = b"".join(answered)
            passage.upstream_status = int(answer.split(b" ", 2)[1])
            if fault is Fault.ERROR_AFTER:
                answer = _own_answer(fault, passage.target)
        return await self._answer(passage, answer, writer)

    async def _answer(self, passage: Passage, answer: bytes, writer: StreamWriter) -> bool:
        match passage.fault:
            case Fault.STALLED:
                await asyncio.sleep(STALL_SECONDS)
                answer = b""
            case Fault.REFUSED | Fault.RESET | Fault.LOST:
                answer = b""
            case Fault.CUT | Fault.TRUNCATED:
                answer = answer[: self._chance.randrange(len(answer) // 4, len(answer) - 1)]
            case Fault.DRIBBLED:
                size = len(answer) // PIECES + 1
                for begin in range(0, len(answer), size):
                    writer.write(answer[begin : begin + size])
                    await writer.drain()
                    await asyncio.sleep(DRIBBLE_SECONDS)
                passage.ended_at = time.time()
                return True
        writer.write(answer)
        await writer.drain()
        passage.ended_at = time.time()
        if passage.fault in (Fault.RESET, Fault.CUT):
            _reset(writer)
        return passage.fault not in _ENDS_THE_CONNECTION


_NOT_PASSED_ON = frozenset({Fault.REFUSED, Fault.RESET, Fault.THROTTLED, Fault.ERROR})
_ENDS_THE_CONNECTION = frozenset(
    {Fault.REFUSED, Fault.RESET, Fault.LOST, Fault.CUT, Fault.TRUNCATED, Fault.STALLED}
)


async def _read_message(reader: StreamReader) -> tuple[bytes, bytes] | None:
    """Head and body of an HTTP message as they came; None at the end of the connection. Raises
    EOFError in the middle of one, OSError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise EOFError from error
        return None
    assert len(head) <= HEAD_BYTES_MAX
    headers = _headers(head)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return head, await _read_chunks(reader)
    length = int(headers.get("content-length", "0"))
    assert length <= BODY_BYTES_MAX
    return head, await reader.readexactly(length)


async def _read_chunks(reader: StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        assert len(body) <= BODY_BYTES_MAX
        if size == 0:
            return body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _target(head: bytes) -> str:
    operation = _headers(head).get("x-amz-target", "").rpartition(".")[2]
    return operation or head.split(b" ", 2)[1].decode("latin-1")


def _own_answer(fault: Fault | None, target: str) -> bytes:
    """What the service itself would say, in the words of its protocol."""
    is_rest = target.startswith("/")
    status, kind = {
        Fault.THROTTLED: (429, "TooManyRequestsException")
        if is_rest
        else (400, "ProvisionedThroughputExceededException"),
        Fault.ERROR_AFTER: (503, "InternalServerErrorException"),
    }.get(fault or Fault.ERROR, (500, "InternalServerErrorException"))
    body = f'{{"__type": "{kind}", "message": "by the proxy", "Message": "by the proxy"}}'
    return (
        f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nx-amzn-ErrorType: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _reset(writer: StreamWriter) -> None:
    """Makes the coming close a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
