"""What the stubs of services that send have in common: HTTP on the loopback, a log that never lies.

A stub takes what botocore's model of its service allows and nothing else, answers each address as
its behaviour says, and writes down every address of every call it took *before* it answers, so that
a checker can tell afterwards what went out, also when the answer was lost. It must not be reachable
from elsewhere: it listens on the loopback interface only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TextIO

from aiohttp import web

from worker.sandbox.pinpoint_replies import PROFILES, TAKEN, Behaviour, Fault, Refusal, Reply
from worker.sandbox.shapes import problems

PAYLOAD_BYTES_MAX = 7_000_000
SENDS_KEPT_MAX = 1_000_000
REQUESTS_KEPT_MAX = 1_000
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address of a call."""

    address: str
    channel_type: str
    send_id: str


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


class ProviderStub(ABC):
    """The server. `url` is set while it runs."""

    name: ClassVar[str]
    service: ClassVar[str]
    """What botocore calls it."""
    paths: ClassVar[Sequence[str]]
    """Where calls are posted to."""
    errors: ClassVar[Mapping[Fault, tuple[int, str]]]
    """Status and exception of what can befall a whole call."""

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

    # --- what a service adds --------------------------------------------------------------------

    @abstractmethod
    def _faults_of(self, request: web.Request, body: Any) -> list[str]:
        """Everything the service would refuse about a request; empty when fine."""

    @abstractmethod
    def _targets_of(self, body: Mapping[str, Any]) -> Sequence[Target]:
        """Whom a request without faults is for."""

    @abstractmethod
    def _answer_to(
        self, request: web.Request, body: Mapping[str, Any], replies: Sequence[Reply]
    ) -> web.Response:
        """The answer to a call that nothing befell; replies are in the order of the targets."""

    def _translated(self, reply: Reply, _body: Mapping[str, Any]) -> Reply:
        """A reply in Pinpoint's words as this service would give it to this request."""
        return reply

    def _is_dry_run(self, _body: Mapping[str, Any]) -> bool:
        """Is this a call that sends nothing whatever is answered?"""
        return False

    # --- the server -------------------------------------------------------------------------------

    async def start(self, port: int = 0) -> str:
        """Listens on a port (0: any free one) and returns the URL to use as the endpoint."""
        if self._log_path is not None:
            self._log = self._log_path.open("a", encoding="utf-8")
        app = web.Application(client_max_size=PAYLOAD_BYTES_MAX)
        for path in self.paths:
            app.router.add_post(path, self._take)
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

    async def _take(self, request: web.Request) -> web.Response:
        if not self._limit.admits(time.monotonic()):
            return self._fault(Fault.THROTTLED, "Too many requests")
        try:
            body = json.loads(await request.read())
        except web.HTTPRequestEntityTooLarge:
            told = f"over {PAYLOAD_BYTES_MAX} bytes"
            return self._error(413, "PayloadTooLargeException", {"Message": told})
        except ValueError:
            return self._fault(Fault.BAD_REQUEST, "the body is not JSON")
        found = self._faults_of(request, body) if self._validate else []
        if found:
            return self._fault(Fault.BAD_REQUEST, "; ".join(found))
        return await self._serve(request, body)

    async def _serve(self, request: web.Request, body: Mapping[str, Any]) -> web.Response:
        self.requests.append(body)
        targets = self._targets_of(body)
        replies = [self._translated(self._reply(target.address), body) for target in targets]
        fault = next((reply.fault for reply in replies if reply.fault), None)
        refusal = next((reply for reply in replies if isinstance(reply, Refusal)), None)
        if fault in TAKEN and not refusal and not self._is_dry_run(body):
            self._write_down(targets, replies, answered=fault is None)
            async with self._wrote:
                self._wrote.notify_all()
        delay = max(reply.delay_seconds for reply in replies)
        if delay:
            await asyncio.sleep(delay)
        if fault in (Fault.DROP_BEFORE, Fault.DROP_AFTER):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault is Fault.GARBLED:
            return web.Response(text="<html>all is well", content_type="text/html")
        if fault is not None:
            return self._fault(fault, str(fault))
        if refusal is not None:
            return self._refused(refusal)
        return self._answer_to(request, body, replies)

    def _reply(self, address: str) -> Reply:
        self._attempts[address] += 1
        behaviour = self.behaviours.get(address, self.behaviour)
        return behaviour(address, self._attempts[address])

    def _message_id(self) -> str:
        self._message_count += 1
        return f"stub-{self._message_count}"

    def _answered(self, shape: str, body: Mapping[str, Any]) -> web.Response:
        """A 200 with a body that the named shape of the service's model allows."""
        found = problems(self.service, shape, body) if self._validate else []
        assert not found, found
        return web.json_response(body)

    def _refused(self, refusal: Refusal) -> web.Response:
        if self._validate:
            found = problems(self.service, refusal.kind, refusal.members)
            assert not found, found
        body = {"Message": refusal.message, **refusal.members}
        return self._error(refusal.code, refusal.kind, body)

    def _fault(self, fault: Fault, message: str) -> web.Response:
        return self._error(*self.errors[fault], {"Message": message})

    def _error(self, status: int, kind: str, body: Mapping[str, Any]) -> web.Response:
        """An error as AWS's REST protocol tells it."""
        return web.json_response(
            {"RequestID": "stub", **body}, status=status, headers={"x-amzn-ErrorType": kind}
        )

    def _write_down(
        self, targets: Sequence[Target], replies: Sequence[Reply], *, answered: bool
    ) -> None:
        now = time.time()
        sends = [
            Send(time=now, status=reply.status, answered=answered, **asdict(target))
            for target, reply in zip(targets, replies, strict=True)
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


async def _run(stub_of: type[ProviderStub], arguments: argparse.Namespace) -> None:
    stub = stub_of(
        behaviour=PROFILES[arguments.profile],
        log=arguments.log,
        calls_per_second_max=arguments.calls_per_second,
        validate=not arguments.unchecked,
    )
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    url = await stub.start(arguments.port)
    print(f"{stub.name} stub ready at {url}", flush=True)
    await stopped.wait()
    await stub.stop()


def serve(stub_of: type[ProviderStub], module: str) -> None:
    """Runs a stub of that kind until it is interrupted; `module` is what it is started as."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=stub_of.__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on the loopback; 0: a free one")
    parser.add_argument("--log", type=Path, help="file that gets one JSON line for each send")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="calm", help="who answers")
    parser.add_argument("--calls-per-second", type=int, help="above this, calls are throttled")
    parser.add_argument("--unchecked", action="store_true", help="take any request, to measure")
    asyncio.run(_run(stub_of, parser.parse_args()))
