"""The only place that reads a clock or sleeps. Everything else is handed a `Clock`."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """The machine's clocks (ports.Clock)."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never go back, whatever happens to the wall clock."""
        return time.monotonic()

    async def sleep(self, seconds: float, wake: asyncio.Event | None = None) -> bool:
        """Waits `seconds`, or until `wake` is set; True when it was woken early."""
        if wake is None:
            await asyncio.sleep(seconds)
            return False
        try:
            async with asyncio.timeout(seconds):
                await wake.wait()
        except TimeoutError:
            return False
        return True
