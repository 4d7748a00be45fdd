"""What mail and SMS events of three formats say of a message: receipts and stops."""

from __future__ import annotations

import json

import pytest

from tests.core import samples
from tests.core.event_reading import read, reasons, signals
from tests.core.samples import ARRIVAL_MS, EVENT_MS, MAIL, MESSAGE_ID, PHONE, SEND_ID, Event
from worker.model import Activity, Channel, DeadReason, Receipt, ReceiptStatus, Stop, StopReason

MAIL_STOPS = [
    (samples.mail_event("hardbounce"), StopReason.HARD_BOUNCED, ARRIVAL_MS),
    (samples.mail_event("complaint"), StopReason.COMPLAINED, ARRIVAL_MS),
    (samples.mail_event("unsubscribe"), StopReason.UNSUBSCRIBED, ARRIVAL_MS),
    (
        samples.ses_event(
            "Bounce",
            {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": MAIL.upper()}]},
        ),
        StopReason.HARD_BOUNCED,
        EVENT_MS + 1_250,
    ),
    (
        samples.ses_event("Complaint", {"complainedRecipients": [{"emailAddress": MAIL}]}),
        StopReason.COMPLAINED,
        EVENT_MS + 1_250,
    ),
    (
        samples.ses_event("Subscription", {"newTopicPreferences": {"unsubscribeAll": True}}),
        StopReason.UNSUBSCRIBED,
        EVENT_MS + 1_250,
    ),
]


def stops(event: object) -> list[Stop]:
    return [signal for signal in signals(event) if isinstance(signal, Stop)]


@pytest.mark.parametrize(("event", "reason", "at_ms"), MAIL_STOPS)
def test_a_hard_bounce_a_complaint_and_an_unsubscribe_stop_the_address(
    event: Event, reason: StopReason, at_ms: int
) -> None:
    assert stops(event) == [Stop(at_ms=at_ms, channel=Channel.EMAIL, reason=reason, address=MAIL)]


def test_an_opt_out_by_sms_stops_the_number() -> None:
    assert signals(samples.sms_event("OPTOUT", "")) == (
        Stop(
            at_ms=ARRIVAL_MS + 258,
            channel=Channel.SMS,
            reason=StopReason.OPTED_OUT,
            address=PHONE,
        ),
    )


def test_a_failure_because_of_an_opt_out_stops_the_number_too() -> None:
    receipt, stop = signals(samples.sms_event("FAILURE", "OPTED_OUT"))
    assert isinstance(receipt, Receipt)
    assert isinstance(stop, Stop)
    assert stop.reason is StopReason.OPTED_OUT


def test_every_bounced_recipient_is_stopped_and_without_any_the_destination() -> None:
    event = samples.mail_event("hardbounce")
    bounce = event["facets"]["email_channel"]["mail_event"]["bounce"]
    bounce["bounced_recipients"] = [
        {"email_address": "a@example.com"},
        {"email_address": "B@x.org"},
    ]
    assert [stop.address for stop in stops(event)] == ["a@example.com", "b@x.org"]
    bounce["bounced_recipients"] = None
    assert [stop.address for stop in stops(event)] == [MAIL]


@pytest.mark.parametrize(
    "event",
    [
        samples.mail_event("softbounce"),
        samples.ses_event("Bounce", {"bounceType": "Transient"}),
        samples.ses_event("Complaint", {"complaintFeedbackType": "not-spam"}),
        samples.ses_event("Subscription", {"newTopicPreferences": {"unsubscribeAll": False}}),
    ],
)
def test_a_soft_bounce_and_a_change_of_mind_stop_nobody(event: Event) -> None:
    assert stops(event) == []


def test_a_stop_without_an_address_names_the_message() -> None:
    unsubscribed = samples.mail_event("unsubscribe")
    del unsubscribed["facets"]["email_channel"]["mail_event"]["mail"]["destination"]
    opted_out = samples.sms_event("OPTOUT", "")
    del opted_out["attributes"]["destination_phone_number"]
    for event, channel, reason in (
        (unsubscribed, Channel.EMAIL, StopReason.UNSUBSCRIBED),
        (opted_out, Channel.SMS, StopReason.OPTED_OUT),
    ):
        (stop,) = stops(event)
        assert (stop.channel, stop.reason) == (channel, reason)
        assert (stop.address, stop.message_id) == (None, MESSAGE_ID)


TWO = ["a@example.com", "B@example.com"]


@pytest.mark.parametrize(
    ("kind", "details", "about"),
    [
        ("Send", {}, TWO),
        ("Delivery", {"recipients": TWO[1:]}, TWO[1:]),
        ("DeliveryDelay", {"delayedRecipients": [{"emailAddress": TWO[0]}]}, TWO[:1]),
        (
            "Bounce",
            {"bounceType": "Transient", "bouncedRecipients": [{"emailAddress": TWO[1]}]},
            TWO[1:],
        ),
        ("Reject", {}, TWO),
    ],
)
@pytest.mark.parametrize("tagged", [False, True])
def test_every_address_a_report_is_about_has_a_receipt(
    kind: str, details: Event, about: list[str], tagged: bool
) -> None:
    event = samples.ses_event(kind, details)
    event["mail"]["destination"] = TWO
    event["mail"]["tags"] = {"send_id": [SEND_ID]} if tagged else {}
    found = [signal.address for signal in signals(event) if isinstance(signal, Receipt)]
    expected = [address.lower() for address in about]
    assert found == (expected[:1] if tagged else expected), "a send id is that of one address"


def test_who_of_several_opened_a_mail_only_the_message_can_tell() -> None:
    event = samples.ses_event("Click", {})
    event["mail"]["destination"] = TWO
    (activity,) = signals(event)
    assert isinstance(activity, Activity)
    assert (activity.message_id, activity.address) == (MESSAGE_ID, None)


def test_a_stop_that_names_nothing_is_a_dead_letter() -> None:
    for event in (
        samples.sms_event("OPTOUT", attributes={}),
        samples.mail_event("unsubscribe", facets={}),
    ):
        reading = read(event)
        assert reading.signals == ()
        assert reasons(reading) == [DeadReason.NO_IDENTITY]


RECEIPTS = [
    (samples.sms_event("BUFFERED", "SUCCESSFUL"), ReceiptStatus.BUFFERED, "SUCCESSFUL"),
    (samples.sms_event("SUCCESS", "DELIVERED"), ReceiptStatus.DELIVERED, "DELIVERED"),
    (samples.sms_event("FAILURE", "UNREACHABLE"), ReceiptStatus.FAILED, "UNREACHABLE"),
    (
        samples.sms_event("FAILURE", "CARRIER_UNREACHABLE"),
        ReceiptStatus.FAILED,
        "CARRIER_UNREACHABLE",
    ),
    (samples.sms_event("FAILURE", "UNKNOWN"), ReceiptStatus.BUFFERED, "UNKNOWN"),
    (samples.mail_event("send"), ReceiptStatus.BUFFERED, "send"),
    (samples.mail_event("delivered"), ReceiptStatus.DELIVERED, "delivered"),
    (samples.mail_event("hardbounce"), ReceiptStatus.FAILED, "hardbounce Permanent General"),
    (
        samples.mail_event("softbounce"),
        ReceiptStatus.SOFT_BOUNCED,
        "softbounce Transient MailboxFull",
    ),
    (samples.mail_event("rejected"), ReceiptStatus.FAILED, "rejected"),
    (samples.mail_event("rendering_failure"), ReceiptStatus.FAILED, "rendering_failure"),
    (samples.ses_event("Send"), ReceiptStatus.BUFFERED, "send"),
    (samples.ses_event("Delivery"), ReceiptStatus.DELIVERED, "delivered"),
    (samples.ses_event("DeliveryDelay"), ReceiptStatus.BUFFERED, "delivery_delay"),
    (samples.ses_event("Reject"), ReceiptStatus.FAILED, "rejected"),
    (samples.ses_event("Rendering Failure"), ReceiptStatus.FAILED, "rendering_failure"),
    (
        samples.ses_event("Bounce", {"bounceType": "Transient"}),
        ReceiptStatus.SOFT_BOUNCED,
        "softbounce Transient",
    ),
    (samples.text_event("DELIVERED"), ReceiptStatus.DELIVERED, "DELIVERED"),
    (samples.text_event("SUCCESSFUL", isFinal=False), ReceiptStatus.BUFFERED, "SUCCESSFUL"),
    (samples.text_event("QUEUED"), ReceiptStatus.BUFFERED, "QUEUED"),
    (samples.text_event("CARRIER_BLOCKED"), ReceiptStatus.FAILED, "CARRIER_BLOCKED"),
    (samples.text_event("UNKNOWN", isFinal=True), ReceiptStatus.BUFFERED, "UNKNOWN"),
]


@pytest.mark.parametrize(("event", "status", "detail"), RECEIPTS)
def test_a_delivery_report_is_a_receipt_named_by_message_and_address(
    event: Event, status: ReceiptStatus, detail: str
) -> None:
    (receipt,) = [signal for signal in signals(event) if isinstance(signal, Receipt)]
    mail = receipt.channel is Channel.EMAIL
    assert (receipt.status, receipt.detail) == (status, detail)
    assert (receipt.message_id, receipt.address) == (MESSAGE_ID, MAIL if mail else PHONE)


@pytest.mark.parametrize(
    "event",
    [
        samples.sms_event(),
        samples.ses_event(),
        samples.text_event(),
        samples.mail_event(attributes={"customer_context": json.dumps({"send_id": SEND_ID})}),
        samples.mail_event(attributes={"customer_context": {"send_id": SEND_ID}}),
        samples.mail_event(attributes={"send_id": SEND_ID}),
        samples.mail_event(client_context={"custom": {"send_id": SEND_ID}}),
    ],
)
def test_our_send_id_is_found_wherever_a_context_comes_back(event: Event) -> None:
    (receipt,) = signals(event)
    assert isinstance(receipt, Receipt)
    assert receipt.send_id == SEND_ID


@pytest.mark.parametrize(
    "context", [None, "", "{", "[]", "{}", '{"send_id": null}', '{"send_id": 5}', 5, "[" * 5000]
)
def test_a_context_without_our_send_id_leaves_the_message_id(context: object) -> None:
    event = samples.sms_event()
    event["attributes"]["customer_context"] = context
    (receipt,) = signals(event)
    assert isinstance(receipt, Receipt)
    assert (receipt.send_id, receipt.message_id) == (None, MESSAGE_ID)


def test_a_receipt_that_names_nothing_is_a_dead_letter() -> None:
    assert reasons(read(samples.sms_event(attributes={}))) == [DeadReason.NO_IDENTITY]
