"""Child processes of the demo and the acceptance tests: started, read, ended by their own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS_MAX = 15.0
LOG_CHARACTERS_SHOWN = 3_000


class Child:
    """One process we started. Its log goes to a file; its first line may be awaited."""

    def __init__(
        self, module: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                text=True,
            )

    def first_line(self) -> str:
        """The first line of its output: our servers print their address when they listen."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            text = self.log_text()
            raise RuntimeError(f"process {self.process.pid} ended before it was ready:\n{text}")
        return line

    def log_text(self) -> str:
        """The end of what it wrote to standard error."""
        return self._log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]

    def stop(self) -> int:
        """SIGTERM, and SIGKILL if that does not end it. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self._reap()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        self.process.kill()
        self._reap()

    def _reap(self) -> int:
        code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code
