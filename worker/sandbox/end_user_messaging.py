"""An AWS End User Messaging that never leaves this machine: `SendTextMessage` over HTTP.

    python -m worker.sandbox.end_user_messaging --port 4582 --log texts.ndjson

Point the worker at it with `AWS_ENDPOINT_URL_PINPOINT_SMS_VOICE_V2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from aiohttp import web

from worker.sandbox.pinpoint_replies import Fault, Refusal, Reply
from worker.sandbox.provider import ProviderStub, Target, serve
from worker.sandbox.shapes import problems

TARGET = "PinpointSMSVoiceV2.SendTextMessage"


def conflict(reason: str) -> Refusal:
    """A ConflictException with that reason."""
    return Refusal(code=400, kind="ConflictException", members={"Reason": reason})


def invalid(reason: str, *fields: str) -> Refusal:
    """A ValidationException with that reason, about those parameters."""
    members: dict[str, Any] = {"Reason": reason}
    if fields:
        members["Fields"] = [{"Name": name, "Message": "it is not right"} for name in fields]
    return Refusal(code=400, kind="ValidationException", members=members)


ANSWER_OF: Mapping[str, Reply] = {
    "OPT_OUT": conflict("DESTINATION_PHONE_NUMBER_OPTED_OUT"),
    "PERMANENT_FAILURE": invalid("INVALID_PARAMETER", "DestinationPhoneNumber"),
    "THROTTLED": Reply(fault=Fault.THROTTLED),
    "TEMPORARY_FAILURE": Reply(fault=Fault.THROTTLED),
    "UNKNOWN_FAILURE": Reply(fault=Fault.ERROR_AFTER),
}
"""Pinpoint's words to what this service answers instead."""


class EndUserMessagingStub(ProviderStub):
    """End User Messaging's `SendTextMessage` on this machine."""

    name = "end user messaging"
    service = "pinpoint-sms-voice-v2"
    paths = ("/",)
    errors: ClassVar[Mapping[Fault, tuple[int, str]]] = {
        Fault.BAD_REQUEST: (400, "ValidationException"),
        Fault.FORBIDDEN: (400, "AccessDeniedException"),
        Fault.THROTTLED: (400, "ThrottlingException"),
        Fault.ERROR_BEFORE: (500, "InternalServerException"),
        Fault.ERROR_AFTER: (500, "InternalServerException"),
    }

    def _faults_of(self, request: web.Request, body: Any) -> list[str]:
        if request.headers.get("X-Amz-Target") != TARGET:
            return [f"only {TARGET} is served here"]
        if request.content_type != "application/x-amz-json-1.0":
            return [f"{request.content_type} is not what the protocol wants"]
        found = problems(self.service, "SendTextMessageRequest", body)
        return found or ([] if body.get("MessageBody") else ["a text without text"])

    def _targets_of(self, body: Mapping[str, Any]) -> Sequence[Target]:
        send_id = body.get("Context", {}).get("send_id", "")
        address = body["DestinationPhoneNumber"]
        return [Target(address=address, channel_type="SMS", send_id=send_id)]

    def _is_dry_run(self, body: Mapping[str, Any]) -> bool:
        return bool(body.get("DryRun"))

    def _translated(self, reply: Reply, _body: Mapping[str, Any]) -> Reply:
        meant = ANSWER_OF.get(reply.status, reply)
        return replace(meant, status=reply.status, delay_seconds=reply.delay_seconds)

    def _answer_to(
        self, _request: web.Request, _body: Mapping[str, Any], _replies: Sequence[Reply]
    ) -> web.Response:
        return self._answered("SendTextMessageResult", {"MessageId": self._message_id()})

    def _error(self, status: int, kind: str, body: Mapping[str, Any]) -> web.Response:
        """An error as AWS's JSON protocol tells it: its name is in the body."""
        return web.json_response({"__type": kind, **body}, status=status)


if __name__ == "__main__":
    serve(EndUserMessagingStub, "worker.sandbox.end_user_messaging")
