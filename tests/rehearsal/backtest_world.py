"""A small shop whose events are drawn from a seed, and rules that use everything there is."""

from __future__ import annotations

import json
import random
from pathlib import Path

from worker.backtest.run import as_live
from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, Record
from worker.rules.load import load
from worker.rules.ruleset import RuleSet

START_MS = 1_790_000_000_000
"""2026-09-21T13:33:20Z."""

RULES = """\
apiVersion: v1
defaults:
  activity: {events: ["shop.*"]}
limits:
  user:
    - {max: 1, per: 1d, window: calendar}
    - {max: 3, per: 7d, window: rolling}
    - {min_gap: 4h}
  send_rate:
    - {max: 2, per: 1m}
    - {channel: sms, max: 1, per: 5m}
  budget:
    - {channel: sms, max: 0.2 USD, per: 1d, timezone: UTC, on_exhausted: defer}
    - {max: 0.5 USD, per: 1d, timezone: Europe/Paris, on_exhausted: next_stage}
prices:
  sms: {US: 0.05 USD, DE: 0.09 USD, default: 0.07 USD}
  email: {default: 0.0004 USD}
quiet_hours:
  - name: night
    from: "21:00"
    to: "08:00"
rules:
  - rule: premium
    mode: live
    priority: 10
    match: ['plan="premium"']
    inactive_for: 2d
    max_inactive: 20d
    cooldown: 3d
    holdout: {percent: 20, salt: autumn}
    conversion: {event: "shop.bought", within: 3d}
    stages:
      - name: push
        channel: push
        variants:
          - {name: a, weight: 50, message: {title: Hello, body: "Come back"}}
          - {name: b, weight: 50, message: {title: Hello, body: "We miss you"}}
      - {name: email, after: 1d, channel: email, message: {subject: Hello, text: "Come back"}}
      - name: sms
        after: 1d
        channel: sms
        only_if: ['ltv>="30"']
        on_undeliverable: end
        message: {body: "Come back"}
  - rule: everybody
    mode: live
    inactive_for: 3d
    rollout: 70%
    stages:
      - {name: push, channel: push, message: {title: Hello, body: "There is news"}}
      - {name: sms, after: 2d, channel: sms, message: {body: "There is news"}}
"""

ONE_RULE = """\
apiVersion: v1
prices: {sms: {default: 0.05 USD}}
quiet_hours: [{name: night, from: "21:00", to: "08:00"}]
rules:
  - rule: winback
    mode: shadow
    inactive_for: 2d
    stages:
      - {name: push, channel: push, message: {title: Hi, body: Come back}}
      - {name: sms, after: 1d, channel: sms, message: {body: Come back}}
"""

PLACES = (("Europe/Berlin", "DE"), ("America/New_York", "US"), ("Asia/Tokyo", "JP"), (None, None))


def rules_in(folder: Path, text: str = RULES) -> Path:
    """A rules folder with that text."""
    folder.mkdir(exist_ok=True)
    (folder / "rules.yaml").write_text(text)
    return folder


def rules_of(folder: Path, text: str = RULES) -> RuleSet:
    """Those rules, read, all of them live."""
    return as_live(load(rules_in(folder, text)))


def event(
    user: int,
    at_ms: int,
    kind: str = "_session.start",
    *,
    channel: str = "GCM",
    opted_out: bool = False,
    active: bool = True,
    late_ms: int = 0,
) -> bytes:
    """An event as Pinpoint writes it; `late_ms` is how long it took to arrive at `at_ms`."""
    zone, country = PLACES[user % len(PLACES)]
    address = {
        "GCM": f"token-{user}",
        "EMAIL": f"u{user}@example.com",
        "SMS": f"+1555000{user:04d}",
    }
    document = {
        "event_type": kind,
        "event_timestamp": at_ms - late_ms,
        "arrival_timestamp": at_ms,
        "application": {"app_id": "shop"},
        "client": {"client_id": f"c{user}-{channel}"},
        "endpoint": {
            "ChannelType": channel,
            "Address": address[channel],
            "EndpointStatus": "ACTIVE" if active else "INACTIVE",
            "OptOut": "ALL" if opted_out else "NONE",
            "Demographic": {"Timezone": zone} if zone else {},
            "Location": {"Country": country} if country else {},
            "User": {
                "UserId": f"user-{user}",
                "UserAttributes": {
                    "plan": ["premium" if user % 3 else "free"],
                    "ltv": [str(user * 7 % 100)],
                },
            },
        },
    }
    return json.dumps(document).encode()


def history(seed: int, *, users: int = 30, days: int = 16) -> list[tuple[int, bytes]]:
    """(arrival in ms, event) in order: sessions, silences, returns, opt-outs, dead phones, visits
    that arrive hours late."""
    chance = random.Random(seed)
    told: list[tuple[int, bytes]] = []
    for user in range(users):
        at_ms = START_MS + chance.randrange(2 * DAY_MS)
        channels = chance.sample(("GCM", "EMAIL", "SMS"), chance.choice((1, 2, 3, 3)))
        for channel in channels:
            told.append((at_ms, event(user, at_ms, channel=channel)))
            at_ms += chance.randrange(1_000, MINUTE_MS)
        while at_ms < START_MS + days * DAY_MS:
            channel = chance.choice(channels)
            kind = chance.choice(("_session.start", "shop.viewed", "shop.bought", "_other"))
            told.append(
                (
                    at_ms,
                    event(
                        user,
                        at_ms,
                        kind,
                        channel=channel,
                        opted_out=chance.random() < 0.05,
                        active=chance.random() > 0.05,
                        late_ms=_lateness(chance),
                    ),
                )
            )
            at_ms += chance.choice(
                (
                    chance.randrange(1_000, 6 * HOUR_MS),
                    chance.randrange(DAY_MS, 3 * DAY_MS),
                    chance.randrange(2 * DAY_MS, 9 * DAY_MS),
                )
            )
    told.sort(key=lambda one: one[0])
    return told


def _lateness(chance: random.Random) -> int:
    """Mostly none; hours, days, and now and then a device whose clock is ahead, in ms."""
    kind = chance.random()
    if kind < 0.7:
        return 0
    if kind < 0.85:
        return chance.randrange(9 * HOUR_MS)
    return chance.randrange(4 * DAY_MS) if kind < 0.95 else -chance.randrange(2 * DAY_MS)


def records_of(told: list[tuple[int, bytes]]) -> list[Record]:
    """As they come out of a stream."""
    return [Record(data=data, sequence_number="", arrival_ms=at_ms) for at_ms, data in told]
