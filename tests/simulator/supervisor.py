"""Keeps the worker alive, as an orchestrator does: starts it, stops it, starts it again."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tests.simulator.process import Process
from tests.simulator.rulebook import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

if TYPE_CHECKING:
    from tests.simulator.world import World

RESTART_MS = ((0.2, 5 * SECOND_MS), (5 * SECOND_MS, 2 * MINUTE_MS), (MINUTE_MS, 6 * HOUR_MS))
"""How long it takes until a process that ended is there again: mostly seconds, at times hours."""


PROCESSES_MAX = 500
"""In one run. More of them end by themselves, again and again."""


class Supervisor:
    """Of one deployment: one process works, at most one more waits."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._numbers = 0
        self._down_ms: int | None = None
        """How long the next end keeps the worker down; None: as usual."""
        self.processes: list[Process] = []
        """Those that have not ended, oldest first."""
        self.when_down: list[Callable[[], object]] = []
        """What happens to the stream while nobody reads it, next time."""

    @property
    def working(self) -> Process | None:
        """The process that has the state."""
        return next((process for process in self.processes if process.working), None)

    def start(self) -> None:
        """One more process."""
        if self._numbers == PROCESSES_MAX:
            self._world.bugs.append("process after process ends by itself")
            self._world.loop.stop()
            return
        self._numbers += 1
        rng = Random(self._rng.getrandbits(64))
        process = Process(self._world, self._numbers, rng, ended=self._ended)
        self.processes.append(process)
        process.start()

    def ensure(self) -> None:
        """At least one is there."""
        if not self.processes:
            self.start()

    def stand_by(self) -> None:
        """A second one comes and waits; the first goes some time later."""
        if len(self.processes) != 1 or self._world.faults.over:
            return
        first = self.processes[0]
        self._world.faults.struck("standby")
        self.start()
        wait_ms = self._rng.choice((10 * SECOND_MS, HOUR_MS, 2 * DAY_MS)) * self._rng.random()
        kills = self._rng.random() < 0.4
        self._world.after_ms(
            wait_ms, lambda: first.kill("a standby waits") if kills else first.stop.set()
        )

    def stop(self) -> None:
        """Asks the working process to end in good order."""
        process = self.working
        if process is not None:
            self._world.faults.struck("stopped")
            process.stop.set()

    def down_long(self) -> None:
        """Ends the worker for hours or days."""
        process = self.working
        if process is None:
            return
        self._world.faults.struck("down_long")
        self._down_ms = round(self._rng.uniform(0.1, 5) * DAY_MS)
        if self._rng.random() < 0.5:
            process.kill("for long")
        else:
            process.stop.set()

    def _ended(self, process: Process) -> None:
        world, rng = self._world, self._rng
        self.processes.remove(process)
        if self.processes:
            for other in self.processes:
                other.clock.recheck()
            return
        low, high = rng.choice((*RESTART_MS[:1] * 3, *RESTART_MS[1:]))
        down_ms = self._down_ms or rng.uniform(low, high)
        if world.faults.over:
            down_ms = 2 * SECOND_MS
        self._down_ms = None
        for act in self.when_down:
            world.after_ms(down_ms * rng.random(), act)
        self.when_down.clear()
        world.after_ms(
            min(down_ms, max(0, world.quiet_end_ms - world.now_ms()) or down_ms), self.ensure
        )
