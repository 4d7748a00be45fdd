"""What each per-address answer means, whatever the provider writes beside it."""

from __future__ import annotations

import json

import pytest

from tests.senders.deliveries import delivery
from worker.model import Channel, Outcome, Reason, Rejected, Retry, Sent, StopReason, Uncertain
from worker.senders.pinpoint_answer import AddressResult, outcome_of, outcomes_of

TOKEN = "Tok3n:APA91-Example"
ID = delivery(TOKEN).claim.send_id


def result(status: str, code: int | None = 400, message: str | None = None) -> AddressResult:
    return AddressResult(delivery_status=status, status_code=code, status_message=message)


DEAD = Rejected(send_id=ID, detail="PERMANENT_FAILURE 400", stop=StopReason.DEAD)
GIVEN_UP = Rejected(send_id=ID, detail="PERMANENT_FAILURE 400")
PAUSED = Retry(send_id=ID, reason=Reason.CHANNEL_PAUSED, detail="PERMANENT_FAILURE 400")


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (
            AddressResult(delivery_status="SUCCESSFUL", message_id="m-1", updated_token="new"),
            Sent(send_id=ID, message_id="m-1", updated_token="new"),
        ),
        (
            AddressResult(delivery_status="SUCCESSFUL", updated_token=""),
            Sent(send_id=ID),
        ),
        (
            result("THROTTLED", 429),
            Retry(send_id=ID, reason=Reason.PROVIDER_THROTTLED, detail="THROTTLED 429"),
        ),
        (
            result("TEMPORARY_FAILURE", 500),
            Retry(send_id=ID, reason=Reason.TEMPORARY_FAILURE, detail="TEMPORARY_FAILURE 500"),
        ),
        (result("UNKNOWN_FAILURE", 500), Uncertain(send_id=ID, detail="UNKNOWN_FAILURE 500")),
        (result("TIMEOUT", 504), Uncertain(send_id=ID, detail="TIMEOUT 504")),
        (result("NEVER_HEARD_OF", 200), Uncertain(send_id=ID, detail="UNKNOWN_STATUS 200")),
        (result("PERMANENT_FAILURE"), DEAD),
        (
            result("OPT_OUT"),
            Rejected(send_id=ID, detail="OPT_OUT 400", stop=StopReason.OPTED_OUT),
        ),
        (result("DUPLICATE"), Rejected(send_id=ID, detail="DUPLICATE 400")),
        (None, Uncertain(send_id=ID, detail="missing_result")),
        (result("THROTTLED", None), Retry(send_id=ID, reason=Reason.PROVIDER_THROTTLED,
                                          detail="THROTTLED")),
        (result("DUPLICATE", 10**30), Rejected(send_id=ID, detail="DUPLICATE")),
    ],
)  # fmt: skip
def test_every_status_has_one_meaning(given: AddressResult | None, means: Outcome) -> None:
    assert outcome_of(delivery(TOKEN), given) == means


@pytest.mark.parametrize(
    ("channel", "message", "means"),
    [
        (Channel.PUSH, '{"errorMessage":"UNREGISTERED","token":"' + TOKEN + '"}', DEAD),
        (Channel.PUSH, "BadDeviceToken", DEAD),
        (Channel.PUSH, "Unregistered", DEAD),
        (Channel.PUSH, "BadCertificate: The certificate was bad", PAUSED),
        (Channel.PUSH, "INVALID_PROVIDER_TOKEN", PAUSED),
        (Channel.PUSH, "Request had invalid authentication credentials", PAUSED),
        (Channel.PUSH, "The GCM channel is disabled for this application", PAUSED),
        (Channel.PUSH, "SENDER_ID_MISMATCH", GIVEN_UP),
        (Channel.PUSH, "DeviceTokenNotForTopic", GIVEN_UP),
        (Channel.SMS, "Invalid phone number", DEAD),
        (Channel.SMS, "The provided number does not exist", PAUSED),
        (Channel.SMS, "Origination number is not in this account", PAUSED),
        (Channel.SMS, "Sender ID not supported in this country", GIVEN_UP),
        (Channel.EMAIL, "Illegal address", DEAD),
        (Channel.EMAIL, "Email address is not verified: shop@example.com", PAUSED),
        (Channel.EMAIL, "Channel is not enabled", PAUSED),
    ],
)
def test_a_lasting_failure_costs_the_address_only_when_it_is_the_addresss_own(
    channel: Channel, message: str, means: Outcome
) -> None:
    one = delivery(TOKEN, channel=channel)
    assert outcome_of(one, result("PERMANENT_FAILURE", 400, message)) == means


@pytest.mark.parametrize("address", ["not-verified@example.com", "kim@not-verified.example"])
def test_an_address_cannot_pause_a_channel_by_its_name(address: str) -> None:
    one = delivery(address, channel=Channel.EMAIL)
    for quoted in (address, address.upper(), address.partition("@")[2]):
        outcome = outcome_of(one, result("PERMANENT_FAILURE", 400, f"Illegal address: {quoted}"))
        assert isinstance(outcome, Rejected)
        assert outcome.stop is StopReason.DEAD


@pytest.mark.parametrize("status", ["SUCCESSFUL", "PERMANENT_FAILURE", "THROTTLED", TOKEN])
def test_the_providers_words_never_leave_with_the_outcome(status: str) -> None:
    secret = f"failed for {TOKEN}: Your basket is waiting"
    assert TOKEN not in str(outcome_of(delivery(TOKEN), result(status, 400, secret)))


def test_outcomes_come_in_the_order_asked_for() -> None:
    deliveries = [delivery(address) for address in "cab"]
    listed = {a: {"DeliveryStatus": "SUCCESSFUL", "StatusCode": 200} for a in "abc"}
    body = json.dumps({"ApplicationId": "x", "Result": listed}).encode()
    assert outcomes_of(deliveries, body) == [Sent(send_id=d.claim.send_id) for d in deliveries]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b'{"Result":null}',
        b'{"Result":{"a":{}}}',
        b'{"Result":{"a":{"DeliveryStatus":7}}}',
        b'{"Result":{"a":{"DeliveryStatus":"SUCC',
        b"\xff",
    ],
)
def test_an_answer_nobody_can_read_leaves_all_uncertain(body: bytes) -> None:
    deliveries = [delivery("a"), delivery("b")]
    outcomes = outcomes_of(deliveries, body)
    assert outcomes == [
        Uncertain(send_id=d.claim.send_id, detail="unreadable_answer") for d in deliveries
    ]
