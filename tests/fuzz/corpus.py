"""What is spoilt: one good input of every kind, and every way a stream may wrap an event."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from tests.core import samples
from tests.kinesis.aggregate import aggregate, framed

ROOT: Final = Path(__file__).resolve().parents[2]

EVENTS: Final[Sequence[str]] = tuple(
    json.dumps(event)
    for event in (
        samples.app_event(),
        samples.documented_app_event(),
        samples.custom_event(),
        samples.inapp_event(),
        samples.stream_test_event(),
        *(samples.campaign_event(kind) for kind in ("send", "opened_notification")),
        *(samples.journey_event(kind) for kind in ("send", "opened_notification")),
        *(samples.mail_event(kind) for kind in samples.MAIL_KINDS),
        *(
            samples.sms_event(kind, status)
            for kind, status in (
                ("BUFFERED", "PENDING"),
                ("SUCCESS", "DELIVERED"),
                ("FAILURE", "CARRIER_UNREACHABLE"),
                ("OPTOUT", ""),
            )
        ),
        samples.ses_event("Delivery"),
        samples.ses_event("Click"),
        samples.ses_event("Complaint", {"complainedRecipients": [{"emailAddress": samples.MAIL}]}),
        samples.ses_event(
            "Bounce",
            {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [{"emailAddress": samples.MAIL}],
            },
        ),
        samples.ses_event("Subscription", {"newTopicPreferences": {"unsubscribeAll": True}}),
        samples.text_event(),
        samples.text_event("CARRIER_BLOCKED"),
    )
)
"""One event of every format and of most types, as JSON."""


APP_EVENTS: Final[Sequence[str]] = tuple(
    json.dumps(event)
    for event in (
        {
            "eventType": "opened",
            "userId": samples.USER_ID,
            "deviceId": samples.ENDPOINT_ID,
            "timestamp": samples.EVENT_MS,
            "email": samples.MAIL,
            "phoneNumber": samples.PHONE,
            "deviceToken": samples.TOKEN,
            "pushChannelType": "GCM",
            "emailOptOut": False,
            "timezone": "Asia/Seoul",
            "country": "KR",
            "traits": {"plan": "premium", "likes": ["tea"]},
        },
        {
            "event": {"name": "cart.opened"},
            "user": {"id": samples.USER_ID, "email": samples.MAIL, "phone": samples.PHONE},
            "device": {"id": samples.ENDPOINT_ID, "locale": "ko-KR", "os": "android"},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "properties": {"n": 1},
        },
        {"type": "x", "sub": samples.USER_ID, "ts": samples.EVENT_MS // 1_000},
        samples.app_event(),
    )
)
"""Events as apps write them that never knew Pinpoint."""

_ENDPOINTS: Final = [
    samples.endpoint(),
    samples.endpoint(ChannelType="SMS", Address="15550100042", OptOut="ALL"),
    samples.endpoint(ChannelType="EMAIL", Address=samples.MAIL, EndpointStatus="INACTIVE"),
]
EXPORTS: Final[Sequence[bytes]] = (
    b"\n".join(json.dumps(one).encode() for one in _ENDPOINTS),
    json.dumps(_ENDPOINTS).encode(),
    json.dumps({"Item": _ENDPOINTS}, indent=1).encode(),
    (
        b"ChannelType,Address,Location.Country,User.UserId,User.UserAttributes.plan,"
        b"Attributes.likes,Attributes.likes\r\n"
        b'SMS,15550100042,US,u1,"pre""mium",tea,shoes\r\n'
        b"EMAIL,kim@example.com,DE,u2,,,\r\n"
    ),
)
"""Files of endpoints: one a line, as a list, as one document, as CSV."""

FORMATS: Final = (ROOT / "worker" / "rules" / "event_formats.yaml").read_bytes()
"""The formats that come with comeback."""


def as_text_in(chance: Random, data: bytes) -> str:
    """Bytes as a JSON string has to hold them."""
    return data.decode("utf-8", chance.choice(("replace", "surrogateescape", "ignore")))


def wrapped(chance: Random, data: bytes) -> bytes:
    """An event in one of the ways that streams, queues and log groups carry it."""
    coded = base64.b64encode(data).decode()
    match chance.randrange(13):
        case 0:
            shell: object = {"TopicArn": "arn", "Message": as_text_in(chance, data)}
        case 1:
            shell = {"Records": [{"Sns": {"Message": as_text_in(chance, data)}}] * 2}
        case 2:
            shell = {"Records": [{"kinesis": {"data": coded}}] * chance.choice((1, 3))}
        case 3:
            shell = {"records": [{"recordId": "1", "data": coded}]}
        case 4:
            inner = _parsed(data)
            shell = {"detail-type": "Event", "detail": inner if inner else {}}
        case 5:
            entries = [{"id": "1", "message": as_text_in(chance, data)}, None, 5][
                : chance.choice((1, 3))
            ]
            return gzip.compress(json.dumps({"logEvents": entries}).encode(), mtime=0)
        case 6:
            return gzip.compress(data, mtime=0)
        case 7:
            return zlib.compress(data)
        case 8:
            return gzip.compress(data, mtime=0) + gzip.compress(b"\n" + data, mtime=0)
        case 9:
            return b"\n".join([data] * chance.choice((2, 5)))
        case 10:
            return data + data
        case _:
            return _aggregated(chance, data)
    return json.dumps(shell).encode()


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _aggregated(chance: Random, data: bytes) -> bytes:
    """A KPL aggregate; of a spoilt one the digest may be right all the same."""
    whole = aggregate([("a", data), ("b", data)][: chance.choice((1, 2))])
    if chance.random() < 0.6:
        return whole
    message = bytearray(whole[4:-16])
    for _ in range(chance.choice((1, 3))):
        at = chance.randrange(len(message))
        message[at : at + chance.choice((0, 1, 2))] = chance.randbytes(chance.choice((1, 2, 10)))
    return framed(bytes(message))


RULE_FILES: Final[dict[str, bytes]] = {
    "shop.yaml": (ROOT / "rules" / "shop.yaml").read_bytes(),
    "templates/comeback_email.yaml": (
        ROOT / "rules" / "templates" / "comeback_email.yaml"
    ).read_bytes(),
}
"""The shipped rules, by their name within the folder."""

EVERY_KEY: Final = b"""apiVersion: v1
defaults:
  timezone: Europe/Berlin
  activity: {events: [_session.start, "cart.*"], not_events: [cart.test], max_future_skew: 5m}
  rule: {max_inactive: 60d, on_edit: move}
  stage: {on_uncertain: keep}
