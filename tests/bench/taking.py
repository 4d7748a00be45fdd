"""A Pinpoint that takes everything as fast as it can: a process of its own, so that only the
sender's CPU is measured. It knows `SendMessages`, checks nothing and answers SUCCESSFUL.

    python -m tests.bench.taking
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from worker.sandbox.processes import Child

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-RequestId: "
    b"00000000-0000-4000-8000-000000000000\r\nContent-Length: %d\r\n\r\n%s"
)
_RESULT = (
    '%s:{"DeliveryStatus":"SUCCESSFUL","StatusCode":200,"StatusMessage":'
    '"{\\"multicast_id\\":1,\\"success\\":1,\\"failure\\":0}","MessageId":"message-%d"}'
)


class _Request(msgspec.Struct):
    addresses: dict[str, msgspec.Raw] = msgspec.field(name="Addresses")


class Taking(asyncio.Protocol):
    """One connection."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, parted, body = self._got.partition(b"\r\n\r\n")
        if not parted:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._got = body[length:]
        results = []
        for address in msgspec.json.decode(body[:length], type=_Request).addresses:
            Taking.taken += 1
            results.append(_RESULT % (json.dumps(address), Taking.taken))
        answer = f'{{"ApplicationId":"shop","Result":{{{",".join(results)}}}}}'.encode()
        self._transport.write(_HEAD % (len(answer), answer))


@contextmanager
def taking() -> Iterator[None]:
    """While it runs, clients of Pinpoint made in this process talk to it."""
    with TemporaryDirectory(prefix="comeback-bench-") as folder:
        child = Child("tests.bench.taking", (), log=Path(folder, "log"), environment={})
        try:
            os.environ |= {
                "AWS_ENDPOINT_URL_PINPOINT": child.first_line(),
                "AWS_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
            }
            yield
        finally:
            child.stop()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Taking, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
