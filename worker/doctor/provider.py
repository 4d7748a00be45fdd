"""The providers: may this worker send, asked without sending.

Each service that is chosen gets one request that can reach nobody: no address in it, and for SMS
marked as a dry run. AWS settles who may call before it handles a request, so a refusal that speaks
of the request says that the call was allowed. (IAM user guide, "How AWS enforcement code logic
evaluates requests"; statuses as in the API references of SendMessages, SendEmail, SendTextMessage.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from worker.doctor.findings import Finding, fail, ok, unknown
from worker.doctor.probe import Clocks, asked, code_of
from worker.errors import ComebackError
from worker.kinesis.faults import CALL_ERRORS, fault_of
from worker.senders.client import open_client
from worker.settings import Settings

FORBIDDEN_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "ForbiddenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Who may call, settled before the request is looked at; some services say it with a 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """One request that reaches nobody."""

    sender: str
    service: str
    method: str
    action: str
    request: Mapping[str, Any]
    setting: str
    """What to look at when AWS does not know what the request names."""


async def providers(settings: Settings, clocks: Clocks, *, seconds: float) -> list[Finding]:
    """May messages be sent by every service the settings choose? `seconds` bound each call."""
    return [await _asked(question, clocks, seconds) for question in _questions(settings)]


def _questions(settings: Settings) -> list[_Question]:
    chosen = {settings.push_sender, settings.email_sender, settings.sms_sender}
    application = settings.pinpoint_application_id
    everything = {
        "pinpoint": _Question(
            sender="pinpoint",
            service="pinpoint",
            method="send_messages",
            action="mobiletargeting:SendMessages",
            # Without an application there is nothing to ask about: `settings` tells of that.
            request={
                "ApplicationId": application,
                "MessageRequest": {"MessageConfiguration": {}, "Addresses": {}},
            }
            if application
            else {},
            setting="COMEBACK_PINPOINT_APPLICATION_ID",
        ),
        "ses": _Question(
            sender="ses",
            service="sesv2",
            method="send_email",
            action="ses:SendEmail",
            request={"FromEmailAddress": settings.email_from, "Content": {}}
            if settings.email_from
            else {},
            setting="COMEBACK_EMAIL_FROM",
        ),
        "end_user_messaging": _Question(
            sender="end_user_messaging",
            service="pinpoint-sms-voice-v2",
            method="send_text_message",
            action="sms-voice:SendTextMessage",
            request={"DestinationPhoneNumber": "", "DryRun": True}
            | (
                {"OriginationIdentity": settings.sms_origination_identity}
                if settings.sms_origination_identity
                else {}
            ),
            setting="COMEBACK_SMS_ORIGINATION_IDENTITY",
        ),
    }
    return [question for sender, question in everything.items() if sender in chosen]


async def _asked(question: _Question, clocks: Clocks, seconds: float) -> Finding:
    check = f"send by {question.sender}"
    if not question.request:
        return unknown(check, f"{question.setting} is not set")
    try:
        async with open_client(
            question.service, calls_in_flight_max=1, call_timeout_seconds=seconds
        ) as client:
            answer = await asked(getattr(client, question.method)(**question.request), seconds)
    except ComebackError as error:
        return fail(check, "the client cannot be made", str(error))
    except ClientError as error:
        clocks.note(error.response)
        return _judged(check, question, *code_of(error))
    except TimeoutError:
        return _silent(check, f"no answer in {seconds:.0f} s")
    except CALL_ERRORS as error:
        return _broken(check, question, error)
    clocks.note(answer)
    return ok(check, f"{question.action} is allowed")


def _judged(check: str, question: _Question, status: int, code: str) -> Finding:
    told = f"{question.action}: {code or status}"
    if code in FORBIDDEN_CODES or status == 403:
        todo = f"Allow the action {question.action} for the role of this worker, and look at its "
        return fail(check, told, f"{todo}credentials, region and {question.setting}.")
    if status == 404:
        todo = f"Look at {question.setting}, at AWS_REGION and at the account of the credentials."
        return fail(check, told, todo)
    if status == 429 or status >= 500 or "hrottl" in code:
        return unknown(check, told, "Run this again in a minute.")
    return ok(check, f"{question.action} is allowed (an empty request was refused: {code})")


def _broken(check: str, question: _Question, error: Exception) -> Finding:
    """No answer at all; re-raises what only a bug of ours can cause."""
    fault = fault_of(error, question.action)
    if fault.code == "NoCredentials":
        todo = "Give the container a task role or pod identity, or set AWS_ACCESS_KEY_ID and "
        return fail(check, "no AWS credentials were found", f"{todo}AWS_SECRET_ACCESS_KEY.")
    return _silent(check, f"{type(error).__name__}")


def _silent(check: str, found: str) -> Finding:
    return unknown(check, found, "Look at the network between here and AWS, and run this again.")
