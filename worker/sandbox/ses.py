"""An SES that never leaves this machine: `SendEmail` and `SendBulkEmail` over HTTP.

    python -m worker.sandbox.ses --port 4581 --log mails.ndjson

Point the worker at it with `AWS_ENDPOINT_URL_SESV2`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from aiohttp import web

from worker.sandbox.pinpoint_replies import Fault, Refusal, Reply
from worker.sandbox.provider import ProviderStub, Target, serve
from worker.sandbox.shapes import problems

ONE = "/v2/email/outbound-emails"
BULK = "/v2/email/outbound-bulk-emails"
ENTRIES_MAX = 50
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""Names and values of tags (`MessageTag` in the model's prose)."""

STATUS_OF: Mapping[str, str] = {
    "SUCCESSFUL": "SUCCESS",
    "THROTTLED": "ACCOUNT_THROTTLED",
    "TEMPORARY_FAILURE": "TRANSIENT_FAILURE",
    "PERMANENT_FAILURE": "MESSAGE_REJECTED",
    "UNKNOWN_FAILURE": "UNHEARD_OF",
    "OPT_OUT": "SUCCESS",
}
"""Pinpoint's words to those of SES, which takes mail to whomever and bounces it later. Every other
word is taken to be SES's own."""

EXCEPTION_OF: Mapping[str, tuple[int, str]] = {
    "MESSAGE_REJECTED": (400, "MessageRejected"),
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": (400, "MailFromDomainNotVerifiedException"),
    "CONFIGURATION_SET_NOT_FOUND": (404, "NotFoundException"),
    "TEMPLATE_NOT_FOUND": (404, "NotFoundException"),
    "ACCOUNT_SUSPENDED": (400, "AccountSuspendedException"),
    "ACCOUNT_THROTTLED": (429, "TooManyRequestsException"),
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": (400, "LimitExceededException"),
    "ACCOUNT_SENDING_PAUSED": (400, "SendingPausedException"),
    "CONFIGURATION_SET_SENDING_PAUSED": (400, "SendingPausedException"),
    "INVALID_PARAMETER": (400, "BadRequestException"),
}
"""An entry's status to what SendEmail answers instead. Of the others nothing is documented; here
they are failures of the service."""


class SesStub(ProviderStub):
    """SES on this machine."""

    name = "ses"
    service = "sesv2"
    paths = (ONE, BULK)
    errors: ClassVar[Mapping[Fault, tuple[int, str]]] = {
        Fault.BAD_REQUEST: (400, "BadRequestException"),
        Fault.FORBIDDEN: (403, "AccessDeniedException"),
        Fault.THROTTLED: (429, "TooManyRequestsException"),
        Fault.ERROR_BEFORE: (500, "InternalServiceErrorException"),
        Fault.ERROR_AFTER: (500, "InternalServiceErrorException"),
    }

    def _faults_of(self, request: web.Request, body: Any) -> list[str]:
        is_bulk = request.path == BULK
        shape = "SendBulkEmailRequest" if is_bulk else "SendEmailRequest"
        found = problems(self.service, shape, body)
        if found:
            return found
        if not body.get("FromEmailAddress", "").isascii() or not body.get("FromEmailAddress"):
            found.append("no FromEmailAddress that a mail header can carry")
        return found + (_faults_of_bulk(body) if is_bulk else _faults_of_one(body))

    def _targets_of(self, body: Mapping[str, Any]) -> Sequence[Target]:
        if "BulkEmailEntries" not in body:
            return [_target(body["Destination"], body.get("EmailTags", []))]
        return [
            _target(entry["Destination"], entry.get("ReplacementTags", []))
            for entry in body["BulkEmailEntries"]
        ]

    def _translated(self, reply: Reply, body: Mapping[str, Any]) -> Reply:
        status = STATUS_OF.get(reply.status, reply.status)
        if isinstance(reply, Refusal) or reply.fault is not None:
            return reply
        if "BulkEmailEntries" in body or status == "SUCCESS":
            return dataclasses.replace(reply, status=status)
        if status in EXCEPTION_OF:
            code, kind = EXCEPTION_OF[status]
            return Refusal(status=status, code=code, kind=kind, message=reply.message)
        fault = Fault.ERROR_AFTER if status == "UNHEARD_OF" else Fault.ERROR_BEFORE
        return dataclasses.replace(reply, status=status, fault=fault)

    def _answer_to(
        self, _request: web.Request, body: Mapping[str, Any], replies: Sequence[Reply]
    ) -> web.Response:
        if "BulkEmailEntries" not in body:
            return self._answered("SendEmailResponse", {"MessageId": self._message_id()})
        answer = {"BulkEmailEntryResults": [self._result(reply) for reply in replies]}
        if any(reply.status == "UNHEARD_OF" for reply in replies):
            return web.json_response(answer)  # a status the model does not know yet
        return self._answered("SendBulkEmailResponse", answer)

    def _result(self, reply: Reply) -> Mapping[str, str]:
        if reply.status == "SUCCESS":
            return {"Status": reply.status, "MessageId": self._message_id()}
        return {"Status": reply.status, "Error": reply.message}


