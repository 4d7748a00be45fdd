"""Is this process alive, and is it at work? The answers behind `/-/healthy` and `/-/ready`.

Alive means that the loops turn: an AWS outage, a full disk or a standby's wait are no reason to
restart a container, and a restart would not mend them. At work means that it reads and may send.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.ports import Clock

LOOP_SILENT_SECONDS_MAX = 120.0
"""A loop that has not come round for this long is stuck."""


@dataclass(slots=True)
class Health:
    """Written by the loops, read by the HTTP port. Not a store of facts: see the metrics."""

    clock: Clock
    not_ready_because: str | None = "starting"
    beats: dict[str, float] = field(default_factory=dict)

    def beat(self, loop: str) -> None:
        """A loop came round."""
        self.beats[loop] = self.clock.monotonic()

    def stuck(self) -> list[str]:
        """The loops that have not come round for too long."""
        now = self.clock.monotonic()
        return [name for name, at in self.beats.items() if now - at > LOOP_SILENT_SECONDS_MAX]
