"""A made-up crowd for the demo: users with habits, drawn from a seed.

Each member opens the app now and then, drifts off at some moment, and comes back (or not) after a
message on the channel that works for them. The crowd knows nothing of the worker: it sees only what
arrives at its addresses, and speaks only through events. Times are seconds since the demo began;
`epoch_ms` turns them into event times.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

SESSION_SECONDS = (1.0, 2.0)
"""An active member opens the app this often."""

DRIFT_SECONDS = (5.0, 15.0)
"""When members drift off."""

REACTION_SECONDS = (0.4, 1.2)
"""How long after a message a member comes back."""

DAY_ZONES = ("Asia/Tokyo", "Europe/Paris", "America/New_York", "Pacific/Auckland", "Asia/Dubai")


class Habit(StrEnum):
    """What kind of user a member is, told as in the summary of the demo."""

    STAYS = "stays active"
    AFTER_PUSH = "comes back after push"
    AFTER_EMAIL = "comes back after e-mail"
    AFTER_SMS = "comes back after SMS"
    NEVER = "never comes back"
    OPTED_OUT = "opted out everywhere"
    DEAD_TOKEN = "push token is dead"  # noqa: S105 - a kind of user, not a password
    NO_PUSH = "has no push address"
    ASLEEP = "is in night hours"


SHARES: tuple[tuple[Habit, int], ...] = (
    (Habit.STAYS, 22),
    (Habit.AFTER_PUSH, 20),
    (Habit.AFTER_EMAIL, 14),
    (Habit.AFTER_SMS, 10),
    (Habit.NEVER, 12),
    (Habit.OPTED_OUT, 6),
    (Habit.DEAD_TOKEN, 6),
    (Habit.NO_PUSH, 6),
    (Habit.ASLEEP, 4),
)

COMES_BACK_AFTER = {
    Habit.AFTER_PUSH: "push",
    Habit.AFTER_EMAIL: "email",
    Habit.AFTER_SMS: "sms",
    Habit.DEAD_TOKEN: "email",
    Habit.NO_PUSH: "email",
}


@dataclass(slots=True)
class Member:
    """One user of the crowd."""

    number: int
    habit: Habit
    timezone: str
    drifts_at: float | None
    returned_at: float | None = None
    in_stream_at: float | None = None
    """When the event that says so was in the stream: from then on the worker can know."""
    introduced: bool = False
    last_event_at: float = 0.0
    received: list[tuple[float, str]] = field(default_factory=list)
    """(seconds, channel) of each message that arrived."""

    @property
    def user_id(self) -> str:
        return f"user-{self.number:05d}"

    def addresses(self) -> dict[str, str]:
        """Channel type to address."""
        token = "dead" if self.habit is Habit.DEAD_TOKEN else "token"
        addresses = {
            "GCM" if self.number % 2 else "APNS": f"{token}-{self.number:05d}",
            "EMAIL": f"{self.user_id}@example.com",
            "SMS": f"+1555{self.number:07d}",
        }
        if self.habit is Habit.NO_PUSH:
            addresses.pop("GCM", None)
            addresses.pop("APNS", None)
        return addresses

    def is_active(self, at: float) -> bool:
        """Does the member use the app at that moment?"""
        drifted = self.drifts_at is not None and at >= self.drifts_at
        return not drifted or (self.returned_at is not None and at >= self.returned_at)


class Crowd:
    """All members, and the events they are about to cause."""

    def __init__(
        self,
        *,
        users: int,
        seed: int,
        now_ms: int,
        drift_seconds: tuple[float, float] = DRIFT_SECONDS,
    ) -> None:
        self._random = random.Random(seed)
        self._epoch_ms = now_ms
        self._by_address: dict[str, Member] = {}
        self._next: list[tuple[float, int]] = []
        self._returning: list[Member] = []
        night = zone_at_hour(now_ms, 2)
        days = [z for z in DAY_ZONES if 9 <= hour_in(z, now_ms) < 20] or [zone_at_hour(now_ms, 13)]
        habits = [habit for habit, _ in SHARES]
        weights = [share for _, share in SHARES]
        self.members: list[Member] = []
        for number in range(users):
            habit = self._random.choices(habits, weights)[0]
            zone = night if habit is Habit.ASLEEP else self._random.choice(days)
            drifts = None if habit is Habit.STAYS else self._random.uniform(*drift_seconds)
            member = Member(number=number, habit=habit, timezone=zone, drifts_at=drifts)
            self.members.append(member)
            for address in member.addresses().values():
                self._by_address[address] = member
            heapq.heappush(self._next, (self._random.uniform(0, SESSION_SECONDS[0]), number))

    def events(self, until: float) -> Iterator[tuple[str, bytes]]:
        """(partition key, record) of everything the crowd does up to that moment."""
        while self._next and self._next[0][0] <= until:
            at, number = heapq.heappop(self._next)
            member = self.members[number]
            if member.is_active(at):
                yield from self._session(member, at)
                heapq.heappush(self._next, (at + self._random.uniform(*SESSION_SECONDS), number))

    def landed(self, at: float) -> None:
        """Everything `events` gave out so far is in the stream, at that moment."""
        for member in self._returning:
            member.in_stream_at = at
        self._returning.clear()

    def receives(self, address: str, channel: str, at: float) -> None:
        """A message arrived at an address; its owner may be moved to come back."""
        member = self._by_address[address]
        member.received.append((at, channel))
        if member.returned_at is None and COMES_BACK_AFTER.get(member.habit) == channel:
            member.returned_at = at + self._random.uniform(*REACTION_SECONDS)
            heapq.heappush(self._next, (member.returned_at, member.number))

    def counts(self, at: float) -> Counter[str]:
        """How many are active, quiet and returned at that moment."""
        counts: Counter[str] = Counter()
        for member in self.members:
            back = member.returned_at is not None and at >= member.returned_at
            counts["returned"] += back
            counts["active" if member.is_active(at) else "quiet"] += 1
        return counts

    def owner(self, address: str) -> Member:
        """Whose address it is."""
        return self._by_address[address]

    def _session(self, member: Member, at: float) -> Iterator[tuple[str, bytes]]:
        """The first session tells of every address; later ones happen on one of them."""
        addresses = list(member.addresses().items())
        if member.introduced:
            addresses = [self._random.choice(addresses)]
        member.introduced = True
        member.last_event_at = at
        if member.returned_at is not None and member.in_stream_at is None:
            self._returning.append(member)
        for channel_type, address in addresses:
            kind = self._random.choice(("_session.start", "_session.stop"))
            event = self._event(member, at, kind, channel_type, address)
            yield f"{member.user_id}-{channel_type}", json.dumps(event).encode()

    def _event(
        self, member: Member, at: float, kind: str, channel_type: str, address: str
    ) -> dict[str, object]:
        at_ms = self._epoch_ms + round(at * 1_000)
        endpoint_id = f"{member.user_id}-{channel_type}".lower()
        return {
            "event_type": kind,
            "event_timestamp": at_ms,
            "arrival_timestamp": at_ms + 5,
            "event_version": "3.1",
            "application": {"app_id": "shop", "sdk": {}},
            "client": {"client_id": endpoint_id},
            "device": {"platform": {}},
            "session": {"session_id": f"{member.number:08x}", "start_timestamp": at_ms},
            "attributes": {},
            "metrics": {},
            "endpoint": {
                "Id": endpoint_id,
                "ChannelType": channel_type,
                "Address": address,
                "EndpointStatus": "ACTIVE",
                "OptOut": "ALL" if member.habit is Habit.OPTED_OUT else "NONE",
                "Demographic": {"Timezone": member.timezone, "Platform": "demo"},
                "Location": {"Country": "US"},
                "User": {
                    "UserId": member.user_id,
                    "UserAttributes": {"FirstName": [f"Guest {member.number}"]},
                },
            },
        }


def hour_in(zone: str, now_ms: int) -> int:
    """The local hour in a zone."""
    return datetime.fromtimestamp(now_ms / 1_000, UTC).astimezone(ZoneInfo(zone)).hour


def zone_at_hour(now_ms: int, hour: int) -> str:
    """A zone in which it is that hour now; the fixed zones of the tz database cover the globe."""
    utc_hour = datetime.fromtimestamp(now_ms / 1_000, UTC).hour
    offset = (hour - utc_hour + 12) % 24 - 12
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


def habits_of(members: Sequence[Member]) -> Counter[Habit]:
    """How many of each kind."""
    return Counter(member.habit for member in members)
