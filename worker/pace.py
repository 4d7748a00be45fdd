"""Pace (P7): at most so many sends in any span of time, overall and per channel. Pure counting.

The bound is exact for every span that ends now, by wall clock. Sends that find no room are given a
slot in a later span, so that a crowd that is due at once is looked at again when there is room for
it and not over and over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from worker.model import Channel
from worker.rules.limits import SendRate

INSTANTS_PER_SPAN = 100
"""How finely a span is remembered; sends count up to one part of this longer than they must."""


class Pace:
    """The rates of a rule set, and what was sent of late. Owned by whoever starts calls: it must
    `take` what it starts and `reserve` for what it puts off."""

    def __init__(self, rates: Sequence[SendRate] = (), *, full_at_ms: int | None = None) -> None:
        """`full_at_ms`: nobody knows what was sent before, so count as if it was all there is room
        for. None: nothing was sent before."""
        self._rates = [_Rate(rate, full_at_ms) for rate in rates]

    def following(self, before: Pace, *, now_ms: int) -> Pace:
        """This pace, going on where the one of the former rule set stands; rates that are new begin
        full, for nobody counted for them."""
        known = {rate.of: rate for rate in before._rates}
        followed = Pace()
        followed._rates = [known.get(rate.of) or _Rate(rate.of, now_ms) for rate in self._rates]
        return followed

    def free_ms(self, channel: Channel, sends: int, now_ms: int) -> int:
        """When so many sends may go out: `now_ms`, or their slot."""
        slots = [rate.free_ms(sends, now_ms) for rate in self._rates if rate.holds_for(channel)]
        return max(slots, default=now_ms)

    def take(self, channel: Channel, sends: int, now_ms: int) -> None:
        """So many sends go out now."""
        for rate in self._rates:
            if rate.holds_for(channel):
                rate.take(sends, now_ms)

    def reserve(self, channel: Channel, sends: int, now_ms: int) -> None:
        """So many sends were put off to the slot `free_ms` told."""
        for rate in self._rates:
            if rate.holds_for(channel) and rate.free_ms(sends, now_ms) > now_ms:
                rate.reserve(sends, now_ms)


class _Rate:
    """One rate: the sends of its last span, and the slot that is being filled."""

    def __init__(self, of: SendRate, full_at_ms: int | None) -> None:
        self.of = of
        self._step_ms = max(1, of.per_ms // INSTANTS_PER_SPAN)
        self._sent: deque[tuple[int, int]] = deque()
        """(until when they count, sends), oldest first; at most `INSTANTS_PER_SPAN` + 2 entries."""
        self._count = 0
        self._slot_ms = 0
        self._slot_taken = 0
        if full_at_ms is not None:
            self.take(of.max, full_at_ms)

    def holds_for(self, channel: Channel) -> bool:
        return self.of.channel in (None, channel)

    def free_ms(self, sends: int, now_ms: int) -> int:
        self._forget(now_ms)
        # More than fits a whole span goes out when nothing else is in it: it would wait for ever.
        return (
            now_ms
            if self._count + min(sends, self.of.max) <= self.of.max
            else (self._slot(sends, now_ms)[0])
        )

    def take(self, sends: int, now_ms: int) -> None:
        self._forget(now_ms)
        until_ms = -(-(now_ms + self.of.per_ms) // self._step_ms) * self._step_ms
        self._count += sends
        if self._sent and self._sent[-1][0] >= until_ms:
            until_ms, before = self._sent.pop()
            sends += before
        self._sent.append((until_ms, sends))

    def reserve(self, sends: int, now_ms: int) -> None:
        self._slot_ms, taken = self._slot(sends, now_ms)
        self._slot_taken = taken + sends

    def _slot(self, sends: int, now_ms: int) -> tuple[int, int]:
        """The slot with room for so many, and what is taken of it."""
        if self._slot_ms <= now_ms:
            return now_ms + self.of.per_ms, 0
        if self._slot_taken and self._slot_taken + sends > self.of.max:
            return self._slot_ms + self.of.per_ms, 0
        return self._slot_ms, self._slot_taken

    def _forget(self, now_ms: int) -> None:
        while self._sent and self._sent[0][0] <= now_ms:
            self._count -= self._sent.popleft()[1]
