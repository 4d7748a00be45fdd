"""A local Amazon Kinesis on a loopback port, for `make demo` and for tests: AWS JSON 1.1 over HTTP.

This module is only the wire: it reads requests, asks for faults, and writes answers. What the
service does is in `kinesis_api`, and what a stream does in `stream`. Everything is in memory, and
signatures are not checked.

    python -m worker.sandbox.kinesis --port 4567 --stream events --shards 2
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec
from aiohttp import web

from worker.sandbox.kinesis_api import SimulatedKinesis, shard_id_of
from worker.sandbox.kinesis_faults import Call, Fault, FaultHook
from worker.sandbox.kinesis_refusals import KinesisRefusal
from worker.sandbox.kinesis_request import Parameters, read_request
from worker.sandbox.shard import MIB
from worker.sandbox.stream import SimulatedStream
from worker.sandbox.stream_values import Behaviour

REQUEST_BYTES_MAX = 16 * MIB
SHUTDOWN_SECONDS_MAX = 0.5

_NO_FAULT = Fault()


def wall_clock_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class KinesisServer:
    """The simulated Kinesis behind an HTTP port.

    `faults` is asked before each operation what should go wrong with it (see `kinesis_faults`).
    `now_ms` gives the time of the service: a test that passes its own clock ages iterators and
    records without waiting.
    """

    def __init__(
        self, *, behaviour: Behaviour | None = None, now_ms: Callable[[], int] = wall_clock_ms
    ) -> None:
        self.faults: FaultHook | None = None
        self._now_ms = now_ms
        self._kinesis = SimulatedKinesis(behaviour)
        self._calls: Counter[tuple[str, str | None]] = Counter()
        self._request_ids = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens, and answers the base URL. Port 0 is any free one. Raises OSError."""
        assert self._runner is None, "started already"
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_post("/", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS_MAX)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        return f"http://{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Closes the port and all connections; the streams are kept."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def create_stream(self, name: str, *, shards: int = 1) -> SimulatedStream:
        """CreateStream without a request. Raises ResourceInUseException, LimitExceededException."""
        return self._kinesis.create(name, shards=shards, now_ms=self._now_ms())

    def stream(self, name: str) -> SimulatedStream:
        """The stream itself, to put records into it or reshard it without requests.

        Raises ResourceNotFoundException.
        """
        return self._kinesis.stream(name)

    def calls(self, operation: str, shard_id: str | None = None) -> int:
        """How often an operation was called on a shard, or without one."""
        return self._calls[operation, shard_id]

    # --- serving ------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        body = await request.read()
        try:
            operation, parameters = read_request(target, body, known=self._kinesis.operations)
            fault = await self._fault_for(operation, parameters)
            await asyncio.sleep(fault.delay_seconds)
            if fault.drop:
                return _dropped(request)
            if fault.error is not None:
                return self._refusal(fault.error, "Injected fault.", status=fault.status)
            answer = self._kinesis.perform(operation, parameters, now_ms=self._now_ms())
        except KinesisRefusal as refusal:
            return self._refusal(refusal.code, str(refusal))
        response = self._response(answer)
        if fault.truncate_bytes is not None:
            return await _truncated(request, response, answer[: fault.truncate_bytes])
        return response

    async def _fault_for(self, operation: str, parameters: Parameters) -> Fault:
        shard_id = shard_id_of(parameters)
        self._calls[operation, shard_id] += 1
        if self.faults is None:
            return _NO_FAULT
        number = self._calls[operation, shard_id]
        fault = self.faults(Call(operation=operation, shard_id=shard_id, number=number))
        if inspect.isawaitable(fault):
            fault = await fault
        return fault or _NO_FAULT

    def _refusal(self, code: str, message: str, *, status: int = 400) -> web.Response:
        return self._response(msgspec.json.encode({"__type": code, "message": message}), status)

    def _response(self, body: bytes, status: int = 200) -> web.Response:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "x-amzn-RequestId": f"00000000-0000-0000-0000-{next(self._request_ids):012x}",
        }
        return web.Response(body=body, status=status, headers=headers)


def _dropped(request: web.Request) -> web.Response:
    """Cuts the connection; aiohttp finds it gone and sends nothing of the response."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _truncated(
    request: web.Request, response: web.Response, part: bytes
) -> web.StreamResponse:
    """Promises the whole body, sends a part of it, and cuts the connection."""
    cut = web.StreamResponse(headers=response.headers)
    cut.content_length = response.content_length
    await cut.prepare(request)
    await cut.write(part)
    if request.transport is not None:
        request.transport.close()
    return cut


# --- as a process of its own ------------------------------------------------------------------


async def _run(host: str, port: int, stream: str | None, shards: int) -> None:
    server = KinesisServer()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if stream is not None:
        server.create_stream(stream, shards=shards)
    print(await server.start(host, port), flush=True)
    try:
        await stopped.wait()
    finally:
        await server.stop()


def main() -> None:
    """Serves until SIGINT or SIGTERM; its one line of output is the address, once it listens."""
    parser = argparse.ArgumentParser(prog="worker.sandbox.kinesis", description="A local Kinesis.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one")
    parser.add_argument("--stream", help="name of a stream to begin with")
    parser.add_argument("--shards", type=int, default=1, help="its number of shards")
    options = parser.parse_args()
    try:
        asyncio.run(_run(options.host, options.port, options.stream, options.shards))
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {error}. Try another --port.")
    except KinesisRefusal as refusal:
        sys.exit(f"cannot create stream {options.stream}: {refusal}")


if __name__ == "__main__":
    main()
