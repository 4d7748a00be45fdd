"""What SendTextMessage is told and what its exceptions mean, against the stub and its model."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from botocore.session import get_session as get_botocore_session
from hypothesis import given
from hypothesis import strategies as st

from tests.senders.deliveries import CLAIMED_MS, crowd, delivery
from tests.senders.endpoint import point_at
from tests.senders.outcomes import judged, kinds
from tests.senders.services import TEXT_ORIGIN
from worker.errors import AccessDenied, SettingsError
from worker.model import DAY_MS, Channel, Delivery, Outcome, Reason, Rejected, Retry, Sent
from worker.sandbox.end_user_messaging import EndUserMessagingStub, conflict, invalid
from worker.sandbox.pinpoint_replies import Fault, Refusal, Reply, always
from worker.sandbox.shapes import problems
from worker.senders import end_user_messaging_answer as answer
from worker.senders.end_user_messaging import (
    EndUserMessagingSender,
    open_end_user_messaging,
)
from worker.senders.end_user_messaging_request import (
    TTL_SECONDS_MAX,
    TextOrigin,
    price_of,
    text_message,
)
from worker.senders.refusals import REFUSED_IN_A_ROW_MAX
from worker.testing import FakeClock

TIMEOUT_MS = 10_000
NUMBER = "+15550100042"


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EndUserMessagingStub]:
    server = EndUserMessagingStub()
    point_at(await server.start(), monkeypatch)
    yield server
    await server.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(CLAIMED_MS)


@pytest.fixture
async def sender(
    stub: EndUserMessagingStub, clock: FakeClock
) -> AsyncIterator[EndUserMessagingSender]:
    async with open_end_user_messaging(
        TEXT_ORIGIN, clock=clock, call_timeout_seconds=TIMEOUT_MS / 1_000
    ) as opened:
        yield opened


def sms(number: str = NUMBER, **changes: Any) -> Delivery:
    return replace(delivery(number, channel=Channel.SMS), **changes)


def said(one: Delivery, origin: TextOrigin = TEXT_ORIGIN, ttl: int | None = None) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(text_message(one, origin, ttl))
    assert problems("pinpoint-sms-voice-v2", "SendTextMessageRequest", body) == []
    return body


# --- requests ---------------------------------------------------------------------------------


async def test_a_text_says_who_it_is_from_and_carries_our_send_id(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    one = sms()
    (outcome,) = await sender.send([one])
    assert isinstance(outcome, Sent)
    assert outcome.message_id
    (request,) = stub.requests
    assert request == {
        "DestinationPhoneNumber": NUMBER,
        "MessageBody": one.message.body,
        "MessageType": "PROMOTIONAL",
        "OriginationIdentity": TEXT_ORIGIN.identity,
        "ConfigurationSetName": "receipts",
        "Context": {"send_id": one.claim.send_id},
    }


def test_only_texts_to_india_carry_its_registration() -> None:
    origin = TextOrigin(identity="SHOP", india_entity_id="1101", india_template_id="1107")
    assert said(sms("+919876543210"), origin)["DestinationCountryParameters"] == {
        "IN_ENTITY_ID": "1101",
        "IN_TEMPLATE_ID": "1107",
    }
    for number, registered in ((NUMBER, origin), ("+919876543210", TEXT_ORIGIN)):
        assert "DestinationCountryParameters" not in said(sms(number), registered)


@given(micros=st.integers(0, 200_000_000))
def test_a_price_is_one_the_service_reads_and_never_more_than_allowed(micros: int) -> None:
    price = price_of(micros)
    assert said(sms(max_price_micros=micros))["MaxPrice"] == price
    assert float(price) * 1e6 <= max(micros, 10) + 1e-6
    if 10 <= micros < 99_999_990:
        assert micros - float(price) * 1e6 < 10 + 1e-6


# --- how long it may be under way --------------------------------------------------------------


@given(
    ttl_ms=st.integers(0, 5 * DAY_MS),
    waited_ms=st.integers(-2_000, 60_000),
    call_ms=st.integers(0, TIMEOUT_MS),
)
async def test_a_text_cannot_arrive_after_its_time(
    ttl_ms: int, waited_ms: int, call_ms: int
) -> None:
    """However long it waited for the call, and however late in the call it was taken."""
    calls: list[dict[str, Any]] = []
    clock = FakeClock(CLAIMED_MS + waited_ms)
    sender = sender_that_notes(calls, clock)
    (outcome,) = await sender.send([sms(ttl_ms=ttl_ms)])
    if not calls:
        assert isinstance(outcome, Retry)
        # The ladder looks again when the time is over, and not before it can have changed.
        assert outcome.delay_ms is not None
        assert outcome.delay_ms >= max(ttl_ms, 5_000)
        assert ttl_ms - max(0, waited_ms) - TIMEOUT_MS < 5_000, "there was time"
        return
    taken_ms = max(CLAIMED_MS, clock.now_ms()) + call_ms
    ends_ms = taken_ms + calls[0]["TimeToLive"] * 1_000
    assert ends_ms <= CLAIMED_MS + ttl_ms
    assert problems("pinpoint-sms-voice-v2", "SendTextMessageRequest", calls[0]) == []
    whole = calls[0]["TimeToLive"] == TTL_SECONDS_MAX
    assert whole or ends_ms > CLAIMED_MS + ttl_ms - TIMEOUT_MS - 1_000, "no time is given away"


def sender_that_notes(calls: list[dict[str, Any]], clock: FakeClock) -> EndUserMessagingSender:
    class Client:
        class meta:  # noqa: N801 - botocore's name
            class events:  # noqa: N801
                @staticmethod
                def register(*_: object) -> None: ...

            class service_model:  # noqa: N801
                class service_id:  # noqa: N801
                    @staticmethod
                    def hyphenize() -> str:
                        return "x"

        async def send_text_message(self, Body: bytes) -> dict[str, bytes]:  # noqa: N803
            calls.append(msgspec.json.decode(Body))
            return {"Body": b"{}"}

    return EndUserMessagingSender(
        Client(), TEXT_ORIGIN, clock=clock, call_timeout_seconds=TIMEOUT_MS / 1_000
    )


async def test_without_a_time_nothing_is_said_of_it(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    await sender.send([sms()])
    assert "TimeToLive" not in stub.requests[0]


# --- exceptions -------------------------------------------------------------------------------

PAUSED = Reason.CHANNEL_PAUSED
OPTED_OUT = "opted_out"
DEAD = "dead"
REASONS: Mapping[tuple[str, str], object] = {
    ("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT"): OPTED_OUT,
    ("ConflictException", "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION"): Rejected,
    ("ConflictException", "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE"): Rejected,
    ("ConflictException", "DESTINATION_PHONE_NUMBER_NOT_VERIFIED"): PAUSED,
    ("ConflictException", "NO_ORIGINATION_IDENTITIES_FOUND"): Rejected,
    ("ConflictException", "MESSAGE_TYPE_MISMATCH"): PAUSED,
    ("ConflictException", "RESOURCE_NOT_ACTIVE"): PAUSED,
    ("ConflictException", "NUMBER_CAPABILITIES_MISMATCH"): PAUSED,
    ("ValidationException", "PRICE_OVER_THRESHOLD"): Rejected,
    ("ValidationException", "DESTINATION_COUNTRY_BLOCKED"): Rejected,
    ("ValidationException", "COUNTRY_NOT_ENABLED"): Rejected,
    ("ValidationException", "INTERNATIONAL_SENDING_NOT_SUPPORTED"): Rejected,
    ("ValidationException", "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY"): Rejected,
    ("ValidationException", "SENDER_ID_NOT_SUPPORTED"): Rejected,
    ("ValidationException", "SENDER_ID_REQUIRES_REGISTRATION"): Rejected,
    ("ValidationException", "INVALID_PARAMETER"): Rejected,
    ("ValidationException", "CHANNEL_NOT_ENABLED"): PAUSED,
    ("ValidationException", "RESOURCE_NOT_ACCESSIBLE"): PAUSED,
    ("ValidationException", "INVALID_ARN"): PAUSED,
    ("AccessDeniedException", "ACCOUNT_DISABLED"): PAUSED,
    ("AccessDeniedException", "INSUFFICIENT_ACCOUNT_REPUTATION"): PAUSED,
    ("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"): PAUSED,
}


def verdict(outcome: Outcome) -> object:
    if isinstance(outcome, Rejected):
        return Rejected if outcome.stop is None else outcome.stop.value
    return outcome.reason if isinstance(outcome, Retry) else type(outcome)


async def test_a_reason_costs_one_number_or_pauses_sms(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    found = {}
    for kind, reason in REASONS:
        await sender.send([sms("+15550100001")])  # accepted: refusals are not in a row
        stub.behaviours[NUMBER] = always(Refusal(code=400, kind=kind, members={"Reason": reason}))
        (outcome,) = await sender.send([sms()])
        found[kind, reason] = verdict(outcome)
        assert getattr(outcome, "detail", "") == f"{kind} {reason}"
    assert found == REASONS


def test_the_reasons_are_those_of_the_model() -> None:
    model = get_botocore_session().get_service_model("pinpoint-sms-voice-v2")
    known = {
        reason
        for kind in ("ConflictException", "ValidationException")
        for reason in model.shape_for(kind).members["Reason"].enum
    }
    named = {*answer.STOPS, *answer.ABOUT_THE_DESTINATION, *answer.JUDGED} - {""}
    assert named <= known


@pytest.mark.parametrize(
    ("fields", "means"),
    [
        (["DestinationPhoneNumber"], DEAD),
        (["MessageBody"], Rejected),
        (["DestinationPhoneNumber", "MessageBody"], Rejected),
        (["OriginationIdentity"], PAUSED),
        (["DestinationPhoneNumber", "ConfigurationSetName"], PAUSED),
        ([], Rejected),
    ],
)
async def test_the_parameter_that_is_wrong_says_whose_fault_it_is(
    fields: list[str], means: object, stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    stub.behaviours[NUMBER] = always(invalid("INVALID_PARAMETER", *fields))
    (outcome,) = await sender.send([sms()])
    assert verdict(outcome) == means


async def test_refusals_in_a_row_are_our_fault_until_one_is_taken(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    stub.behaviour = always(conflict("NO_ORIGINATION_IDENTITIES_FOUND"))
    seen = [judged(await sender.send([one])) for one in crowd(REFUSED_IN_A_ROW_MAX, Channel.SMS)]
    theirs: list[set[Reason | type[Outcome]]] = [{Rejected}] * (REFUSED_IN_A_ROW_MAX - 1)
    assert seen == [*theirs, {PAUSED}]


async def test_no_words_of_the_service_are_passed_on(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    told = Refusal(
        code=400,
        kind="ConflictException",
        message=f"{NUMBER} is no good",
        members={"Reason": f"about {NUMBER}"},
    )
    stub.behaviour = always(told)
    stub._validate = False
    (outcome,) = await sender.send([sms()])
    assert NUMBER not in str(outcome)
    with pytest.raises(SettingsError) as caught:
        await sender.check(NUMBER)
    assert NUMBER not in str(caught.value)


async def test_half_a_surrogate_is_refused_here(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    bad = sms(message=replace(sms().message, body="\udc00"))
    assert judged(await sender.send([bad])) == {Rejected}
    assert not stub.requests


# --- the check at the start ---------------------------------------------------------------------


async def test_a_dry_run_sends_nothing(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    assert await sender.check(NUMBER) is None
    (request,) = stub.requests
    assert request["DryRun"] is True
    assert request["OriginationIdentity"] == TEXT_ORIGIN.identity
    assert not stub.sends


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (
            Refusal(code=400, kind="ResourceNotFoundException"),
            SettingsError,
            "ResourceNotFoundException",
        ),
        (invalid("INVALID_PARAMETER", "OriginationIdentity"), SettingsError, "OriginationIdentity"),
        (conflict("RESOURCE_NOT_ACTIVE"), SettingsError, "RESOURCE_NOT_ACTIVE"),
        (Reply(fault=Fault.FORBIDDEN), AccessDenied, "sms-voice:SendTextMessage"),
    ],
)
async def test_what_a_person_must_change_ends_the_start(
    reply: Reply,
    error: type[Exception],
    says: str,
    stub: EndUserMessagingStub,
    sender: EndUserMessagingSender,
) -> None:
    stub.behaviour = always(reply)
    with pytest.raises(error, match=re.escape(says)) as caught:
        await sender.check(NUMBER)
    assert "COMEBACK_SMS_ORIGINATION_IDENTITY" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (Reply(fault=Fault.THROTTLED), "ThrottlingException"),
        (Reply(fault=Fault.ERROR_BEFORE), "http_500"),
        (Reply(fault=Fault.DROP_BEFORE), "ServerDisconnectedError|ConnectionClosedError"),
        (
            Refusal(
                code=400,
                kind="ServiceQuotaExceededException",
                members={"Reason": "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"},
            ),
            "ServiceQuotaExceededException MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT",
        ),
        (
            Refusal(code=400, kind="AccessDeniedException", members={"Reason": "ACCOUNT_DISABLED"}),
            "AccessDeniedException ACCOUNT_DISABLED",
        ),
        (
            conflict("DESTINATION_PHONE_NUMBER_OPTED_OUT"),
            "ConflictException DESTINATION_PHONE_NUMBER_OPTED_OUT",
        ),
    ],
)
async def test_what_may_pass_is_only_told(
    reply: Reply, trouble: str, stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    stub.behaviour = always(reply)
    assert re.fullmatch(trouble, await sender.check(NUMBER) or "")


async def test_throttling_is_certainly_not_sent(
    stub: EndUserMessagingStub, sender: EndUserMessagingSender
) -> None:
    stub.behaviour = always(Reply(fault=Fault.THROTTLED))
    assert kinds(await sender.send([sms()])) == {"Retry provider_throttled http_400"}
