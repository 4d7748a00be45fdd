"""Reads what SendTextMessage answered. Pure.

Every exception but throttling and the service's own failure has a `Reason`; the table is in
docs/senders.md. A reason that blames one number costs one number, one that blames our set-up
pauses SMS, and one that may be either is judged by what happens to the others (`refusals.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from worker.errors import AccessDenied, ConfigurationError, SettingsError
from worker.model import Delivery, Outcome, Reason, Rejected, Sent, StopReason
from worker.senders.calls import Broken, Refused, after_failure, retry, uncertain
from worker.senders.refusals import Answers, Refusal


class SentText(msgspec.Struct, frozen=True, rename="pascal"):
    """`SendTextMessageResult` of botocore's model."""

    message_id: str | None = None


STOPS: Mapping[str, StopReason] = {"DESTINATION_PHONE_NUMBER_OPTED_OUT": StopReason.OPTED_OUT}
"""The number is on the opt-out list of the account or pool."""

ABOUT_THE_DESTINATION = frozenset(
    {
        "COUNTRY_CODE_MISMATCH",
        "COUNTRY_NOT_ENABLED",
        "DESTINATION_COUNTRY_BLOCKED",
        "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION",
        "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE",
        "INTERNATIONAL_SENDING_NOT_SUPPORTED",
        "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY",
        "PRICE_OVER_THRESHOLD",
        "SENDER_ID_NOT_REGISTERED",
        "SENDER_ID_NOT_SUPPORTED",
        "SENDER_ID_REQUIRES_REGISTRATION",
    }
)
"""This number or its country cannot be reached from our origin, or not at that price: given up,
the number is kept, and everybody else goes on."""

JUDGED = frozenset(
    {
        "CANNOT_PARSE",
        "FIELD_VALIDATION_FAILED",
        "INVALID_PARAMETER",
        "INVALID_REQUEST",
        "MAXIMUM_SIZE_EXCEEDED",
        "NO_ORIGINATION_IDENTITIES_FOUND",
        "OTHER",
        "",
    }
)
"""The text's or number's fault, or ours. Every other reason is about our account and set-up."""

DESTINATION = "DestinationPhoneNumber"
TEXT = "MessageBody"
REASONED = frozenset({"ConflictException", "ValidationException"})
"""Exceptions whose reason may blame a single send."""
OUR_EXCEPTIONS = frozenset(
    {"AccessDeniedException", "ResourceNotFoundException", "ServiceQuotaExceededException"}
)


def of_sent(delivery: Delivery, body: bytes) -> list[Outcome]:
    """The outcome of a call that was accepted. A body that cannot be read leaves it uncertain: the
    service did take the call."""
    try:
        answer = msgspec.json.decode(body, type=SentText)
    except msgspec.DecodeError:
        return uncertain([delivery], "unreadable_answer")
    return [Sent(send_id=delivery.claim.send_id, message_id=answer.message_id)]


def of_failure(delivery: Delivery, failure: Refused | Broken) -> Answers | None:
    """What a call that failed means. None: certainly not accepted, and something in the call is to
    blame."""
    if isinstance(failure, Broken) or failure.status >= 500:
        return after_failure([delivery], failure)
    if failure.code in OUR_EXCEPTIONS:
        return retry([delivery], Reason.CHANNEL_PAUSED, told(failure))
    if failure.code in REASONED:
        return [_of_reason(delivery, failure)]
    return after_failure([delivery], failure)


def _of_reason(delivery: Delivery, failure: Refused) -> Outcome | Refusal:
    send_id, reason, fields = delivery.claim.send_id, reason_of(failure), fields_of(failure)
    detail = told(failure)
    if reason in STOPS:
        return Rejected(send_id=send_id, detail=detail, stop=STOPS[reason])
    if reason in ABOUT_THE_DESTINATION:
        return Rejected(send_id=send_id, detail=detail)
    if fields == [DESTINATION]:
        return Rejected(send_id=send_id, detail=detail, stop=StopReason.DEAD)
    if reason in JUDGED and set(fields) <= {DESTINATION, TEXT}:
        return Refusal(send_id=send_id, detail=detail)
    return retry([delivery], Reason.CHANNEL_PAUSED, detail)[0]


def trouble(failure: Refused | Broken) -> str:
    """After a dry run: what is in the way for the moment, in one word.

    Raises SettingsError or AccessDenied for what a person must change before any SMS can go out.
    """
    if isinstance(failure, Refused) and failure.status < 500:
        error = _lasting(failure)
        if error is not None:
            raise error
        return told(failure)
    return failure.detail


def _lasting(failure: Refused) -> ConfigurationError | None:
    reason = reason_of(failure)
    if failure.code == "AccessDeniedException" and not reason:
        return AccessDenied(
            "AWS does not allow this worker to send SMS: its role lacks sms-voice:SendTextMessage"
            " on COMEBACK_SMS_ORIGINATION_IDENTITY or COMEBACK_SMS_CONFIGURATION_SET."
        )
    lasting = failure.code in REASONED or failure.code == "ResourceNotFoundException"
    if not lasting or reason in STOPS:
        return None
    fields = fields_of(failure)
    named = f" in {', '.join(fields)}" if fields else ""
    return SettingsError(
        f"A dry run of an SMS was refused: {told(failure)}{named}. Nothing was sent. Look at"
        " COMEBACK_SMS_ORIGINATION_IDENTITY, COMEBACK_SMS_CONFIGURATION_SET,"
        " COMEBACK_SMS_MESSAGE_TYPE and COMEBACK_SMS_CHECK_NUMBER, or unset the last to start"
        " without a check."
    )


def told(failure: Refused) -> str:
    """The exception and its reason in a word or two: `ConflictException RESOURCE_NOT_ACTIVE`."""
    code = _name(failure.code) or failure.detail
    return f"{code} {reason_of(failure)}".rstrip()


def reason_of(failure: Refused) -> str:
    """Its `Reason`; empty when there is none one could read."""
    return _name(failure.members.get("Reason"))


def fields_of(failure: Refused) -> Sequence[str]:
    """Names of the parameters a ValidationException complains about."""
    entries = failure.members.get("Fields")
    entries = entries if isinstance(entries, list) else []
    return [name for e in entries if isinstance(e, dict) and (name := _name(e.get("Name")))]


def _name(value: object) -> str:
    """A word of the service's model; whatever else it may say could be anybody's text."""
    return value if isinstance(value, str) and re.fullmatch(r"\w{1,64}", value, re.ASCII) else ""
