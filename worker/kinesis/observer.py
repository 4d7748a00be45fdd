"""What the source tells about itself while it reads. Counting is somebody else's business.

No metrics library here; `app.py` binds an observer that has one. Every call is cheap and must not
raise.
"""

from __future__ import annotations

from typing import Protocol


class SourceObserver(Protocol):
    """Gets told what happened, once for each time it happens."""

    def answered(self, *, records: int, size_bytes: int, seconds: float) -> None:
        """GetRecords answered: stored records, bytes of their data, time the call took."""

    def failed(self, *, operation: str, code: str) -> None:
        """A call failed with one of `faults.CODES`; throttles are failed calls too."""

    def iterator_rebuilt(self, *, expired: bool) -> None:
        """An iterator was given up: `expired` as the service said so, else before it could."""

    def possibly_lost(self, *, gap_ms: int | None) -> None:
        """Records were trimmed before they could be read; None when nobody knows how many ms."""

    def deaggregated(self, *, user_records: int) -> None:
        """One KPL aggregate was taken apart."""

    def fast_decode(self, *, on: bool) -> None:
        """Whether GetRecords answers are decoded the fast way."""


class SilentObserver:
    """Nobody listens."""

    def answered(self, *, records: int, size_bytes: int, seconds: float) -> None:
        """Not counted."""

    def failed(self, *, operation: str, code: str) -> None:
        """Not counted."""

    def iterator_rebuilt(self, *, expired: bool) -> None:
        """Not counted."""

    def possibly_lost(self, *, gap_ms: int | None) -> None:
        """Not counted."""

    def deaggregated(self, *, user_records: int) -> None:
        """Not counted."""

    def fast_decode(self, *, on: bool) -> None:
        """Not counted."""
