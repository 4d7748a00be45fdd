"""Reads what Pinpoint answered: one outcome per address, or one verdict on the whole call. Pure.

HTTP 200 says nothing about an address: each has a `DeliveryStatus` of its own. The table is in
docs/sending.md. Nothing of the provider's own text leaves this module, for `StatusMessage` may
hold the token or the address; a `detail` is a status and a number, or a code of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from worker.drafts import quick
from worker.model import (
    Channel,
    Delivery,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    StopReason,
    Uncertain,
)
from worker.senders.calls import uncertain
from worker.senders.words import letters_without


class AddressResult(msgspec.Struct, frozen=True, rename="pascal"):
    """`MessageResult` of botocore's model: what became of one address."""

    delivery_status: str
    status_code: int | None = None
    status_message: str | None = None
    message_id: str | None = None
    updated_token: str | None = None


class MessageResponse(msgspec.Struct, frozen=True, rename="pascal"):
    """`MessageResponse` of botocore's model; the body of a 200."""

    result: dict[str, AddressResult]


_read = msgspec.json.Decoder(MessageResponse).decode
_new_sent = quick(Sent)

KNOWN_STATUSES = frozenset(
    {
        "SUCCESSFUL",
        "THROTTLED",
        "TEMPORARY_FAILURE",
        "PERMANENT_FAILURE",
        "UNKNOWN_FAILURE",
        "TIMEOUT",
        "OPT_OUT",
        "DUPLICATE",
    }
)
"""`DeliveryStatus` of botocore's model, and TIMEOUT, which only older references know."""

OUR_FAULT: Mapping[Channel, tuple[str, ...]] = {
    Channel.PUSH: (
        "certificate",
        "credential",
        "providertoken",
        "badtopic",
        "missingtopic",
        "topicdisallowed",
        "authenticationerror",
        "thirdpartyautherror",
        "unauthorized",
    ),
    Channel.EMAIL: ("notverified", "sendingpaused", "accountpaused", "fromaddress"),
    Channel.SMS: ("providednumberdoesnotexist", "origination", "spendlimit", "notverified"),
}
"""Pieces of `StatusMessage`, without case and punctuation, that say our own set-up is wrong.

Pinpoint calls these PERMANENT_FAILURE too. Taken for the address's fault, one expired certificate
would kill the address of every user. "The provided number does not exist" is the origination
number (seen in production by the notification API of the US Department of Veterans Affairs); "not
verified" is the sender, or in a sandbox account any recipient."""

OUR_FAULT_ON_ANY_CHANNEL = (
    "channelisdisabled",
    "channelisnotenabled",
    "channeldisabled",
    "channelnotenabled",
    "accessdenied",
    "accountdisabled",
    "accountisdisabled",
)

NOBODYS_FAULT: Mapping[Channel, tuple[str, ...]] = {
    Channel.PUSH: ("mismatchsenderid", "senderidmismatch", "devicetokennotfortopic"),
    Channel.EMAIL: (),
    Channel.SMS: ("senderid", "country"),
}
"""Ours or the address's, one cannot tell: the send is given up, the address is kept, the channel
goes on. A push token of another project is an old one of this user, or every user's after a wrong
change of credentials; a sender id may be unknown in one country only."""


def outcome_of(delivery: Delivery, result: AddressResult | None) -> Outcome:
    """What Pinpoint's result for one address means. None: the answer does not mention it."""
    send_id = delivery.claim.send_id
    if result is None:
        return Uncertain(send_id=send_id, detail="missing_result")
    if result.delivery_status == "SUCCESSFUL":
        return _taken(delivery, result)
    detail = _detail(result)
    match result.delivery_status:
        case "THROTTLED":
            return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail=detail)
        case "TEMPORARY_FAILURE":
            return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail=detail)
        case "PERMANENT_FAILURE":
            return _permanent(delivery, result.status_message or "", detail)
        case "OPT_OUT":
            return Rejected(send_id=send_id, detail=detail, stop=StopReason.OPTED_OUT)
        case "DUPLICATE":
            # Another endpoint has this address and is served instead: nothing is wrong with it.
            return Rejected(send_id=send_id, detail=detail)
        case _:
            return Uncertain(send_id=send_id, detail=detail)


def _taken(delivery: Delivery, result: AddressResult) -> Sent:
    return _new_sent(
        send_id=delivery.claim.send_id,
        message_id=result.message_id,
        updated_token=result.updated_token or None,
    )


def _permanent(delivery: Delivery, message: str, detail: str) -> Outcome:
    send_id, channel = delivery.claim.send_id, delivery.claim.channel
    said = letters_without(message, [delivery.address])
    if any(piece in said for piece in NOBODYS_FAULT[channel]):
        return Rejected(send_id=send_id, detail=detail)
    if any(piece in said for piece in (*OUR_FAULT[channel], *OUR_FAULT_ON_ANY_CHANNEL)):
        return Retry(send_id=send_id, reason=Reason.CHANNEL_PAUSED, detail=detail)
    return Rejected(send_id=send_id, detail=detail, stop=StopReason.DEAD)


def _detail(result: AddressResult) -> str:
    known = result.delivery_status in KNOWN_STATUSES
    status = result.delivery_status if known else "UNKNOWN_STATUS"
    code = result.status_code
    return f"{status} {code}" if code is not None and 0 <= code <= 999 else status


def outcomes_of(deliveries: Sequence[Delivery], body: bytes) -> list[Outcome]:
    """Outcomes in the order of the deliveries, from the body of a 200.

    An answer that cannot be read leaves every delivery uncertain: Pinpoint did take the call.
    """
    try:
        response = _read(body)
    except (ValueError, RecursionError):
        return uncertain(deliveries, "unreadable_answer")
    outcomes: list[Outcome] = []
    for delivery in deliveries:
        result = response.result.get(delivery.address)
        if result is not None and result.delivery_status == "SUCCESSFUL":
            outcomes.append(_taken(delivery, result))
        else:
            outcomes.append(outcome_of(delivery, result))
    return outcomes
