"""A Pinpoint that never leaves this machine: `SendMessages` over HTTP, for the demo and the tests.

python -m worker.sandbox.pinpoint --port 4580 --log sends.ndjson
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from worker.sandbox.pinpoint_checks import faults_of
from worker.sandbox.pinpoint_replies import ERRORS, Reply
from worker.sandbox.provider import ProviderStub, Target, serve


class PinpointStub(ProviderStub):
    """Pinpoint's `SendMessages` on this machine."""

    name = "pinpoint"
    service = "pinpoint"
    paths = ("/v1/apps/{application_id}/messages",)
    errors = ERRORS

    def _faults_of(self, _request: web.Request, body: Any) -> list[str]:
        return faults_of(body)

    def _targets_of(self, body: Mapping[str, Any]) -> Sequence[Target]:
        return [
            Target(
                address=address,
                channel_type=settings.get("ChannelType", ""),
                send_id=settings.get("Context", {}).get("send_id", ""),
            )
            for address, settings in body["Addresses"].items()
        ]

    def _answer_to(
        self, request: web.Request, body: Mapping[str, Any], replies: Sequence[Reply]
    ) -> web.Response:
        results = [self._result(reply) for reply in replies]
        return self._answered(
            "MessageResponse",
            {
                "ApplicationId": request.match_info["application_id"],
                "Result": dict(zip(body["Addresses"], results, strict=True)),
            },
        )

    def _result(self, reply: Reply) -> Mapping[str, Any]:
        result = {
            "DeliveryStatus": reply.status,
            "StatusCode": reply.code,
            "StatusMessage": reply.message,
            "MessageId": self._message_id(),
            "UpdatedToken": reply.updated_token,
        }
        return {name: value for name, value in result.items() if value is not None}


if __name__ == "__main__":
    serve(PinpointStub, "worker.sandbox.pinpoint")