law_windows: enforce
limits:
  user:
    - {max: 1, per: 1d, window: calendar}
    - {min_gap: 4h}
  send_rate: [{channel: sms, max: 20, per: 1s}]
  budget: [{channel: sms, max: 200 USD, per: 1d, timezone: UTC, on_exhausted: next_stage}]
prices:
  sms: {default: 0.08 USD, US: 0.00581 USD}
  email: {default: 0.0001 USD}
quiet_hours:
  - name: night
    from: "21:00"
    to: "08:00"
    unknown_timezone: {assume: [country, phone_prefix], else: Europe/Paris}
  - name: office
    match: ['country="DE"']
    allow: {mon-fri: "09:00-12:00, 14:00-20:00", sat: none}
    on_hit: skip
legal_texts:
  - {match: ['country="FR"'], suffix: " STOP"}
rules:
  - rule: winback
    revision: 2
    owner: growth
    labels: {team: a}
    mode: live
    priority: -5
    match: ['plan="premium"', 'ltv>=50', 'city=~"B.*|K.*"', 'name!="x"']
    inactive_for: 7d
    cooldown: 30d
    exit_on: [activity, match_lost, user_deleted]
    holdout: {percent: 5, salt: a}
    rollout: 25
    conversion: {event: cart.paid, within: 7d}
    enabled_from: 2026-01-01T00:00:00Z
    stages:
      - name: push
        channel: push
        ttl: 4h
        on_undeliverable: next_stage
        variants:
          - name: a
            weight: 1
            message: &m {title: Hi, body: '{{User.UserAttributes.x|default("y")}}'}
          - {name: b, weight: 3, message: *m}
      - name: sms
        after: 2d
        channel: sms
        only_if: ['ltv>1']
        max_price: 0.10 USD
        message:
          body: Come back
          locales: {fr: {body: Revenez}, pt-BR: {body: Volte}}
"""
"""A small file with nearly every key there is, so that spoiling it is quick and hits something."""

TEST_FILE: Final = (ROOT / "rules" / "shop.test.yaml").read_bytes()

TEMPLATES: Final[Sequence[str]] = (
    "Hi {{User.UserAttributes.name|default('you')|upper}}!",
    "{% if User.UserAttributes.likes is defined %}{{User.UserAttributes.likes[0]}}{% endif %}",
    "{% for x in User.UserAttributes.likes %}{{loop.index}} {{x|truncate(9)|e}}{% endfor %}",
    "{{Attributes.points|int - 1}} {{Demographic.Timezone|default('UTC')}}",
    "{{User.UserId ~ ' ' ~ Location.Country|default('')|lower}}",
    "<b>{{Attributes.html|escape}}</b>{# a remark #}{{ '%s' }}",
)
