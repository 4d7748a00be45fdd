"""Pace (P7): at most so many sends in any span of time, overall and per channel. Pure counting.

The bound is exact for every span that ends now, by wall clock. Sends that find no room are given a
slot in a later span, so that a crowd that is due at once is looked at again when there is room for
it and not over and over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from worker.model import Channel
from worker.rules.limits import SendRate

INSTANTS_PER_SPAN = 100
"""How finely a span is remembered; sends count up to one part of this longer than they must."""

NOTHING: Mapping[Channel, int] = MappingProxyType({})


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
        followed.forget_slots()
        return followed

    def forget_slots(self) -> None:
        """Nobody comes to the slots that were given: those who had them are due anew."""
        for rate in self._rates:
            rate.forget_slots()

    def free_ms(
        self,
        channel: Channel,
        sends: int,
        now_ms: int,
        *,
        had_slot: bool = False,
        beside: Mapping[Channel, int] = NOTHING,
    ) -> int:
        """When so many sends may go out: `now_ms`, or their slot. `had_slot`: they had one already
        and found it taken, for those before them were late; they come before those who had none.
        `beside`: what the same look is about to start, and nobody has taken yet."""
        free_ms = now_ms
        for rate in self._rates:
            if rate.holds_for(channel):
                also = rate.counted(beside) if beside else 0
                slot_ms = rate.free_ms(sends, now_ms, had_slot=had_slot, beside=also)
                free_ms = max(free_ms, slot_ms)
        return free_ms

    def take(self, channel: Channel, sends: int, now_ms: int) -> None:
        """So many sends go out now."""
        for rate in self._rates:
            if rate.holds_for(channel):
                rate.take(sends, now_ms)

    def reserve(self, channel: Channel, sends: int, now_ms: int, *, had_slot: bool = False) -> None:
        """So many sends were put off to the slot `free_ms` told."""
        for rate in self._rates:
            if rate.holds_for(channel):
                rate.reserve(sends, now_ms, had_slot=had_slot)


class _Rate:
    """One rate: what was sent in its last span, and the slots that are given."""

    def __init__(self, of: SendRate, full_at_ms: int | None) -> None:
        self.of = of
        self._step_ms = max(1, of.per_ms // INSTANTS_PER_SPAN)
        self._sent = _Span()
        self._plans: dict[bool, _Plan] = {}
        """The slots of those who never had one, and of those who did; apart, so that who was kept
        waiting by a late sweep does not go to the end of the queue."""
        if full_at_ms is not None:
            self.take(of.max, full_at_ms)

    def holds_for(self, channel: Channel) -> bool:
        return self.of.channel in (None, channel)

    def counted(self, sends: Mapping[Channel, int]) -> int:
        """How many of them it holds for."""
        return sum(count for channel, count in sends.items() if self.holds_for(channel))

    def free_ms(self, sends: int, now_ms: int, *, had_slot: bool, beside: int) -> int:
        if self._fits(sends, now_ms, beside):
            return now_ms
        slot_ms = self._plan(now_ms, had_slot).slot_ms(self._most(sends), self.of.max, now_ms)
        # What goes beside it is not in the plan. It will be at the next look, which gives a slot.
        return max(slot_ms, now_ms + 1) if beside else slot_ms

    def take(self, sends: int, now_ms: int) -> None:
        self._sent.forget(now_ms)
        self._sent.add(self._end_ms(now_ms), sends)

    def reserve(self, sends: int, now_ms: int, *, had_slot: bool) -> None:
        if self._fits(sends, now_ms):
            return
        plan = self._plan(now_ms, had_slot)
        slot_ms = plan.slot_ms(self._most(sends), self.of.max, now_ms)
        plan.book(slot_ms, sends, self._end_ms(slot_ms))

    def forget_slots(self) -> None:
        self._plans.clear()

    def _fits(self, sends: int, now_ms: int, beside: int = 0) -> bool:
        self._sent.forget(now_ms)
        return self._sent.count + beside + self._most(sends) <= self.of.max

    def _most(self, sends: int) -> int:
        """More than fits a whole span goes out when nothing else is in it: it would wait for
        ever."""
        return min(sends, self.of.max)

    def _plan(self, now_ms: int, had_slot: bool) -> _Plan:
        plan = self._plans.get(had_slot)
        if plan is None or plan.last_ms <= now_ms:
            plan = self._plans[had_slot] = _Plan(self._sent)
        return plan

    def _end_ms(self, at_ms: int) -> int:
        """When a send at that time no longer counts: a span later, at the next remembered
        instant."""
        return -(-(at_ms + self.of.per_ms) // self._step_ms) * self._step_ms


class _Span:
    """The sends of one span: (until when they count, how many), the first to end first; at most
    `INSTANTS_PER_SPAN` + 2 entries."""

    def __init__(self) -> None:
        self.entries: deque[tuple[int, int]] = deque()
        self.count = 0

    def add(self, until_ms: int, sends: int) -> None:
        self.count += sends
        if self.entries and self.entries[-1][0] >= until_ms:
            until_ms, before = self.entries.pop()
            sends += before
        self.entries.append((until_ms, sends))

    def forget(self, now_ms: int) -> None:
        while self.entries and self.entries[0][0] <= now_ms:
            self.count -= self.entries.popleft()[1]


class _Plan:
    """Slots to come: each where those before it no longer count."""

    def __init__(self, sent: _Span) -> None:
        self._span = _Span()
        self._span.entries.extend(sent.entries)
        self._span.count = sent.count
        self.last_ms = 0
        """The last slot; when it has come, the plan is over."""

    def slot_ms(self, sends: int, most: int, now_ms: int) -> int:
        """The next slot for so many."""
        slot_ms, count = max(now_ms, self.last_ms), self._span.count
        for until_ms, ending in self._span.entries:
            if count + sends <= most:
                break
            count -= ending
            slot_ms = max(slot_ms, until_ms)
        return slot_ms

    def book(self, slot_ms: int, sends: int, until_ms: int) -> None:
        """That slot is given."""
        self._span.forget(slot_ms)
        self._span.add(until_ms, sends)
        self.last_ms = slot_ms
