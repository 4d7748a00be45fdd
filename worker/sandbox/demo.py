"""`make demo`: a local stream, a local provider, the real worker between them, and a crowd.

Everything runs on loopback, in a temporary folder, for about a minute: a Kinesis over the wire,
providers that check every request against the services' own models (`demo_providers`), `comeback
run` as a process of its own, and some thousand users (`crowd`). While it runs, a shard is split. At
the end the demo judges itself from what arrived at the crowd's addresses (`demo_verdict`) and exits
0 or 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from aiobotocore.session import get_session
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.live import Live

from worker.model import CHANNEL_OF_TYPE
from worker.rules.load import load
from worker.sandbox.crowd import DRIFT_SECONDS, Crowd, Habit
from worker.sandbox.demo_picture import Snapshot, pace, picture, plain, summary
from worker.sandbox.demo_providers import Backends, Providers
from worker.sandbox.demo_verdict import Check, verdict
from worker.sandbox.processes import Child

STREAM = "demo-events"
TICK_SECONDS = 0.2
LADDER_SECONDS = 7 + 2 + 3
SETTLE_SECONDS = 6.0
SPLIT_AT_SECONDS = 8.0
RECORDS_PER_PUT_MAX = 500
READY_SECONDS_MAX = 30.0
RULES = Path(__file__).parent / "demo_rules"
FAKE_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Demo:
    """One run of the demo."""

    def __init__(
        self, *, users: int, seed: int, backends: Backends, folder: Path, console: Console
    ) -> None:
        self._folder = folder
        self._providers = Providers(backends, folder)
        self._reports: list[bytes] = []
        """Delivery reports that are not on the stream yet."""
        self._reported = 0
        self._console = console
        self._seconds_total = DRIFT_SECONDS[1] + LADDER_SECONDS + SETTLE_SECONDS
        self._children: list[Child] = []
        self._users = users
        self._seed = seed
        self._accepted: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._news: deque[str] = deque(maxlen=4)

    async def run(self, *, keep: bool) -> int:
        """Runs to the end; 0 when every check holds."""
        async with AsyncExitStack() as stack:
            stack.callback(self._stop)
            client = await stack.enter_async_context(self._start())
            metrics = f"{self._http}/metrics"
            self._console.print(f"worker: {metrics}\n{pace(load(RULES).rules[0])}", soft_wrap=True)
            self._begin = time.time()
            self._crowd = Crowd(
                users=self._users, seed=self._seed, now_ms=round(self._begin * 1_000)
            )
            await self._play(client, metrics)
            checks = [*verdict(self._crowd), *self._receipts_settled(_scrape(metrics))]
            self._console.print(summary(self._crowd, self._accepted, checks))
            self._tell_a_story()
            if keep:
                told = f"still running: {metrics}   (Ctrl-C ends it)\n{self._how_to_explore()}"
                self._console.print(told, markup=False, highlight=False, soft_wrap=True)
                await self._keep_running(client)
            return 0 if all(check.holds for check in checks) else 1

    # --- the world ------------------------------------------------------------------------------

    def _start(self) -> Any:
        """Starts the servers and the worker; returns the crowd's Kinesis client."""
        kinesis = self._child("worker.sandbox.kinesis", "--stream", STREAM, "--shards", "2")
        providers = self._providers.start(self._child)
        endpoint = kinesis.first_line().split()[-1]
        self._http = f"http://127.0.0.1:{_free_port()}"
        self._environment = {
            **FAKE_CREDENTIALS,
            "AWS_ENDPOINT_URL_KINESIS": endpoint,
            **providers,
            "COMEBACK_STREAM": STREAM,
            "COMEBACK_START_POSITION": "TRIM_HORIZON",
            "COMEBACK_STATE": str(self._folder / "comeback.db"),
            "COMEBACK_RULES": str(RULES),
            "COMEBACK_HTTP": self._http.removeprefix("http://"),
            "COMEBACK_POLL_INTERVAL": "200ms",
            "COMEBACK_SWEEP_INTERVAL": "100ms",
            "COMEBACK_MAX_STALENESS": "10s",
        }
        self._child("worker", "run", environment=self._environment)
        self._wait_until_ready()
        return get_session().create_client(
            "kinesis",
            endpoint_url=endpoint,
            region_name=FAKE_CREDENTIALS["AWS_REGION"],
            aws_access_key_id="demo",
            aws_secret_access_key="demo",  # noqa: S106 - the local Kinesis asks for none
        )

    def _child(
        self, module: str, *arguments: str, environment: Mapping[str, str] = FAKE_CREDENTIALS
    ) -> Child:
        log = self._folder / f"{module.rpartition('.')[2]}.log"
        child = Child(module, arguments, log=log, environment=environment)
        self._children.append(child)
        return child

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            worker = self._children[-1].process
            if worker.poll() is not None:
                break
            try:
                with urlopen(f"{self._http}/-/ready", timeout=1):  # noqa: S310 - loopback
                    return
            except (URLError, OSError):
                time.sleep(TICK_SECONDS)
        log = (self._folder / "worker.log").read_text(errors="replace")
        raise SystemExit(f"the worker did not become ready:\n{log[-3_000:]}")

    def _stop(self) -> None:
        for child in reversed(self._children):
            child.stop()

    # --- the play -------------------------------------------------------------------------------

    async def _play(self, client: Any, metrics: str) -> None:
        live = self._console.is_terminal
        with Live(console=self._console, auto_refresh=False, transient=True) as screen:
            shown = -10.0
            split = False
            while (at := time.time() - self._begin) < self._seconds_total:
                await self._put(client, at)
                self._read_sends()
                if not split and at >= SPLIT_AT_SECONDS:
                    split = True
                    await self._split(client)
                if at - shown >= (0.4 if live else 5.0):
                    shown = at
                    snapshot = self._snapshot(at, await asyncio.to_thread(_scrape, metrics))
                    if live:
                        screen.update(picture(snapshot), refresh=True)
                    else:
                        self._console.print(plain(snapshot), soft_wrap=True)
                await asyncio.sleep(TICK_SECONDS)
        self._read_sends()

    async def _put(self, client: Any, at: float) -> None:
        records = [
            {"Data": data, "PartitionKey": key} for key, data in self._crowd.events(until=at)
        ]
        records += [
            {"Data": report, "PartitionKey": str(self._reported + number)}
            for number, report in enumerate(self._reports)
        ]
        self._reported += len(self._reports)
        self._reports.clear()
        for start in range(0, len(records), RECORDS_PER_PUT_MAX):
            part = records[start : start + RECORDS_PER_PUT_MAX]
            answer = await client.put_records(StreamName=STREAM, Records=part)
            assert not answer["FailedRecordCount"], "the local Kinesis takes everything"
        self._crowd.landed(time.time() - self._begin)

    async def _split(self, client: Any) -> None:
        shards = (await client.list_shards(StreamName=STREAM))["Shards"]
        hashes = shards[0]["HashKeyRange"]
        middle = (int(hashes["StartingHashKey"]) + int(hashes["EndingHashKey"])) // 2
        await client.split_shard(
            StreamName=STREAM, ShardToSplit=shards[0]["ShardId"], NewStartingHashKey=str(middle)
        )
        self._news.append(f"{shards[0]['ShardId']} was split; its children are read after it")

    def _read_sends(self) -> None:
        """What arrived at the crowd's addresses since the last look, from the provider's log."""
        for send, report in self._providers.new_sends():
            channel = CHANNEL_OF_TYPE[send["channel_type"]]
            if self._crowd.owner(send["address"]).habit is Habit.DEAD_TOKEN and channel == "push":
                self._rejected[channel] += 1
                continue
            self._accepted[channel] += 1
            self._crowd.receives(send["address"], channel, send["time"] - self._begin)
            if report is not None:
                self._reports.append(report)

    def _receipts_settled(self, worker: Mapping[str, float]) -> list[Check]:
        """Delivery reports belong to sends; nothing to check where no provider publishes any."""
        if not self._reported:
            return []
        lost = self._reported - round(worker["receipts_matched"])
        name = f"each of {self._reported:,} delivery reports found its send"
        return [Check(name, (f"{lost} of them",) if lost else ())]

    def _snapshot(self, at: float, worker: Mapping[str, float]) -> Snapshot:
        return Snapshot(
            seconds=at,
            seconds_total=self._seconds_total,
            users=self._users,
            crowd=self._crowd.counts(at),
            accepted=self._accepted,
            rejected=self._rejected,
            worker=worker,
            news=tuple(self._news),
        )

    def _tell_a_story(self) -> None:
        """`comeback explain` for one user who needed the e-mail to come back."""
        member = next(
            (m for m in self._crowd.members if m.habit is Habit.AFTER_EMAIL and m.returned_at), None
        )
        if member is None:
            return
        self._console.print(f"\n$ comeback explain {member.user_id}", style="bold")
        story = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "worker", "explain", member.user_id],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )
        text = story.stdout + story.stderr
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _how_to_explore(self) -> str:
        """The command that asks this run's state about a user, as one would type it here."""
        command = os.path.relpath(Path(sys.executable).with_name("comeback"))
        return (
            f"state: {self._folder}\n\n"
            f"COMEBACK_STATE={self._environment['COMEBACK_STATE']} "
            f"COMEBACK_RULES={os.path.relpath(RULES)} \\\n"
            f"  {command} explain {self._crowd.members[0].user_id}"
        )

    async def _keep_running(self, client: Any) -> None:
        while True:
            await self._put(client, time.time() - self._begin)
            self._read_sends()
            await asyncio.sleep(TICK_SECONDS)


