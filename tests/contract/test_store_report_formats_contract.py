"""From the bytes of a delivery report to the claim it is about: every format, bare and wrapped."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.core import samples
from tests.core.event_reading import folded
from tests.core.samples import MAIL, MESSAGE_ID, PHONE, SEND_ID, as_record
from tests.store.world import World, mailbox, phone, seen
from worker.model import (
    Channel,
    ClaimState,
    Endpoint,
    ReceiptStatus,
    Sent,
    Signal,
    Uncertain,
    address_hash_of,
)
from worker.rules.ruleset import ActivityPolicy

REPORTS: dict[str, tuple[Channel, dict[str, Any]]] = {
    "Pinpoint mail": (Channel.EMAIL, samples.mail_event("delivered")),
    "Pinpoint SMS": (Channel.SMS, samples.sms_event()),
    "SES": (Channel.EMAIL, samples.ses_event("Delivery")),
    "End User Messaging": (Channel.SMS, samples.text_event()),
}


def sns(data: bytes) -> bytes:
    topic = "arn:aws:sns:eu-west-1:123456789012:reports"
    envelope = {"Type": "Notification", "TopicArn": topic, "Message": data.decode()}
    return json.dumps(envelope).encode()


def event_bridge(data: bytes) -> bytes:
    envelope = {
        "version": "0",
        "detail-type": "Report",
        "source": "aws",
        "detail": json.loads(data),
    }
    return json.dumps(envelope).encode()


def firehose(data: bytes) -> bytes:
    records = [{"recordId": "1", "data": base64.b64encode(data).decode()}]
    return json.dumps({"records": records}).encode()


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "bare": bytes,
    "Firehose lines": lambda data: b'{"event_type":"_test.event_stream"}\n' + data + b"\n",
    "Firehose, one after the other": lambda data: b'{"event_type":"_test.event_stream"}' + data,
    "Firehose transform": firehose,
    "EventBridge": event_bridge,
    "SNS": sns,
    "SNS in EventBridge": lambda data: event_bridge(sns(data)),
    "gzip": gzip.compress,
}


def signals_of(data: bytes) -> tuple[Signal, ...]:
    effect = folded([as_record(data=data)], ActivityPolicy())
    return (*effect.endpoints, *effect.activities, *effect.stops, *effect.receipts)


def address_of(channel: Channel) -> str:
    return MAIL if channel is Channel.EMAIL else PHONE


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("report", REPORTS)
async def test_a_report_settles_an_uncertain_send_by_our_send_id(
    world: World, report: str, wrapper: Callable[[bytes], bytes]
) -> None:
    channel, event = REPORTS[report]
    if report == "Pinpoint mail":
        # Pinpoint gives a mail's Context back in its client context.
        event = {**event, "client_context": {"custom": {"send_id": SEND_ID}}}
    address_hash = address_hash_of(address_of(channel))
    (send_id,) = await world.claimed("ann", channel=channel, address_hash=address_hash)
    await world.settle(Uncertain(send_id=send_id, detail="x"), state=ClaimState.UNCERTAIN, on=7)
    data = wrapper(json.dumps(event).replace(SEND_ID, send_id).encode())
    assert (await world.tell(*signals_of(data), on=8)).receipts_matched == 1
    (claim,) = (await world.view_of("ann")).claims
    assert (claim.state, claim.receipt) == (ClaimState.SENT, ReceiptStatus.DELIVERED)


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("report", REPORTS)
async def test_a_report_finds_its_send_by_the_message_and_the_destination(
    world: World, report: str, wrapper: Callable[[bytes], bytes]
) -> None:
    channel, event = REPORTS[report]
    others = ("other@example.com", "+15550100999")
    other = others[channel is Channel.SMS]
    address_hash = address_hash_of(address_of(channel))
    (ann,) = await world.claimed("ann", channel=channel, address_hash=address_hash)
    (bob,) = await world.claimed("bob", channel=channel, address_hash=address_hash_of(other))
    for send_id in (ann, bob):
        sent = Sent(send_id=send_id, message_id=MESSAGE_ID)
        await world.settle(sent, state=ClaimState.SENT, on=7)
    data = wrapper(json.dumps(event).replace(SEND_ID, "").encode())
    await world.tell(*signals_of(data), on=8)
    receipts = [(await world.view_of(user)).claims[0].receipt for user in ("ann", "bob")]
    assert receipts == [ReceiptStatus.DELIVERED, None]


BOUNCES = {
    "Pinpoint": samples.mail_event("hardbounce"),
    "SES": samples.ses_event(
        "Bounce",
        {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": MAIL}]},
    ),
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("report", BOUNCES)
async def test_a_bounce_of_a_shared_address_stops_it_for_everybody_who_has_it(
    world: World, report: str, wrapper: Callable[[bytes], bytes]
) -> None:
    for user in ("ann", "bob", "cleo"):
        address = MAIL if user != "cleo" else "cleo@example.com"
        await world.tell(seen(user, 0), phone(user), mailbox(user, address))
    data = wrapper(json.dumps(BOUNCES[report]).encode())
    await world.tell(*signals_of(data), on=8)

    def suppressed(endpoints: tuple[Endpoint, ...]) -> list[bool]:
        return [e.suppressed is not None for e in endpoints if e.channel is Channel.EMAIL]

    stopped = [suppressed((await world.view_of(user)).endpoints) for user in ("ann", "bob", "cleo")]
    assert stopped == [[True], [True], [False]]
