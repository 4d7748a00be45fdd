"""The real process between a local Kinesis and a local Pinpoint, for tests that read as a story.

The servers live in the test's own event loop, so a test can put records, reshard and read what was
sent; `comeback run` is a process of its own, so a test can also kill it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp

from worker.errors import TryLater
from worker.model import CHANNEL_OF_TYPE
from worker.sandbox.kinesis import KinesisServer
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.processes import Child
from worker.sandbox.provider import Send as StubSend
from worker.sandbox.stream import SimulatedStream

ROOT = Path(__file__).resolve().parents[2]
STREAM = "events"
READY_SECONDS_MAX = 90.0
POLL_SECONDS = 0.1
STATE_TRIES_MAX = 5

LADDER = """
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: 3s
    stages:
      - {name: push, channel: push, message: {title: Hello, body: Come back}}
      - {name: email, channel: email, after: 2s, message: {subject: Hello, text: Come back}}
      - {name: sms, channel: sms, after: 2s, message: {body: Come back}}
"""


class BentClock:
    """A clock that a test moves: its own, that of a sandbox server, and that of a worker that is
    started with `CLOCK_FILE` (see `saboteur`)."""

    def __init__(self, path: Path, offset_ms: int = 0) -> None:
        self.path = path
        path.write_bytes(bytes(8))
        self.offset_ms = 0
        self.step_to(offset_ms)

    def step_to(self, offset_ms: int) -> None:
        """From now on the clock is that far ahead of the machine's."""
        self.offset_ms = offset_ms
        with self.path.open("r+b") as file:
            file.write(struct.pack("<q", offset_ms))

    def now_ms(self) -> int:
        return now_ms() + self.offset_ms


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def pause(seconds: float) -> None:
    """Real time passes: these tests watch a real process."""
    await asyncio.sleep(seconds)


