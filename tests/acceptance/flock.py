"""Very many simple users for the kill test: they visit in pulses, drift off, and some come back.

Noted is when each visit was in the stream; the judge (`verdict`) goes by that and not by plans.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tests.acceptance.verdict import Life, Step
from worker.sandbox.pinpoint_replies import Reply
from worker.sandbox.provider import Send

COMES_BACK_SECONDS = (0.5, 2.0)
"""How long after a push."""
CALL_SECONDS = 0.3
"""How long the provider takes, so that a kill finds calls under way."""


class Habit(Enum):
    """What a user does, with its share of a hundred users."""

    STAYS = 30
    COMES_BACK = 25
    NEVER = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """How fast a flock lives, and the rules it lives under; seconds."""

    pulse: float
    inactive: int
    after: int

    @property
    def ladder(self) -> tuple[Step, ...]:
        """The stages, as the judge knows them."""
        return (
            Step("push", "GCM", self.inactive * 1_000),
            Step("email", "EMAIL", self.after * 1_000),
            Step("sms", "SMS", self.after * 1_000),
        )

    @property
    def rules(self) -> str:
        """The same as a rule file."""
        return f"""
apiVersion: v1
law_windows: ignore
rules:
  - rule: winback
    mode: live
    inactive_for: {self.inactive}s
    stages:
      - {{name: push, channel: push, message: {{title: Hello, body: Come back}}}}
      - {{name: email, channel: email, after: {self.after}s, message: {{subject: Hi, text: Hi}}}}
      - {{name: sms, channel: sms, after: {self.after}s, message: {{body: Come back}}}}
"""


def kinds_of(number: int) -> tuple[str, ...]:
    """Everybody has a phone, every third an e-mail address too, every ninth a number too: so a
    ladder is cut short at its end only."""
    return ("GCM", "EMAIL", "SMS")[: 1 + (number % 3 == 0) + (number % 9 == 0)]


def address_of(number: int, kind: str) -> str:
    """The address of a user on a channel."""
    match kind:
        case "GCM":
            return f"token-{number:06d}"
        case "EMAIL":
            return f"user-{number:06d}@example.com"
        case _:
            return f"+1555{number:07d}"


def number_of(address: str) -> int:
    """The user an address belongs to."""
    digits = address.removeprefix("+1555").partition("@")[0].rpartition("-")[2]
    return int(digits)


class Flock:
    """All users, and what they are about to do. Times are seconds since `begin_ms`."""

    def __init__(self, *, users: int, tempo: Tempo, chance: random.Random, begin_ms: int) -> None:
        self._tempo = tempo
        self._chance = chance
        self._begin_ms = begin_ms
        self.lives = [Life() for _ in range(users)]
        habits = list(Habit)
        self.habits = chance.choices(habits, [habit.value for habit in habits], k=users)
        self._drifts_at = [
            None if habit is Habit.STAYS else chance.random() for habit in self.habits
        ]
        """As a share of `progress`, so that there is something to send for as long as it takes."""
        self.progress = 0.0
        """From 0 to 1: how much of what is to happen has happened."""
        self.is_back = [False] * users
        self._next = [(chance.uniform(0, tempo.pulse), number) for number in range(users)]
        heapq.heapify(self._next)

    def introductions(self, now_ms: int) -> Iterator[tuple[str, bytes]]:
        """(partition key, record) of everybody's first visit, with every endpoint."""
        for number, life in enumerate(self.lives):
            life.seen_ms.append(now_ms)
            for kind in kinds_of(number):
                yield f"{number}", _event(number, kind, now_ms, whole=True)

    def visits(self, now_ms: int) -> Iterator[tuple[str, bytes]]:
        """(partition key, record) of who visits by now."""
        until = (now_ms - self._begin_ms) / 1_000
        while self._next and self._next[0][0] <= until:
            _, number = heapq.heappop(self._next)
            drifts_at = self._drifts_at[number]
            drifted = drifts_at is not None and self.progress >= drifts_at
            if drifted and not self.is_back[number]:
                continue
            self.lives[number].seen_ms.append(now_ms)
            yield f"{number}", _event(number, "GCM", now_ms, whole=False)
            again = until + self._tempo.pulse * self._chance.uniform(0.6, 1)
            heapq.heappush(self._next, (again, number))

    def receives(self, sends: Sequence[Send]) -> None:
        """Messages arrived; a push brings some back, for good."""
        stage_of = {step.channel_type: step.stage for step in self._tempo.ladder}
        for send in sends:
            number = number_of(send.address)
            self.lives[number].took.append((round(send.time * 1_000), stage_of[send.channel_type]))
            moved = self.habits[number] is Habit.COMES_BACK and send.channel_type == "GCM"
            if moved and not self.is_back[number]:
                self.is_back[number] = True
                at = send.time - self._begin_ms / 1_000 + self._chance.uniform(*COMES_BACK_SECONDS)
                heapq.heappush(self._next, (at, number))

    def gone(self) -> list[int]:
        """Who drifted off, or will, and is not back."""
        return [
            number
            for number, drifts_at in enumerate(self._drifts_at)
            if drifts_at is not None and not self.is_back[number]
        ]


def _event(number: int, kind: str, at_ms: int, *, whole: bool) -> bytes:
    endpoint_id = f"user-{number}-{kind}".lower()
    event = {
        "event_type": "_session.start",
        "event_timestamp": at_ms,
        "arrival_timestamp": at_ms,
        "event_version": "3.1",
        "client": {"client_id": endpoint_id},
    }
    if whole:
        event["endpoint"] = {
            "Id": endpoint_id,
            "ChannelType": kind,
            "Address": address_of(number, kind),
            "EndpointStatus": "ACTIVE",
            "OptOut": "NONE",
            "Demographic": {"Timezone": "Europe/Paris"},
            "User": {"UserId": f"user-{number}"},
        }
    return json.dumps(event).encode()


def always_taken(_address: str, _attempt: int) -> Reply:
    """A provider that takes everything, and its time."""
    return Reply(delay_seconds=CALL_SECONDS)
