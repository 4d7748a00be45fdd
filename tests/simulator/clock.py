"""The worker's clock: virtual, perhaps wrong, and asleep while nothing happens.

A worker looks every second whether something came. In a world that knows its own future most of
those looks are known to find nothing, and 90 days hold millions of them. So a wait is stretched to
the next moment at which it can find something; a wait that is long is one a real machine may make
too. When something turns up before that moment, the wait is cut back (`recheck`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulator.loop import VirtualLoop


@dataclass(slots=True, eq=False)
class Sleeper:
    """One wait, asked to last until `due` and stretched to `target`."""

    task: str
    seconds: float
    due: float
    wakeable: bool
    target: float
    future: asyncio.Future[bool]
    handle: asyncio.TimerHandle


class WorldTime:
    """The true time: the loop's, as milliseconds since the epoch."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self.loop = loop
        self.start_ms = start_ms

    def now_ms(self) -> int:
        """The world's wall clock."""
        return self.start_ms + round(self.loop.time() * 1_000)

    def seconds(self, at_ms: float) -> float:
        """Loop time of an instant."""
        return (at_ms - self.start_ms) / 1_000


class WorkerClock:
    """What one process takes for the time (ports.Clock). `offset_ms` is how wrong it is."""

    def __init__(
        self,
        time: WorldTime,
        offset_ms: Callable[[], int],
        horizon: Callable[[str, float, float, bool], float],
    ) -> None:
        """`horizon(task, seconds, due, wakeable)` is the earliest loop time at which a wait that
        ends at `due` can find anything."""
        self._time = time
        self._loop = time.loop
        self._offset_ms = offset_ms
        self._horizon = horizon
        self._asleep: dict[Sleeper, None] = {}

    def now_ms(self) -> int:
        """The worker's wall clock, which people and NTP may have set wrong."""
        return self._time.now_ms() + self._offset_ms()

    def monotonic(self) -> float:
        """The loop's own time."""
        return self._loop.time()

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> bool:
        """Waits at least `seconds`, or until `wake` is set; True when woken early."""
        if wake is not None and wake.is_set():
            return True
        if seconds <= 0:
            await asyncio.sleep(0)
            return False
        due = self._loop.time() + seconds
        task = asyncio.current_task()
        name = task.get_name() if task else ""
        target = max(due, self._horizon(name, seconds, due, wake is not None))
        future: asyncio.Future[bool] = self._loop.create_future()
        handle = self._loop.call_at(target, _fire, future)
        sleeper = Sleeper(name, seconds, due, wake is not None, target, future, handle)
        self._asleep[sleeper] = None
        if wake is not None:
            wake._waiters.append(future)
        try:
            return await future
        finally:
            sleeper.handle.cancel()
            del self._asleep[sleeper]
            if wake is not None:
                wake._waiters.remove(future)

    def wakes_at(self, task: str) -> float | None:
        """When the wait of a task ends, as far as is known now; None: it does not wait."""
        for sleeper in self._asleep:
            if sleeper.task == task:
                return sleeper.target
        return None

    def recheck(self) -> None:
        """Something turned up, or is over: waits end when they can find something now."""
        now = self._loop.time()
        # Readers go by when the next sweep is.
        for sleeper in sorted(self._asleep, key=lambda sleeper: sleeper.task != "outbox"):
            if sleeper.future.done() or sleeper.target <= now:
                continue  # its end has come, and what it was to find is not looked for again
            horizon = self._horizon(sleeper.task, sleeper.seconds, sleeper.due, sleeper.wakeable)
            target = max(sleeper.due, horizon, now)
            if target != sleeper.target:
                context = sleeper.handle._context  # type: ignore[attr-defined]
                sleeper.handle.cancel()
                sleeper.target = target
                sleeper.handle = self._loop.call_at(target, _fire, sleeper.future, context=context)


def _fire(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)
