"""Which deliveries share a provider call. Bookkeeping of one sweep; no I/O.

A claim is written only for a call that starts at once, so that a kill leaves no more claims in
doubt than there were calls under way. Therefore a sweep asks, look by look, whether what the look
wants to send still fits the calls that are free.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.model import Channel, Delivery
from worker.ports import Sender


@dataclass(slots=True, eq=False)
class Call:
    """One provider call to be made: one channel, one kind, distinct addresses."""

    sender: Sender
    channel: Channel
    kind: Hashable
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    """By address, for addresses are the keys of a call."""

    def takes(self, delivery: Delivery) -> bool:
        """Is there room, and is the address not in the call yet?"""
        return not self.is_full and delivery.address not in self.deliveries

    @property
    def is_full(self) -> bool:
        """Has it as many deliveries as it can carry?"""
        return len(self.deliveries) >= self.sender.batch_max


class Packing:
    """Fills at most `calls_max` calls. `idle`: no other call is under way."""

    def __init__(self, senders: Mapping[Channel, Sender], *, calls_max: int, idle: bool) -> None:
        self._senders = senders
        self._calls_max = calls_max
        self._idle = idle
        self._calls: list[Call] = []
        self._open: dict[tuple[Channel, Hashable], list[Call]] = {}

    @property
    def calls(self) -> Sequence[Call]:
        """What to send, each with at least one delivery."""
        return self._calls

    def admits(self, deliveries: Sequence[Delivery]) -> bool:
        """Places the deliveries of one user, or none of them.

        A user who needs more calls than there are is admitted when nothing else is under way:
        waiting would never make room.
        """
        placed: list[tuple[Call, Delivery]] = []
        fresh: list[Call] = []
        for delivery in deliveries:
            call = self._call_for(delivery, fresh)
            call.deliveries[delivery.address] = delivery
            placed.append((call, delivery))
        first_of_all = self._idle and not self._calls
        if len(self._calls) + len(fresh) > self._calls_max and not first_of_all:
            for call, delivery in placed:
                del call.deliveries[delivery.address]
            return False
        for call in fresh:
            self._calls.append(call)
            self._open.setdefault((call.channel, call.kind), []).append(call)
        for call, _ in placed:
            if call.is_full:
                self._close(call)
        return True

    def _close(self, call: Call) -> None:
        """A full call is not asked again."""
        same_kind = self._open[call.channel, call.kind]
        if call in same_kind:
            same_kind.remove(call)

    def _call_for(self, delivery: Delivery, fresh: list[Call]) -> Call:
        channel = delivery.claim.channel
        sender = self._senders[channel]
        kind = sender.call_kind(delivery)
        for call in self._open.get((channel, kind), ()):
            if call.takes(delivery):
                return call
        for call in fresh:
            if call.channel is channel and call.kind == kind and call.takes(delivery):
                return call
        call = Call(sender=sender, channel=channel, kind=kind)
        fresh.append(call)
        return call
