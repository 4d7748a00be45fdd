"""A Pinpoint that never leaves this machine: `SendMessages` over HTTP, for the demo and the tests.

It takes what botocore's model of the service allows and nothing else, answers each address as its
behaviour says, and writes down every address of every call it took *before* it answers, so that a
checker can tell afterwards what went out, also when the answer was lost. It must not be reachable
from elsewhere: it listens on the loopback interface only.

    python -m worker.sandbox.pinpoint --port 4580 --log sends.ndjson
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from worker.sandbox.pinpoint_checks import faults_of
from worker.sandbox.pinpoint_replies import ERRORS, PROFILES, TAKEN, Behaviour, Fault, Reply

PAYLOAD_BYTES_MAX = 7_000_000
SENDS_KEPT_MAX = 1_000_000
REQUESTS_KEPT_MAX = 1_000
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One line of the log: one address of one call that was taken."""

    time: float
    address: str
    channel_type: str
    send_id: str
    status: str
    answered: bool
    """False when the answer was lost on purpose: the caller cannot know of this send."""


class PinpointStub:
    """The server. `url` is set while it runs."""

    def __init__(
        self,
        *,
        behaviour: Behaviour = PROFILES["calm"],
        log: Path | None = None,
        calls_per_second_max: int | None = None,
        validate: bool = True,
    ) -> None:
        """`validate=False` is for measuring clients, which the checks would outweigh."""
        self.url = ""
        self.behaviour = behaviour
        self.behaviours: dict[str, Behaviour] = {}
        """By address; they go before `behaviour`."""
        self.sends: deque[Send] = deque(maxlen=SENDS_KEPT_MAX)
        self.requests: deque[Mapping[str, Any]] = deque(maxlen=REQUESTS_KEPT_MAX)
        """Bodies of the latest well-formed calls, taken or not."""
        self._log_path = log
        self._log: TextIO | None = None
        self._validate = validate
        self._limit = _PerSecond(calls_per_second_max)
        self._attempts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._message_count = 0
        self._wrote = asyncio.Condition()

    async def start(self, port: int = 0) -> str:
        """Listens on a port (0: any free one) and returns the URL to use as the endpoint."""
        if self._log_path is not None:
            self._log = self._log_path.open("a", encoding="utf-8")
        app = web.Application(client_max_size=PAYLOAD_BYTES_MAX)
        app.router.add_post("/v1/apps/{application_id}/messages", self._send_messages)
        app.router.add_get("/calls", self._calls)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.url = f"http://{HOST}:{bound}"
        return self.url

    async def stop(self) -> None:
        """Closes the port and the log."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._log is not None:
            self._log.close()

    async def taken(self, count: int) -> None:
        """Waits until that many addresses have been written down."""
        async with self._wrote:
            await self._wrote.wait_for(lambda: len(self.sends) >= count)

    async def _calls(self, _request: web.Request) -> web.Response:
        lines = "".join(f"{_line(send)}\n" for send in self.sends)
        return web.Response(text=lines, content_type="application/x-ndjson")

    async def _send_messages(self, request: web.Request) -> web.Response:
        if not self._limit.admits(time.monotonic()):
            return _error(*ERRORS[Fault.THROTTLED], "Too many requests")
        try:
            body = json.loads(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "PayloadTooLargeException", f"over {PAYLOAD_BYTES_MAX} bytes")
        except ValueError:
            return _error(*ERRORS[Fault.BAD_REQUEST], "the body is not JSON")
        found = faults_of(body) if self._validate else []
        if found:
            return _error(*ERRORS[Fault.BAD_REQUEST], "; ".join(found))
        return await self._answer(request, body)

    async def _answer(self, request: web.Request, body: Mapping[str, Any]) -> web.Response:
        self.requests.append(body)
        replies = {address: self._reply(address) for address in body["Addresses"]}
        fault = next((reply.fault for reply in replies.values() if reply.fault), None)
        if fault in TAKEN:
            self._write_down(body["Addresses"], replies, answered=fault is None)
            async with self._wrote:
                self._wrote.notify_all()
        delay = max(reply.delay_seconds for reply in replies.values())
        if delay:
            await asyncio.sleep(delay)
        if fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault is Fault.GARBLED:
            return web.Response(text="<html>all is well", content_type="text/html")
        if fault is not None:
            return _error(*ERRORS[fault], str(fault))
        result = {address: self._result(reply) for address, reply in replies.items()}
        return web.json_response(
            {"ApplicationId": request.match_info["application_id"], "Result": result}
        )

    def _reply(self, address: str) -> Reply:
        self._attempts[address] += 1
        behaviour = self.behaviours.get(address, self.behaviour)
        return behaviour(address, self._attempts[address])

    def _result(self, reply: Reply) -> Mapping[str, Any]:
        self._message_count += 1
        result = {
            "DeliveryStatus": reply.status,
            "StatusCode": reply.code,
            "StatusMessage": reply.message,
            "MessageId": f"stub-{self._message_count}",
            "UpdatedToken": reply.updated_token,
        }
        return {name: value for name, value in result.items() if value is not None}

    def _write_down(
        self, addresses: Mapping[str, Any], replies: Mapping[str, Reply], *, answered: bool
    ) -> None:
        now = time.time()
        sends = [
            Send(
                time=now,
                address=address,
                channel_type=settings.get("ChannelType", ""),
                send_id=settings.get("Context", {}).get("send_id", ""),
                status=replies[address].status,
                answered=answered,
            )
            for address, settings in addresses.items()
        ]
        self.sends.extend(sends)
        if self._log is not None:
            self._log.writelines(f"{_line(send)}\n" for send in sends)
            self._log.flush()


class _PerSecond:
    """At most so many calls in one second of the clock."""

    def __init__(self, calls_max: int | None) -> None:
        self._calls_max = calls_max
        self._second = -1
        self._calls = 0

    def admits(self, now: float) -> bool:
        if self._calls_max is None:
            return True
        if int(now) != self._second:
            self._second, self._calls = int(now), 0
        self._calls += 1
        return self._calls <= self._calls_max


def _line(send: Send) -> str:
    return json.dumps(asdict(send), ensure_ascii=False)


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response(
        {"Message": message, "RequestID": "stub"},
        status=status,
        headers={"x-amzn-ErrorType": kind},
    )


async def _serve(arguments: argparse.Namespace) -> None:
    stub = PinpointStub(
        behaviour=PROFILES[arguments.profile],
        log=arguments.log,
        calls_per_second_max=arguments.calls_per_second,
        validate=not arguments.unchecked,
    )
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    url = await stub.start(arguments.port)
    print(f"pinpoint stub ready at {url}", flush=True)
    await stopped.wait()
    await stub.stop()


def main() -> None:
    """Runs the stub until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m worker.sandbox.pinpoint", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on the loopback; 0: a free one")
    parser.add_argument("--log", type=Path, help="file that gets one JSON line for each send")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="calm", help="who answers")
    parser.add_argument("--calls-per-second", type=int, help="above this, calls are answered 429")
    parser.add_argument("--unchecked", action="store_true", help="take any request, to measure")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
