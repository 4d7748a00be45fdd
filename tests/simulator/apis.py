"""The provider in the words of its APIs: clients of the SDK that one process calls.

Each reads the messages out of a request, asks the provider for a `CallVerdict`, and writes that as
an answer or error of its API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError, ConnectionClosedError, ConnectTimeoutError

from tests.simulator.clock import WorkerClock
from tests.simulator.faults import Faults
from tests.simulator.loop import VirtualLoop
from tests.simulator.provider import (
    TRANSIT_SECONDS_MAX,
    CallVerdict,
    Message,
    Provider,
    Verdict,
    Word,
)
from tests.simulator.story import ChannelName

_ENDPOINT = "https://provider.simulated"
_CHANNELS: Mapping[str, ChannelName] = {
    "GCM": "push",
    "APNS": "push",
    "EMAIL": "email",
    "SMS": "sms",
}


TORN = b'{"Result": {'
"""A body that was cut off on its way."""


class Refusal(NamedTuple):
    """How an API says no to a call."""

    code: str
    status: int
    members: Mapping[str, Any] = MappingProxyType({})

    def error(self, operation: str) -> ClientError:
        """As the SDK raises it."""
        return ClientError(
            {
                "Error": {"Code": self.code, "Message": ""},
                "ResponseMetadata": {"HTTPStatusCode": self.status},
                **self.members,
            },
            operation,
        )


class Wire:
    """The way of a call to the provider and back, for one process."""

    def __init__(
        self,
        provider: Provider,
        loop: VirtualLoop,
        faults: Faults,
        rng: Random,
        clock: WorkerClock,
    ) -> None:
        self._provider = provider
        self._loop = loop
        self._faults = faults
        self._rng = rng
        self._clock = clock
        self.calling: Callable[[], None] = _ignore
        """Told of every call that begins."""

    async def call(self, messages: Sequence[Message]) -> CallVerdict:
        """Raises what a client raises when no connection came about or it broke; never returns
        when the provider does not answer."""
        provider = self._provider
        self.calling()
        provider.in_flight += 1
        provider.in_flight_most = max(provider.in_flight, provider.in_flight_most)
        try:
            if self._faults.strikes("provider_unreachable"):
                await asyncio.sleep(self._rng.random())
                raise ConnectTimeoutError(endpoint_url=_ENDPOINT)
            verdict = await self._judged(messages)
            if verdict.word == "cut":
                raise ConnectionClosedError(endpoint_url=_ENDPOINT)
            return verdict
        finally:
            provider.in_flight -= 1

    def _judged(self, messages: Sequence[Message]) -> asyncio.Future[CallVerdict]:
        answer: asyncio.Future[CallVerdict] = self._loop.create_future()
        worker_ms = self._clock.now_ms()

        def arrives() -> None:
            verdict = self._provider.judge(messages, worker_ms)
            if verdict.answer_seconds is not None:
                self._loop.at(self._loop.time() + verdict.answer_seconds, answers, verdict)

        def answers(verdict: CallVerdict) -> None:
            if not answer.done():
                answer.set_result(verdict)

        self._loop.at(self._loop.time() + self._rng.random() * TRANSIT_SECONDS_MAX, arrives)
        return answer


class PinpointClient:
    """`send_messages` as the worker's sender calls it: bytes in, bytes out."""

    _REFUSALS: Mapping[Word, Refusal] = {
        "throttled": Refusal("TooManyRequestsException", 429),
        "error": Refusal("InternalServerErrorException", 500),
        "bad_request": Refusal("BadRequestException", 400),
        "refused_setup": Refusal("ForbiddenException", 403),
    }
    _STATUSES: Mapping[Word, str] = {
        "ok": "SUCCESSFUL",
        "rejected": "PERMANENT_FAILURE",
        "opted_out": "OPT_OUT",
        "throttled": "THROTTLED",
        "temporary": "TEMPORARY_FAILURE",
        "refused_setup": "PERMANENT_FAILURE",
        "unknown": "UNKNOWN_FAILURE",
    }

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.meta = _meta("pinpoint")

    async def send_messages(self, *, Body: bytes, **_: object) -> Mapping[str, Any]:  # noqa: N803
        """SendMessages."""
        messages = _messages(msgspec.json.decode(Body))
        verdict = await self._wire.call(messages)
        if verdict.word != "ok":
            raise self._REFUSALS[verdict.word].error("SendMessages")
        if verdict.unreadable:
            return {"Body": TORN}
        results = {
            message.address: self._result(one)
            for message, one in zip(messages, verdict.verdicts, strict=True)
            if not one.missing
        }
        return {"Body": msgspec.json.encode({"ApplicationId": "app0", "Result": results})}

    async def close(self) -> None:
        """Nothing is open."""

    def _result(self, verdict: Verdict) -> dict[str, Any]:
        result: dict[str, Any] = {
            "DeliveryStatus": self._STATUSES[verdict.word],
            "StatusCode": 200 if verdict.accepted else 400,
            "StatusMessage": "",
        }
        if verdict.word == "refused_setup":
            result["StatusMessage"] = "Channel is disabled"
        if verdict.word == "ok":
            result["MessageId"] = verdict.message_id
        return result


