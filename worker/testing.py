"""Doubles that pass the same contract suites as the real adapters: a clock, a sender.

Part of the product, so that rules and adapters written elsewhere can be tested too. They do no
I/O, and time passes in them only when a test says so.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import types
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import TypeAlias

from worker.model import Channel, Delivery, Outcome, Sent, Uncertain

TURNS_PER_WAKE = 25
"""Loop turns a woken task gets before virtual time moves on: how long a chain of awaits may be
between two sleeps. A turn costs microseconds."""


@types.coroutine
def _turn() -> Generator[None, None, None]:
    """Lets every task that is ready run once."""
    yield


async def settle_tasks() -> None:
    """Gives every task that can run without time passing the turns to do so."""
    for _ in range(TURNS_PER_WAKE):
        await _turn()


class FakeClock:
    """A clock that stands still until it is told to move (ports.Clock).

    `advance` moves wall and monotonic time together and wakes sleepers at their own instants, in
    the order of those instants; `step_wall` moves the wall alone, as an operator or NTP would.
    """

    def __init__(self, now_ms: int = 0) -> None:
        self._wall_offset_ms = now_ms
        self._elapsed_us = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        """Virtual wall clock, milliseconds since the epoch, UTC."""
        return self._wall_offset_ms + self._elapsed_us // 1_000

    def monotonic(self) -> float:
        """Virtual seconds since the clock was made."""
        return self._elapsed_us / 1_000_000

    @property
    def sleeping(self) -> int:
        """How many sleeps are under way."""
        return sum(not timer.done() for _, _, timer in self._sleepers)

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> bool:
        """Waits until virtual time has moved by `seconds`, or `wake` is set; True when woken."""
        if wake is not None and wake.is_set():
            return True
        timer = asyncio.get_running_loop().create_future()
        due_us = self._elapsed_us + max(0, round(seconds * 1_000_000))
        if due_us == self._elapsed_us:
            await _turn()
            return False
        heapq.heappush(self._sleepers, (due_us, next(self._order), timer))
        if wake is None:
            await timer
            return False
        waker = asyncio.ensure_future(wake.wait())
        try:
            await asyncio.wait({timer, waker}, return_when=asyncio.FIRST_COMPLETED)
            return not timer.done()
        finally:
            waker.cancel()
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        """Moves time on, stopping at every sleep that ends on the way to let its task run. Sleeps
        that begin on the way take part too."""
        assert seconds >= 0, "monotonic time never goes back; see step_wall"
        end_us = self._elapsed_us + round(seconds * 1_000_000)
        await settle_tasks()
        while self._sleepers and self._sleepers[0][0] <= end_us:
            due_us, _, timer = heapq.heappop(self._sleepers)
            if timer.done():
                continue
            self._elapsed_us = due_us
            timer.set_result(None)
            await settle_tasks()
        self._elapsed_us = end_us
        await settle_tasks()

    def step_wall(self, delta_ms: int) -> None:
        """Sets the wall clock forward or back; no sleeper notices."""
        self._wall_offset_ms += delta_ms


Script: TypeAlias = Callable[[str], Outcome]
"""Send id to the outcome the provider shall answer."""


class ScriptedSender:
    """A provider that does as it is told (ports.Sender), and remembers what it was asked.

    Unscripted addresses are accepted. `calls` holds every call; `accepted` every delivery whose
    answer may mean that a message went out, which promise P1 allows once per send.
    """

    def __init__(
        self, *, channels: frozenset[Channel] = frozenset(Channel), batch_max: int = 100
    ) -> None:
        self.channels = channels
        self.batch_max = batch_max
        self.calls: list[tuple[Delivery, ...]] = []
        self.accepted: list[Delivery] = []
        self.closed = False
        self.gate = asyncio.Event()
        """Cleared, it keeps calls waiting after the provider has them and before it answers."""
        self.gate.set()
        self._scripts: dict[str, deque[Script]] = {}
        self._called = asyncio.Condition()

    def script(self, address: str, *answers: Script) -> None:
        """The next answers for an address, one a call; afterwards it is accepted again."""
        self._scripts.setdefault(address, deque()).extend(answers)

    def call_kind(self, delivery: Delivery) -> Hashable:
        """Any messages of one channel may share a call here (ports.Sender)."""
        return delivery.claim.channel

    async def send(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        """Answers as scripted (ports.Sender)."""
        assert 1 <= len(deliveries) <= self.batch_max, "a call has its bounds"
        assert len({self.call_kind(delivery) for delivery in deliveries}) == 1
        assert len({delivery.address for delivery in deliveries}) == len(deliveries)
        self.calls.append(tuple(deliveries))
        async with self._called:
            self._called.notify_all()
        outcomes = [self._answer(delivery) for delivery in deliveries]
        await self.gate.wait()
        return outcomes

    async def taken(self, count: int) -> None:
        """Waits until that many deliveries have been handed in."""
        async with self._called:
            await self._called.wait_for(lambda: sum(map(len, self.calls)) >= count)

    async def close(self) -> None:
        """Notes that it was closed."""
        self.closed = True

    def _answer(self, delivery: Delivery) -> Outcome:
        send_id = delivery.claim.send_id
        script = self._scripts.get(delivery.address)
        outcome = script.popleft()(send_id) if script else Sent(send_id=send_id)
        if isinstance(outcome, Sent | Uncertain):
            self.accepted.append(delivery)
        return outcome
