"""Reads what SES answered: one outcome per mail, or one verdict on the whole call. Pure.

The tables are in docs/senders.md. As with every provider, nothing of SES's own text leaves this
module, for it may quote addresses; a `detail` is a status or the name of an exception.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from worker.model import Delivery, Outcome, Reason, Retry, Sent, Uncertain
from worker.senders.calls import Broken, Refused, after_failure, retry, uncertain
from worker.senders.refusals import Answers, Refusal
from worker.senders.words import letters_without


class SentMail(msgspec.Struct, frozen=True, rename="pascal"):
    """`SendEmailResponse` of botocore's model."""

    message_id: str | None = None


class EntryResult(msgspec.Struct, frozen=True, rename="pascal"):
    """`BulkEmailEntryResult` of botocore's model: what became of one entry."""

    status: str
    error: str | None = None
    message_id: str | None = None


class SentBulk(msgspec.Struct, frozen=True, rename="pascal"):
    """`SendBulkEmailResponse` of botocore's model; results are in the order of the entries."""

    bulk_email_entry_results: list[EntryResult]


THROTTLED_STATUSES = frozenset({"ACCOUNT_THROTTLED", "ACCOUNT_DAILY_QUOTA_EXCEEDED"})
OUR_STATUSES = frozenset(
    {
        "ACCOUNT_SENDING_PAUSED",
        "ACCOUNT_SUSPENDED",
        "CONFIGURATION_SET_DOES_NOT_EXIST",
        "CONFIGURATION_SET_NOT_FOUND",
        "CONFIGURATION_SET_SENDING_PAUSED",
        "INVALID_SENDING_POOL_NAME",
        "MAIL_FROM_DOMAIN_NOT_VERIFIED",
        "TEMPLATE_DOES_NOT_EXIST",
        "TEMPLATE_NOT_FOUND",
    }
)
"""About our account or set-up. Two are named differently in the model's prose and its enum."""
REFUSED_STATUSES = frozenset(
    {"FAILED", "INVALID_PARAMETER", "INVALID_PARAMETER_VALUE", "MESSAGE_REJECTED"}
)

THROTTLED_EXCEPTIONS = frozenset({"LimitExceededException"})
"""Besides those all services share. The daily quota is told by one or the other."""
OUR_EXCEPTIONS = frozenset(
    {
        "AccountSuspendedException",
        "MailFromDomainNotVerifiedException",
        "NotFoundException",
        "SendingPausedException",
    }
)
OUR_FAULT = ("notverified", "sendingpaused", "configurationset")
"""Pieces of an error's text, without case and punctuation, that say our own set-up is wrong: the
sender, or in a sandboxed account any recipient, is not verified; the configuration set is not
there. SES says so by MessageRejected and BadRequestException too."""


def of_one(delivery: Delivery, body: bytes) -> list[Outcome]:
    """The outcome of a SendEmail that was accepted. A body that cannot be read leaves it uncertain:
    SES did take the call."""
    try:
        answer = msgspec.json.decode(body, type=SentMail)
    except msgspec.DecodeError:
        return uncertain([delivery], "unreadable_answer")
    return [Sent(send_id=delivery.claim.send_id, message_id=answer.message_id)]


def of_bulk(deliveries: Sequence[Delivery], body: bytes) -> Answers:
    """Answers in the order of the deliveries, from the body of a SendBulkEmail that was accepted.
    One that cannot be read, or has more or fewer results than entries, leaves all uncertain."""
    try:
        results = msgspec.json.decode(body, type=SentBulk).bulk_email_entry_results
    except msgspec.DecodeError:
        return uncertain(deliveries, "unreadable_answer")
    if len(results) != len(deliveries):
        return uncertain(deliveries, "missing_result")
    return [_of_entry(one, result) for one, result in zip(deliveries, results, strict=True)]


def _of_entry(delivery: Delivery, result: EntryResult) -> Outcome | Refusal:
    send_id, status = delivery.claim.send_id, result.status
    if status == "SUCCESS":
        return Sent(send_id=send_id, message_id=result.message_id)
    if status == "TRANSIENT_FAILURE":
        return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail=status)
    if status in THROTTLED_STATUSES:
        return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail=status)
    is_ours = _is_our_fault(result.error or "", [delivery])
    if status in OUR_STATUSES or (status in REFUSED_STATUSES and is_ours):
        return Retry(send_id=send_id, reason=Reason.CHANNEL_PAUSED, detail=status)
    if status in REFUSED_STATUSES:
        return Refusal(send_id=send_id, detail=status)
    return Uncertain(send_id=send_id, detail="UNKNOWN_STATUS")


def of_failure(deliveries: Sequence[Delivery], failure: Refused | Broken) -> Answers | None:
    """What a call that failed as a whole means. None: certainly not accepted, and something in the
    call is to blame."""
    if isinstance(failure, Refused) and failure.status < 500:
        code = failure.code
        if code in THROTTLED_EXCEPTIONS:
            return retry(deliveries, Reason.PROVIDER_THROTTLED, code)
        if code in OUR_EXCEPTIONS or _is_our_fault(failure.message, deliveries):
            return retry(deliveries, Reason.CHANNEL_PAUSED, code or failure.detail)
        if code == "MessageRejected" and len(deliveries) == 1:
            return [Refusal(send_id=deliveries[0].claim.send_id, detail=code)]
    return after_failure(deliveries, failure)


def _is_our_fault(message: str, deliveries: Sequence[Delivery]) -> bool:
    said = letters_without(message, [delivery.address for delivery in deliveries])
    return any(piece in said for piece in OUR_FAULT)
