"""A play and everything that happens in it, told in signals and days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.core.timeline import DAY_ZERO_MS, day, rule_set
from worker.model import (
    DAY_MS,
    Activity,
    Applied,
    Conversion,
    DeadLetter,
    Decision,
    Delivery,
    Effect,
    Endpoint,
    Episode,
    EpisodeOutcome,
    Outcome,
    Reason,
    Stop,
)
from worker.rehearsal.play import Observer, Play, Provider, accept
from worker.rules.ruleset import RuleSet

Told = Activity | Endpoint | Stop | Conversion


@dataclass
class Diary(Observer):
    """Everything that happened."""

    calls: list[tuple[float, str, str]] = field(default_factory=list)
    """(day, user, stage) of every call."""
    decisions: list[tuple[float, str, Reason]] = field(default_factory=list)
    """All but waits for a due time."""
    ends: list[tuple[float, str, EpisodeOutcome, Reason]] = field(default_factory=list)
    credited: list[Episode] = field(default_factory=list)
    looks: int = 0
    """Decisions, waits for a due time too."""
    letters: int = 0
    folds: int = 0

    def decided(self, user_id: str, decision: Decision) -> None:
        self.looks += 1
        if decision.reason is not Reason.NOT_YET_DUE:
            self.decisions.append((on(decision.at_ms), user_id, decision.reason))

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        assert outcome.send_id == delivery.claim.send_id
        assert delivery.claim.claimed_ms == at_ms
        self.calls.append((on(at_ms), delivery.claim.user_id, delivery.claim.stage))

    def closed(self, episode: Episode, reason: Reason) -> None:
        assert episode.closed_ms is not None
        assert episode.outcome is not None
        self.ends.append((on(episode.closed_ms), episode.user_id, episode.outcome, reason))

    def converted(self, episode: Episode) -> None:
        self.credited.append(episode)

    def applied(self, applied: Applied, at_ms: int) -> None:
        self.folds += 1

    def buried(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += len(letters)


def on(at_ms: int) -> float:
    """An instant as a day since day 0."""
    return round((at_ms - DAY_ZERO_MS) / DAY_MS, 9)


def told(*signals: Told) -> Effect:
    """Signals as one effect."""
    return Effect(
        activities=tuple(s for s in signals if isinstance(s, Activity)),
        endpoints=tuple(s for s in signals if isinstance(s, Endpoint)),
        stops=tuple(s for s in signals if isinstance(s, Stop)),
        conversions=tuple(s for s in signals if isinstance(s, Conversion)),
    )


def seen(user_id: str, at: float) -> Activity:
    """A user was here on a day."""
    return Activity(at_ms=day(at), event_type="_session.start", user_id=user_id)


def reach(user_id: str, *channels: str, at: float = 0) -> tuple[Endpoint, ...]:
    """Addresses of a user: push, email, sms unless named."""
    known = {
        "push": ("GCM", f"token-{user_id}"),
        "email": ("EMAIL", f"{user_id}@example.com"),
        "sms": ("SMS", "+1555" + user_id.encode().hex()),
    }
    return tuple(
        Endpoint(
            endpoint_id=f"{channel}-{user_id}",
            at_ms=day(at),
            user_id=user_id,
            channel_type=known[channel][0],
            address=known[channel][1],
            timezone="UTC",
        )
        for channel in channels or known
    )


def play(rules: RuleSet | None = None, provider: Provider = accept) -> tuple[Play, Diary]:
    """A play from day 0, and what happens in it."""
    diary = Diary()
    return Play(rules or rule_set(), provider=provider, observer=diary, start_ms=day(0)), diary