def _scrape(url: str) -> dict[str, float]:
    """The few numbers of the picture, from the worker's own metrics."""
    with urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}

    def total(name: str, **labels: str) -> float:
        samples = families[name].samples if name in families else []
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    return {
        "records": total("comeback_records"),
        "lag": total("comeback_watermark_age_seconds"),
        "shards": total("comeback_shards"),
        "receipts_matched": total("comeback_receipts_matched"),
        "quiet_hours": total("comeback_decisions", reason="quiet_hours"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_on_sigterm(number: int, _: object) -> None:
    """Leaves by an exception, which ends the sandbox and the worker on its way out; once."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main() -> None:
    """Reads the arguments and plays."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--users", type=int, default=3_000, help="how large the crowd is")
    parser.add_argument("--seed", type=int, default=20_261_122, help="which crowd")
    parser.add_argument(
        "--backends",
        choices=list(Backends),
        type=Backends,
        default=Backends.PINPOINT,
        help="who delivers: Pinpoint alone, or with SES and End User Messaging (BACKENDS=aws)",
    )
    parser.add_argument("--keep", action="store_true", help="stay up afterwards (KEEP=1)")
    options = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, _end_on_sigterm)
    with tempfile.TemporaryDirectory(prefix="comeback-demo-") as folder:
        demo = Demo(
            users=options.users,
            seed=options.seed,
            backends=options.backends,
            folder=Path(folder),
            console=console,
        )
        try:
            code = asyncio.run(demo.run(keep=options.keep))
        except KeyboardInterrupt:
            code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