class SesClient:
    """`send_email`: one mail a call, for every text of a run is a user's own."""

    _REFUSALS: Mapping[Word, Refusal] = {
        "throttled": Refusal("TooManyRequestsException", 429),
        "error": Refusal("InternalServiceErrorException", 500),
        "bad_request": Refusal("MessageRejected", 400),
        "refused_setup": Refusal("MailFromDomainNotVerifiedException", 400),
    }

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.meta = _meta("sesv2")

    async def send_email(self, *, Body: bytes, **_: object) -> Mapping[str, Any]:  # noqa: N803
        """SendEmail."""
        body = msgspec.json.decode(Body)
        message = Message(
            api="ses",
            channel="email",
            address=body["Destination"]["ToAddresses"][0],
            text=body["Content"]["Simple"]["Body"]["Text"]["Data"],
            send_id=body["EmailTags"][0]["Value"],
        )
        return await _alone(self._wire, message, self._REFUSALS, "SendEmail")

    async def close(self) -> None:
        """Nothing is open."""


class TextClient:
    """`send_text_message` of End User Messaging: one text a call."""

    _REFUSALS: Mapping[Word, Refusal] = {
        "throttled": Refusal("ThrottlingException", 400),
        "error": Refusal("InternalServerException", 500),
        "bad_request": Refusal("ValidationException", 400, {"Reason": "OTHER"}),
        "refused_setup": Refusal("ConflictException", 400, {"Reason": "RESOURCE_NOT_ACTIVE"}),
        "opted_out": Refusal(
            "ConflictException", 400, {"Reason": "DESTINATION_PHONE_NUMBER_OPTED_OUT"}
        ),
        "rejected": Refusal(
            "ValidationException",
            400,
            {"Reason": "INVALID_PARAMETER", "Fields": [{"Name": "DestinationPhoneNumber"}]},
        ),
    }

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.meta = _meta("pinpoint-sms-voice-v2")

    async def send_text_message(  # the name of the SDK's parameter
        self,
        *,
        Body: bytes,  # noqa: N803
        **_: object,
    ) -> Mapping[str, Any]:
        """SendTextMessage."""
        body = msgspec.json.decode(Body)
        message = Message(
            api="texts",
            channel="sms",
            address=body["DestinationPhoneNumber"],
            text=body["MessageBody"],
            send_id=body["Context"]["send_id"],
        )
        return await _alone(self._wire, message, self._REFUSALS, "SendTextMessage")

    async def close(self) -> None:
        """Nothing is open."""


CLIENTS: Mapping[str, Callable[[Wire], object]] = {
    "pinpoint": PinpointClient,
    "sesv2": SesClient,
    "pinpoint-sms-voice-v2": TextClient,
}
"""By the name the SDK has for the service."""


async def _alone(
    wire: Wire, message: Message, refusals: Mapping[Word, Refusal], operation: str
) -> Mapping[str, Any]:
    """The answer to a call that carries one message: what is said of it is said of the call."""
    call = await wire.call([message])
    (one,) = call.verdicts
    word = call.word if call.word != "ok" else one.word
    if word in refusals:
        raise refusals[word].error(operation)
    if call.unreadable:
        return {"Body": TORN}
    return {"Body": msgspec.json.encode({"MessageId": one.message_id})}


def _messages(body: Mapping[str, Any]) -> list[Message]:
    """The messages of one call; a text of its own stands with the address."""
    shared = body["MessageConfiguration"]
    found = []
    for address, facts in body["Addresses"].items():
        channel = _CHANNELS[facts["ChannelType"]]
        if channel == "email":
            text = shared["EmailMessage"]["SimpleEmail"]["TextPart"]["Data"]
        elif channel == "sms":
            text = shared["SMSMessage"]["Body"]
        else:
            (own,) = facts.get("Substitutions", {}).get("Body", [None])
            text = facts.get("BodyOverride") or own
            text = text or shared["DefaultPushNotificationMessage"]["Body"]
        send_id = facts.get("Context", {}).get("send_id")
        found.append(
            Message(api="pinpoint", channel=channel, address=address, text=text, send_id=send_id)
        )
    return found


def _meta(service: str) -> SimpleNamespace:
    """What senders ask of a client besides its operations."""
    name = SimpleNamespace(hyphenize=lambda: service)
    return SimpleNamespace(
        events=SimpleNamespace(register=_ignore),
        service_model=SimpleNamespace(service_id=name),
        region_name="simulated",
        endpoint_url=_ENDPOINT,
    )


def _ignore(*_: object, **__: object) -> None:
    """Event hooks have nothing to do."""
