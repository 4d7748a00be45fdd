"""Is this process alive, and is it at work? The answers behind `/-/healthy` and `/-/ready`.

Alive means that the loops turn: an AWS outage, a full disk or a standby's wait are no reason to
restart a container, and a restart would not mend them. At work means that it has begun and does
not drain yet; whether it may send at the moment, the metrics say.

Written by the loops, read by the HTTP port. Not a store of facts: see the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.ports import Clock

LOOP_SILENT_SECONDS_MAX = 120.0
"""A loop at work that has not come round for this long is stuck."""


@dataclass(slots=True)
class Health:
    """What the loops of one process tell of themselves."""

    clock: Clock
    not_ready_because: str | None = "starting"
    _beats: dict[str, float] = field(default_factory=dict)
    """By loop at work: when it last came round, in monotonic seconds."""

    def beat(self, loop: str) -> None:
        """A loop came round, or began a piece of work, and must do so again in time."""
        self._beats[loop] = self.clock.monotonic()

    def rest(self, loop: str) -> None:
        """A loop waits for what may never come, such as a record, or has ended: until it beats
        again nothing is expected of it."""
        self._beats.pop(loop, None)

    def stuck(self) -> list[str]:
        """The loops at work that have not come round for too long, by name."""
        now = self.clock.monotonic()
        return sorted(
            name for name, at in self._beats.items() if now - at > LOOP_SILENT_SECONDS_MAX
        )