async def until(condition: Any, what: str, seconds: float = 20.0) -> None:
    """Waits until `condition()` holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        await pause(POLL_SECONDS)
    raise AssertionError(f"not in {seconds:.0f} s: {what}")


class World:
    """One local AWS, one state file, one rules folder, and any number of worker processes."""

    def __init__(self, folder: Path, kinesis: KinesisServer | None = None) -> None:
        self.folder = folder
        self.rules = folder / "rules"
        self.state = folder / "comeback.db"
        self.http = f"127.0.0.1:{free_port()}"
        self.kinesis = kinesis or KinesisServer()
        self.pinpoint = PinpointStub()
        self.environment: dict[str, str] = {}
        self._children: list[Child] = []

    @property
    def stream(self) -> SimulatedStream:
        return self.kinesis.stream(STREAM)

    @property
    def sends(self) -> Sequence[StubSend]:
        """Everything the provider took, in order."""
        return tuple(self.pinpoint.sends)

    def channels_of(self, *addresses: str) -> list[str]:
        """Channels of what these addresses received, in order."""
        return [
            CHANNEL_OF_TYPE[send.channel_type]
            for send in self.sends
            if send.address in addresses and send.status == "SUCCESSFUL"
        ]

    async def open(self, *, rules: str, kinesis_url: str | None, shards: int) -> None:
        self.rules.mkdir()
        (self.rules / "rules.yaml").write_text(rules)
        if kinesis_url is None:
            kinesis_url = await self.kinesis.start()
            self.kinesis.create_stream(STREAM, shards=shards)
        self.environment = {
            "AWS_ENDPOINT_URL_KINESIS": kinesis_url,
            "AWS_ENDPOINT_URL_PINPOINT": await self.pinpoint.start(),
            "COMEBACK_STREAM": STREAM,
            "COMEBACK_START_POSITION": "TRIM_HORIZON",
            "COMEBACK_STATE": str(self.state),
            "COMEBACK_RULES": str(self.rules),
            "COMEBACK_PINPOINT_APPLICATION_ID": "app",
            "COMEBACK_EMAIL_SENDER": "pinpoint",
            "COMEBACK_HTTP": self.http,
            "COMEBACK_POLL_INTERVAL": "200ms",
            "COMEBACK_SWEEP_INTERVAL": "100ms",
            "COMEBACK_MAX_STALENESS": "10s",
            "COMEBACK_DRAIN_TIMEOUT": "5s",
        }

    async def stop_workers(self) -> None:
        """Kills every worker there is."""
        for child in self._children:
            await asyncio.to_thread(child.kill)

    async def close(self) -> None:
        await self.stop_workers()
        await self.pinpoint.stop()
        await self.kinesis.stop()

    def start(self, *, module: str = "worker", **changes: str) -> Child:
        """Starts `comeback run`; `changes` are environment variables, `module` is what runs."""
        child = Child(
            module,
            ["run"],
            log=self.folder / f"worker-{len(self._children)}.log",
            environment=self.environment | {"PYTHONPATH": str(ROOT)} | changes,
        )
        self._children.append(child)
        return child

    def start_sabotaged(self, **changes: str) -> Child:
        """Starts `comeback run` with a saboteur inside; see `saboteur` for KILL_AT and others."""
        return self.start(module="tests.acceptance.saboteur", **changes)

    async def start_ready(self, **changes: str) -> Child:
        """Starts `comeback run` and waits until it is at work."""
        child = self.start(**changes)
        await self.ready(child)
        return child

    async def ready(self, child: Child) -> None:
        async def answers() -> bool:
            assert child.process.poll() is None, f"the worker ended:\n{child.log_text()}"
            return await self.get("/-/ready") == 200

        await until(answers, "the worker is ready", READY_SECONDS_MAX)

    async def get(self, path: str, http: str = "") -> int | None:
        """Status of a GET on a worker's port; None when nobody answers."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{http or self.http}{path}") as answer,
            ):
                return answer.status
        except aiohttp.ClientError:
            return None

    async def text(self, path: str) -> str:
        """Body of a GET on the worker's port."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.http}{path}") as answer,
        ):
            return await answer.text()

    async def command(self, *arguments: str, **changes: str) -> tuple[int, str]:
        """Runs a `comeback` command; exit code and everything it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker",
            *arguments,
            env={**os.environ, **self.environment, **changes},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def state_json(self) -> dict[str, Any]:
        """`comeback state --json`, with every uncertain send; asked again where it says to try
        later, as it does of a large state on a busy machine."""
        for _ in range(STATE_TRIES_MAX):
            code, output = await self.command("state", "--json", "--uncertain", "100000")
            if code != TryLater.exit_code:
                break
        assert code == 0, output
        document: dict[str, Any] = json.loads(output)
        return document

    def put(self, *events: Mapping[str, Any]) -> None:
        """Puts events into the local stream, each as a record of its own."""
        for event in events:
            data = json.dumps(event).encode()
            key = str(event.get("client", {}).get("client_id", "none"))
            self.stream.put(data, partition_key=key, now_ms=now_ms())

    def visit(self, user: str, *channel_types: str, **changes: Any) -> None:
        """The user opens the app on each of these endpoints."""
        for channel_type in channel_types or ("GCM", "EMAIL", "SMS"):
            self.put(visit(user, channel_type, **changes))


@asynccontextmanager
async def world(
    folder: Path,
    *,
    rules: str = LADDER,
    kinesis_url: str | None = None,
    shards: int = 2,
    kinesis: KinesisServer | None = None,
) -> AsyncIterator[World]:
    """A world that is taken down with everything in it."""
    one = World(folder, kinesis)
    await one.open(rules=rules, kinesis_url=kinesis_url, shards=shards)
    try:
        yield one
    finally:
        await one.close()


def address(user: str, channel_type: str) -> str:
    """The address of a user on a channel."""
    if channel_type == "EMAIL":
        return f"{user}@example.com"
    if channel_type == "SMS":
        return f"+1555{crc32(user.encode()) % 10_000_000:07d}"
    return f"token-{user}"


def visit(user: str, channel_type: str, **changes: Any) -> dict[str, Any]:
    """A `_session.start` with the endpoint it came from."""
    at = now_ms()
    endpoint_id = f"{user}-{channel_type}".lower()
    return {
        "event_type": "_session.start",
        "event_timestamp": at,
        "arrival_timestamp": at,
        "event_version": "3.1",
        "client": {"client_id": endpoint_id},
        "attributes": {},
        "endpoint": {
            "Id": endpoint_id,
            "ChannelType": channel_type,
            "Address": address(user, channel_type),
            "EndpointStatus": "ACTIVE",
            "OptOut": "NONE",
            "Demographic": {"Timezone": "Europe/Paris"},
            "User": {"UserId": user, "UserAttributes": {}},
        },
    } | changes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
