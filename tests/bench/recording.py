"""A recording of made-up users: events of some weeks as Pinpoint wrote them, drawn from a seed."""

from __future__ import annotations

import gzip
import heapq
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from worker.model import DAY_MS, HOUR_MS

START_MS = 1_790_000_000_000
"""2026-09-21T13:33:20Z."""

PLACES = (
    ("Europe/Berlin", "DE", "de_DE"),
    ("Europe/Paris", "FR", "fr_FR"),
    ("America/New_York", "US", "en_US"),
    ("America/Los_Angeles", "US", "en_US"),
    ("Asia/Tokyo", "JP", "ja_JP"),
    ("Asia/Kolkata", "IN", "en_IN"),
)
CHANNELS = (("GCM", "token-{}"), ("EMAIL", "user-{}@example.com"), ("SMS", "+1555{:07d}"))


def event(user: int, at_ms: int, kind: str, channel: int = 0, opted_out: bool = False) -> bytes:
    """One event of a session, about 1.3 kB, with the user's endpoint on a channel."""
    zone, country, locale = PLACES[user % len(PLACES)]
    channel_type, address = CHANNELS[channel]
    return json.dumps(
        {
            "event_type": kind,
            "event_timestamp": at_ms - 40,
            "arrival_timestamp": at_ms,
            "event_version": "3.1",
            "application": {
                "app_id": "shop",
                "cognito_identity_pool_id": "eu-west-1:00000000",
                "package_name": "com.example.shop",
                "sdk": {"name": "aws-sdk-android", "version": "2.22.0"},
                "title": "Shop",
                "version_name": "7.4.1",
                "version_code": "741",
            },
            "client": {"client_id": f"c{user}-{channel}", "cognito_id": "eu-west-1:1111"},
            "device": {
                "locale": {"code": locale, "country": country, "language": locale[:2]},
                "make": "ACME",
                "model": "One",
                "platform": {"name": "android", "version": "14"},
            },
            "session": {"session_id": f"s{user}-{at_ms}", "start_timestamp": at_ms - 100},
            "attributes": {"screen": "home", "campaign": "none"},
            "metrics": {"cart": float(user % 7)},
            "endpoint": {
                "ChannelType": channel_type,
                "Address": address.format(user),
                "EndpointStatus": "ACTIVE",
                "OptOut": "ALL" if opted_out else "NONE",
                "RequestId": f"{user}",
                "EffectiveDate": f"{at_ms // (6 * HOUR_MS)}",
                "Location": {"Country": country, "City": "Town", "PostalCode": "12345"},
                "Demographic": {
                    "AppVersion": "7.4.1",
                    "Locale": locale,
                    "Make": "ACME",
                    "Model": "One",
                    "Platform": "android",
                    "PlatformVersion": "14",
                    "Timezone": zone,
                },
                "Attributes": {"interests": ["shoes", "hats"]},
                "Metrics": {"cart": 1.0},
                "User": {
                    "UserId": f"user-{user}",
                    "UserAttributes": {
                        "plan": ["premium" if user % 3 else "free"],
                        "first_name": [f"Guest {user}"],
                        "ltv": [str(user % 100)],
                    },
                },
            },
            "awsAccountId": "000000000000",
        },
        separators=(",", ":"),
    ).encode()


def events(*, users: int, days: int, count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """(arrival in ms, event), in order; about `count` of them. A third of the users go quiet for
    good at some moment, a third for some time."""
    chance = random.Random(seed)
    length_ms = days * DAY_MS
    per_user = count / users
    coming: list[tuple[int, int]] = []
    quiet: dict[int, tuple[int, int]] = {}
    for user in range(users):
        heapq.heappush(coming, (chance.randrange(min(2 * DAY_MS, length_ms)), user))
        if user % 3 == 0:
            quiet[user] = (chance.randrange(length_ms), 2 * length_ms)
        elif user % 3 == 1:
            begin = chance.randrange(length_ms)
            quiet[user] = (begin, begin + chance.randrange(3 * DAY_MS, 16 * DAY_MS))
    pause_ms = round(length_ms / per_user * 0.75)
    introduced: dict[int, int] = {}
    while coming:
        at_ms, user = heapq.heappop(coming)
        if at_ms >= length_ms:
            continue
        begin_ms, end_ms = quiet.get(user, (length_ms, 0))
        if begin_ms <= at_ms < end_ms:
            heapq.heappush(coming, (end_ms, user))
            continue
        channel = introduced.get(user, 0)
        introduced[user] = min(channel + 1, 3)
        kind = chance.choice(("_session.start", "_session.stop", "shop.viewed"))
        yield START_MS + at_ms, event(user, START_MS + at_ms, kind, channel if channel < 3 else 0)
        gap_ms = 60_000 if channel < 3 else chance.randrange(1, 2 * pause_ms)
        heapq.heappush(coming, (at_ms + min(gap_ms, 6 * DAY_MS), user))


def write(path: Path, *, users: int, days: int, count: int, seed: int = 1) -> int:
    """Writes a recording; returns how many events it has."""
    number = 0
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        for _, data in events(users=users, days=days, count=count, seed=seed):
            file.write(data + b"\n")
            number += 1
    return number


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), users=int(sys.argv[2]), days=30, count=int(sys.argv[3])))
