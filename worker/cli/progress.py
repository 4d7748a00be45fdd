"""How far a long command is, on standard error: a line redrawn, or a line now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from worker.ports import Clock

QUIET_SECONDS: Final = 2.0
"""What takes less needs no bar."""
REDRAWN_SECONDS: Final = 0.2
TOLD_SECONDS: Final = 10.0
"""Between lines when standard error is no terminal."""
WIDTH: Final = 30


class Progress:
    """Told often, it speaks seldom."""

    def __init__(self, clock: Clock, *, is_terminal: bool, unit: str = "records") -> None:
        """`unit` is what is counted, in the plural."""
        self._clock = clock
        self._begun = clock.monotonic()
        self._is_terminal = is_terminal
        self._next = self._begun + QUIET_SECONDS
        self._drawn = False
        self._unit = unit

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock.monotonic() - self._begun

    def at(self, share: Callable[[], float | None], count: int, told: Callable[[], str]) -> None:
        """`count` of them are done; `share` of all, 0 to 1 or not known, and `told` are asked for
        only when there is something to draw."""
        now = self._clock.monotonic()
        if now < self._next:
            return
        self._next = now + (REDRAWN_SECONDS if self._is_terminal else TOLD_SECONDS)
        part = share()
        done = "" if part is None else f"{_bar(part)} {part:4.0%}  "
        line = f"{done}{count:,} {self._unit}, {count / self.seconds:,.0f}/s, {told()}"
        if self._is_terminal:
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
            self._drawn = True
        else:
            click.echo(line, err=True)

    def end(self, count: int) -> None:
        """All is done."""
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
        if self.seconds >= QUIET_SECONDS:
            rate = count / self.seconds
            click.echo(f"{count:,} {self._unit} in {self.seconds:,.1f} s, {rate:,.0f}/s", err=True)


def _bar(part: float) -> str:
    full = round(min(1.0, part) * WIDTH)
    return "━" * full + "╺" * (WIDTH - full)
