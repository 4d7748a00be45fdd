"""What a checker finds: one broken promise, at one instant, about one user or nobody."""

from __future__ import annotations

from dataclasses import dataclass

SLACK_MS = 3_000
"""What lies between a decision and its call reaching the provider, and between an answer of the
stream and its effect being durable, when nothing is broken: two turns of the loop and a slow
connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One promise that a story does not keep."""

    promise: str
    """P1 to P12, as in ARCHITECTURE.md."""
    at_ms: int
    """When it shows, by the world's clock."""
    says: str
    """What was demanded and what happened instead, in one sentence."""
    user: str | None = None
    address: str | None = None
    records: tuple[int, ...] = ()
    """Numbers of the records it is about."""
    calls: tuple[int, ...] = ()
    """Numbers of the calls it is about."""
