"""A stream in which everything that must stay inside carries a mark, and a provider that quotes it.

The users live through all there is: sends on every channel, refusals, templates without a value,
opt-outs, clicks, bounces; between them comes what nobody can read.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.acceptance.world import World, now_ms, pause
from tests.core import samples
from tests.fuzz.corpus import wrapped
from tests.fuzz.mutations import spoil_bytes, spoil_tokens, spoil_tree
from tests.security.marks import mark
from worker.sandbox.pinpoint_replies import Fault, Reply

RULES = f"""apiVersion: v1
law_windows: ignore
prices: {{sms: {{default: 0.05 USD}}}}
rules:
  - rule: winback
    mode: live
    inactive_for: 3s
    match: ['city!="nowhere"']
    stages:
      - name: push
        channel: push
        message:
          title: {mark("message text")}
          body: Hi {{{{User.UserAttributes.first_name|default("you")}}}} {mark("message text")}
      - name: email
        after: 1s
        channel: email
        message:
          subject: To {{{{User.UserAttributes.first_name}}}} {mark("message text")}
          html: <p>{{{{Attributes.plan|default("-")}}}} {mark("message text")}
      - name: sms
        after: 1s
        channel: sms
        message: {{body: '{mark("message text")} {{{{User.UserAttributes.points|int + 1}}}}'}}
"""

STATUSES = (
    *("SUCCESSFUL", "PERMANENT_FAILURE", "TEMPORARY_FAILURE", "OPT_OUT", "THROTTLED"),
    *("UNKNOWN_FAILURE", "DUPLICATE"),
)
USERS = 30


def address(number: int, channel_type: str) -> str:
    """An address of a user."""
    match channel_type:
        case "EMAIL":
            return f"{mark('mail address')}-{number}@example.com"
        case "SMS":
            return f"+1{mark('phone number')}{number:03d}"
        case _:
            return f"{mark('token')}-{number}"


def visit(number: int, channel_type: str) -> dict[str, Any]:
    """A user shows up on an endpoint; every value that is theirs carries a mark."""
    at = now_ms()
    endpoint_id = f"{mark('endpoint id')}-{number}-{channel_type}"
    names = {"first_name": [mark("name")], "points": [mark("user attribute")]}
    return samples.app_event(
        event_timestamp=at,
        arrival_timestamp=at,
        attributes={"note": mark("event attribute")},
        client={"client_id": endpoint_id, "cognito_id": mark("event attribute")},
        endpoint=samples.endpoint(
            Id=endpoint_id,
            ChannelType=channel_type,
            Address=address(number, channel_type),
            Location={"City": mark("city"), "Country": "USA", "PostalCode": mark("city")},
            Demographic={"Timezone": mark("city"), "Locale": "en_US"},
            Attributes={"plan": [mark("attribute")], mark("attribute"): ["x"]},
            User={
                "UserId": f"{mark('user id')}-{number}",
                "UserAttributes": names if number % 3 else {},
            },
        ),
    )


def told_of_messages(number: int) -> Iterator[dict[str, Any]]:
    """Events about messages to a user, in all formats; their texts quote whatever they like."""
    mail, phone = address(number, "EMAIL"), address(number, "SMS")
    for kind in samples.MAIL_KINDS:
        event = json.dumps(samples.mail_event(kind, arrival_timestamp=now_ms()))
        event = event.replace("250 ok", mark("text of the provider"))
        yield json.loads(event.replace(samples.MAIL, mail))
    for kind in ("BUFFERED", "SUCCESS", "FAILURE", "OPTOUT"):
        event = json.dumps(samples.sms_event(kind, mark("text of the provider")))
        yield json.loads(event.replace(samples.PHONE, phone))
    yield json.loads(json.dumps(samples.text_event()).replace(samples.PHONE, phone))
    yield json.loads(json.dumps(samples.ses_event("Complaint")).replace(samples.MAIL, mail))


def malformed(seed: int, times: int) -> Iterator[bytes]:
    """Records that hold marks, and of which most cannot be read."""
    broken = mark("malformed record")
    yield from (
        broken.encode(),
        f'{{"event_type": "{broken}'.encode(),
        f'{{"event_type": ["{broken}"], "endpoint": "{broken}"}}'.encode(),
        f'{{"{broken}": "{address(1, "EMAIL")}"}}'.encode(),
        f'{{"event_type": "_session.start", "endpoint": "{{{broken}"}}'.encode(),
        f'{{"event_type": "_session.start", "event_timestamp": "{broken}"}}'.encode(),
        f'{{"event_type": "_email.click", "attributes": "{broken}"}}'.encode(),
        gzip.compress(broken.encode())[:-4],
        json.dumps({"TopicArn": broken, "Message": broken}).encode(),
        json.dumps({"Records": [{"kinesis": {"data": broken}}]}).encode(),
        base64.b64encode(broken.encode()),
        b"\xf3\x89\x9a\xc2" + broken.encode() * 9,
        broken.encode("utf-16"),
    )
    chance = Random(seed)
    for _ in range(times):
        tree = spoil_tree(chance, visit(chance.randrange(USERS), "EMAIL"))
        data = json.dumps(tree).encode()
        for spoil in (spoil_tokens, spoil_bytes, wrapped):
            if chance.random() < 0.5:
                data = spoil(chance, data)
        yield data


def reply_to(number: int) -> Reply:
    """How the provider answers a user: every status, and always quoting."""
    return Reply(
        status=STATUSES[number % len(STATUSES)],
        code=400,
        message=_quoting(number),
        updated_token=f"{mark('new token')}-{number}",
    )


def _quoting(number: int) -> str:
    return f"{mark('text of the provider')} {address(number, 'EMAIL')} {address(number, 'GCM')}"


def pour(one: World, *, seed: int = 1) -> None:
    """Users, what is told of messages to them, and what nobody can read, all into the stream."""
    for number in range(USERS):
        _show_up(one, number, reply_to(number))
        if number % 5 == 4:
            one.put(*told_of_messages(number))
    for place, data in enumerate(malformed(seed, 150)):
        one.stream.put(data, partition_key=str(place), now_ms=now_ms())


async def pour_faults(one: World) -> None:
    """Users whose whole call goes wrong, one kind of fault after the other: those who fall due
    together share a call."""
    for number, fault in enumerate(Fault, start=USERS):
        _show_up(one, number, Reply(fault=fault, message=_quoting(number)))
        await pause(0.3)


def _show_up(one: World, number: int, reply: Reply) -> None:
    for channel_type in ("GCM", "EMAIL", "SMS"):
        one.pinpoint.behaviours[address(number, channel_type)] = lambda *_: reply
        one.put(visit(number, channel_type))
