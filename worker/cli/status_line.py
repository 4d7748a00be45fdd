"""What a long command is doing, on standard error: nothing at all when it is quick."""

from __future__ import annotations

import sys

import click

from worker.cli.progress import QUIET_SECONDS, REDRAWN_SECONDS, TOLD_SECONDS
from worker.ports import Clock


class StatusLine:
    """One line that is overwritten, gone when the command is done; where standard error is no
    terminal, a line now and then. A context manager."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_terminal = sys.stderr.isatty()
        self._next = clock.monotonic() + QUIET_SECONDS
        self._drawn = False

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)

    def tell(self, told: str) -> None:
        """Shows what is being done, unless that was just shown."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + (REDRAWN_SECONDS if self._is_terminal else TOLD_SECONDS)
        if self._is_terminal:
            click.echo(f"\r\x1b[K{told}", err=True, nl=False)
            self._drawn = True
        else:
            click.echo(told, err=True)
