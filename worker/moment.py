"""The instant of a look: everything the ladder may look at that is not about the user.

A value, but for its purse and pace, which count what the looks of one moment use up one after the
other. The ladder only reads them; whoever writes a look's claims tells them. So the looks of a
crowd that is due at once share one budget and one pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.model import Channel, Delivery, Look, Pause
from worker.money import Purse
from worker.pace import Pace
from worker.silences import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant."""

    now_ms: int
    """The present of the stream, by which stages fall due (P4)."""
    wall_ms: int
    """The present of the world, by which it is night (P6) and sends are paced; never before
    `now_ms`."""
    paused: Mapping[str, Pause] = field(default_factory=dict)
    """By channel type."""
    silences: Sequence[Standing] = ()
    purse: Purse = field(default_factory=Purse)
    pace: Pace = field(default_factory=Pace)

    def sends(self, deliveries: Sequence[Delivery]) -> None:
        """These deliveries go out: their money and their room are gone for the next look."""
        starting: dict[Channel, int] = {}
        for delivery in deliveries:
            claim = delivery.claim
            if claim.cost_micros:
                self.purse.take((claim,))
            starting[claim.channel] = starting.get(claim.channel, 0) + 1
        for channel, sends in starting.items():
            self.pace.take(channel, sends, self.wall_ms)

    def puts_off(self, look: Look) -> None:
        """What waits for the sake of the pace gets its slot."""
        for one in look.put_off:
            self.pace.reserve(one.channel, one.sends, self.wall_ms, had_slot=one.had_slot)
