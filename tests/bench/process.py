"""A whole worker, `comeback run`, as a process whose CPU and memory are measured from outside."""

from __future__ import annotations

import os
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.state import RULES
from worker.sandbox.processes import Child

START_SECONDS_MAX = 120.0
LOOK_SECONDS = 0.02
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class WorkerProcess:
    """One that runs."""

    def __init__(self, child: Child, http: str, started: float) -> None:
        self._child = child
        self._http = http
        self._started = started

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self._child.process.pid}")

    def cpu_seconds(self) -> float:
        """User and system, of all its threads."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mb(self) -> float:
        """Resident memory."""
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError(self._child.log_text())

    def metric(self, name: str) -> float:
        """A metric without labels; 0 while the port does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self._http}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return next((float(line.split()[1]) for line in lines if line.startswith(name + " ")), 0.0)

    def wait_for(self, name: str, at_least: float = 1.0) -> float:
        """Seconds from the start of the process until a metric is so high."""
        while self.metric(name) < at_least:
            seconds = time.monotonic() - self._started
            if seconds > START_SECONDS_MAX or self._child.process.poll() is not None:
                raise RuntimeError(f"{name} is too low:\n{self._child.log_text()}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - self._started


@contextmanager
def worker_process(
    state: Path, environment: Mapping[str, str], **changes: str
) -> Iterator[WorkerProcess]:
    """Starts it; at the end it is told to stop."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        http = f"127.0.0.1:{probe.getsockname()[1]}"
    started = time.monotonic()
    settings = settings_of(state, http)
    child = Child(
        "worker",
        ["run"],
        log=state.with_suffix(".log"),
        environment={**environment, **settings, **changes},
    )
    try:
        yield WorkerProcess(child, http, started)
    finally:
        child.stop()


def settings_of(state: Path, http: str) -> dict[str, str]:
    """The environment of a worker that reads the canned stream and sends nothing."""
    return {
        "COMEBACK_STREAM": "bench",
        "COMEBACK_START_POSITION": "TRIM_HORIZON",
        "COMEBACK_STATE": str(state),
        "COMEBACK_RULES": str(RULES),
        "COMEBACK_PINPOINT_APPLICATION_ID": "app",
        "COMEBACK_EMAIL_SENDER": "pinpoint",
        "COMEBACK_MAX_STALENESS": "1d",
        "COMEBACK_HTTP": http,
    }