def _target(destination: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> Target:
    (address,) = destination["ToAddresses"]
    send_id = next((tag["Value"] for tag in tags if tag["Name"] == "send_id"), "")
    return Target(address=address, channel_type="EMAIL", send_id=send_id)


def _faults_of_one(body: Mapping[str, Any]) -> list[str]:
    found = _faults_of_mail(body["Destination"], body.get("EmailTags", []))
    simple = body["Content"].get("Simple")
    if simple is None:
        return [*found, "only Content.Simple is served here"]
    if not any(part.get("Data") for part in simple["Body"].values()):
        found.append("a mail without text")
    return found + _faults_of_headers(simple.get("Headers", []))


def _faults_of_bulk(body: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    template = body["DefaultContent"].get("Template", {})
    parts = template.get("TemplateContent", {})
    if not (parts.get("Subject") and (parts.get("Text") or parts.get("Html"))):
        found.append("a template without subject or without text")
    if any("{{" in text for text in parts.values()):
        found.append("a template with a variable that has no value")
    entries = body["BulkEmailEntries"]
    if not 1 <= len(entries) <= ENTRIES_MAX:
        found.append(f"{len(entries)} entries; 1 to {ENTRIES_MAX} are allowed")
    for entry in entries:
        found += _faults_of_mail(entry["Destination"], entry.get("ReplacementTags", []))
        found += _faults_of_headers(entry.get("ReplacementHeaders", []))
    return found


def _faults_of_mail(destination: Mapping[str, Any], tags: Sequence[Mapping[str, str]]) -> list[str]:
    found = []
    if len(destination.get("ToAddresses", [])) != 1 or len(destination) != 1:
        found.append("a mail to several people shows them each other")
    words = [word for tag in tags for word in tag.values()]
    if not all(TAG.fullmatch(word) for word in words):
        found.append("a tag with other characters than letters, digits, _ and -")
    return found


def _faults_of_headers(headers: Sequence[Mapping[str, str]]) -> list[str]:
    names = {header["Name"].lower() for header in headers}
    found = [] if len(names) == len(headers) else ["a header twice"]
    if "list-unsubscribe-post" in names:
        values = {header["Name"].lower(): header["Value"] for header in headers}
        if "<https://" not in values.get("list-unsubscribe", ""):
            found.append("List-Unsubscribe-Post without an https address (RFC 8058)")
        if values["list-unsubscribe-post"] != "List-Unsubscribe=One-Click":
            found.append("List-Unsubscribe-Post says something else (RFC 8058)")
    return found


if __name__ == "__main__":
    serve(SesStub, "worker.sandbox.ses")
