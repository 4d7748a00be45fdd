"""What became of a message: mail and SMS events of three formats -> receipts, stops, clicks.

Pinpoint (`_email.*`, `_SMS.*`), SES and End User Messaging tell the same stories in three
spellings. Each reader turns its format into one `MessageReport`, named in Pinpoint's words;
`report_signals` is the only place that decides what a report means. Pure.

None of these events names a user, and their client_id may be a random id: they are matched by our
send id, by the provider's message id, or by the address (facts: events.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from worker.addresses import CHANNEL_TYPE_OF, normalise_address
from worker.event_shapes import (
    TEXT_CHARS_MAX,
    BounceShape,
    ComplaintShape,
    CustomShape,
    DeliveryShape,
    EventAttributesShape,
    EventShape,
    MailEventShape,
    MailShape,
    SesDetailShape,
    SesMailShape,
    SmsReportShape,
    decode_any,
    shaped,
)
from worker.event_times import Arrival
from worker.model import (
    Activity,
    Channel,
    Receipt,
    ReceiptStatus,
    Signal,
    Stop,
    StopReason,
)

SEND_ID_KEY: Final = "send_id"
"""Under this name our senders put the send id into Context, EmailTags and the like."""

DETAIL_CHARS_MAX: Final = 100

RECIPIENTS_MAX: Final = 100
"""Of one message. SES takes 50, and we write to one at a time."""

_RECEIPT_OF: Final[Mapping[str, ReceiptStatus]] = {
    "_SMS.BUFFERED": ReceiptStatus.BUFFERED,
    "_SMS.SUCCESS": ReceiptStatus.DELIVERED,
    "_SMS.FAILURE": ReceiptStatus.FAILED,
    "_email.send": ReceiptStatus.BUFFERED,
    "_email.delivery_delay": ReceiptStatus.BUFFERED,
    "_email.delivered": ReceiptStatus.DELIVERED,
    "_email.hardbounce": ReceiptStatus.FAILED,
    "_email.softbounce": ReceiptStatus.SOFT_BOUNCED,
    "_email.rejected": ReceiptStatus.FAILED,
    "_email.rendering_failure": ReceiptStatus.FAILED,
}
RECEIPT_EVENTS: Final = frozenset(_RECEIPT_OF)

_SES_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "Send": ("_email.send", "send"),
    "Delivery": ("_email.delivered", "delivery"),
    "DeliveryDelay": ("_email.delivery_delay", "deliveryDelay"),
    "Bounce": ("_email.softbounce", "bounce"),
    "Complaint": ("_email.complaint", "complaint"),
    "Reject": ("_email.rejected", "reject"),
    "Rendering Failure": ("_email.rendering_failure", "failure"),
    "Open": ("_email.open", "open"),
    "Click": ("_email.click", "click"),
    "Subscription": ("_email.subscription", "subscription"),
}
"""SES eventType -> Pinpoint's word, and the member that holds the details."""

_SMS_FORMATS: Final = ("TEXT_", "MEDIA_", "RCS_")
_SMS_DELIVERED: Final = frozenset({"DELIVERED", "SUCCESSFUL", "READ"})
_SMS_UNDER_WAY: Final = frozenset({"PENDING", "QUEUED", "ACCEPTED", "SENT"})
_SMS_NOT_TOLD: Final = "UNKNOWN"
"""The carrier said nothing for 72 hours, and never will: it may well have arrived."""


class MessageReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event about one message. Addresses are as the event spells them.

    A Struct, like `Arrival` and `Reading`: built once per event, at a fifth of a dataclass's cost.
    """

    channel: Channel
    event_type: str
    at_ms: int
    bad_time: bool = False
    """The event states a time that cannot be used; `at_ms` is then the arrival."""
    status: ReceiptStatus | None = None
    detail: str = ""
    send_id: str | None = None
    message_id: str | None = None
    addresses: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    """Which of them it is about: who bounced, complained, was reached. Empty: all."""
    stop: StopReason | None = None


def report_signals(report: MessageReport, *, active_ms: int | None) -> Iterator[Signal]:
    """The receipts, the stops and the activity of a report; `active_ms`: when the event shows that
    a human was here, None when it does not.

    One message may have gone to several addresses under one id: then each that the report is about
    has a receipt of its own. Our send id is that of one address, so it has one.

    Yields nothing for what names neither message nor address: the caller counts that.
    """
    channel, at_ms = report.channel, report.at_ms
    addresses = _normalised(channel, report.addresses)
    about: list[str | None] = [*(_normalised(channel, report.about) or addresses)]
    is_named = report.send_id is not None or report.message_id is not None
    if not about and is_named:
        about = [None]
    if report.status is not None:
        for address in about[:1] if report.send_id else about:
            yield Receipt(
                at_ms=at_ms,
                channel=channel,
                status=report.status,
                detail=report.detail[:DETAIL_CHARS_MAX],
                send_id=report.send_id,
                message_id=report.message_id,
                address=address,
            )
    if report.stop is not None:
        for stopped in about:
            named = stopped is None
            yield Stop(
                at_ms=at_ms,
                channel=channel,
                reason=report.stop,
                address=stopped,
                send_id=report.send_id if named else None,
                message_id=report.message_id if named else None,
            )
    # Of several addresses nobody knows which one opened it: the message says who they are.
    is_one = len(addresses) == 1 or report.message_id is None
    address = addresses[0] if addresses and is_one else None
    if active_ms is not None and (report.message_id or address):
        yield Activity(
            at_ms=active_ms,
            event_type=report.event_type,
            message_id=report.message_id,
            address=address,
        )


def _normalised(channel: Channel, addresses: tuple[str, ...]) -> list[str]:
    """Addresses as a provider reports them. Its numbers begin with their country code, also where
    it leaves the "+" out."""
    kind = CHANNEL_TYPE_OF[channel]
    known = [bare for address in addresses if (bare := normalise_address(kind, address))]
    if channel is Channel.SMS:
        return [f"+{number}" if number.isdigit() else number for number in known]
    return known


# --- Pinpoint ---------------------------------------------------------------------------------


def pinpoint_mail(event_type: str, event: EventShape, arrival: Arrival) -> MessageReport:
    """A `_email.*` event. Its time is the arrival: event_timestamp is when the mail was sent,
    also on opens and clicks."""
    channel = event.facets.email_channel if event.facets else None
    facts = (channel.mail_event if channel else None) or MailEventShape()
    mail = facts.mail or MailShape()
    bounce = facts.bounce or BounceShape()
    complaint = facts.complaint or ComplaintShape()
    delivery = facts.delivery or DeliveryShape()
    about = {
        "_email.delivered": _texts(delivery.recipients),
        "_email.hardbounce": _recipients(bounce.bounced_recipients, "email_address"),
        "_email.softbounce": _recipients(bounce.bounced_recipients, "email_address"),
        "_email.complaint": _recipients(complaint.complained_recipients, "email_address"),
    }
    return MessageReport(
        channel=Channel.EMAIL,
        event_type=event_type,
        at_ms=arrival.at_ms,
        bad_time=arrival.unusable,
        status=_RECEIPT_OF.get(event_type),
        detail=_mail_detail(event_type, bounce.bounce_type, bounce.bounce_sub_type),
        send_id=_send_id(event),
        message_id=mail.message_id,
        addresses=_texts(mail.destination),
        about=about.get(event_type, ()),
        stop=_mail_stop(event_type, bounce.bounce_type, complaint.complaint_feedback_type),
    )


def pinpoint_sms(event_type: str, event: EventShape, arrival: Arrival) -> MessageReport:
    """A `_SMS.*` event. OPTED_OUT as the status of a failure is the carrier's list speaking."""
    facts = event.attributes or EventAttributesShape()
    status = (facts.record_status or "").upper()
    opted_out = event_type == "_SMS.OPTOUT" or status == "OPTED_OUT"
    unknown = event_type == "_SMS.FAILURE" and status == _SMS_NOT_TOLD
    at_ms, unusable = arrival.clamp(event.event_timestamp)
    number = facts.destination_phone_number
    return MessageReport(
        channel=Channel.SMS,
        event_type=event_type,
        at_ms=at_ms,
        bad_time=unusable or arrival.unusable,
        status=ReceiptStatus.BUFFERED if unknown else _RECEIPT_OF.get(event_type),
        detail=status,
        send_id=_send_id(event),
        message_id=facts.message_id,
        addresses=(number,) if number else (),
        stop=StopReason.OPTED_OUT if opted_out else None,
    )


def _send_id(event: EventShape) -> str | None:
    """Our id, from the places a Context has been seen in (docs/events.md)."""
    facts = event.attributes or EventAttributesShape()
    custom = (event.client_context.custom if event.client_context else None) or CustomShape()
    return _in_context(facts.customer_context) or facts.send_id or custom.send_id


def _in_context(context: Any) -> str | None:
    """The send id in a Context: an object, or a string that holds one as JSON."""
    if isinstance(context, str):
        try:
            context = decode_any(context)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
    found = context.get(SEND_ID_KEY) if isinstance(context, dict) else None
    return next(iter(_texts(found)), None)


# --- SES --------------------------------------------------------------------------------------


def ses_report(value: Mapping[str, Any], arrival: Arrival) -> MessageReport | None:
    """An event that SES published, or a notification of an SES identity. None: neither."""
    kind = value.get("eventType") or value.get("notificationType")
    if not (isinstance(kind, str) and kind in _SES_WORDS and isinstance(value.get("mail"), dict)):
        return None
    event_type, member = _SES_WORDS[kind]
    mail = shaped(value["mail"], SesMailShape)
    found = value.get(member)
    facts = shaped(found if isinstance(found, dict) else {}, SesDetailShape)
    if kind == "Bounce" and facts.bounce_type == "Permanent":
        event_type = "_email.hardbounce"
    if kind == "Subscription" and (facts.new_topic_preferences or {}).get("unsubscribeAll") is True:
        event_type = "_email.unsubscribe"
    about = {
        "_email.delivered": _texts(facts.recipients),
        "_email.delivery_delay": _recipients(facts.delayed_recipients, "emailAddress"),
        "_email.hardbounce": _recipients(facts.bounced_recipients, "emailAddress"),
        "_email.softbounce": _recipients(facts.bounced_recipients, "emailAddress"),
        "_email.complaint": _recipients(facts.complained_recipients, "emailAddress"),
    }
    stamp = mail.timestamp if kind == "Send" else facts.timestamp
    at_ms, unusable = arrival.clamp(stamp)
    return MessageReport(
        channel=Channel.EMAIL,
        event_type=event_type,
        at_ms=at_ms,
        bad_time=unusable,
        status=_RECEIPT_OF.get(event_type),
        detail=_mail_detail(event_type, facts.bounce_type, facts.bounce_sub_type),
        send_id=next(iter(_texts((mail.tags or {}).get(SEND_ID_KEY))), None),
        message_id=mail.message_id,
        addresses=_texts(mail.destination),
        about=about.get(event_type, ()),
        stop=_mail_stop(event_type, facts.bounce_type, facts.complaint_feedback_type),
    )


# --- End User Messaging -----------------------------------------------------------------------


def sms_report(value: Mapping[str, Any], arrival: Arrival) -> MessageReport | None:
    """An event of an End User Messaging configuration set. None: something else."""
    facts = shaped(value, SmsReportShape)
    if facts.event_type is None or not facts.event_type.startswith(_SMS_FORMATS):
        return None
    said = (facts.message_status or facts.event_type.partition("_")[2]).upper()
    if facts.is_final is False or said in _SMS_UNDER_WAY or said == _SMS_NOT_TOLD:
        status = ReceiptStatus.BUFFERED
    else:
        status = ReceiptStatus.DELIVERED if said in _SMS_DELIVERED else ReceiptStatus.FAILED
    number = facts.destination_phone_number
    at_ms, unusable = arrival.clamp(facts.event_timestamp)
    return MessageReport(
        channel=Channel.SMS,
        event_type=facts.event_type,
        at_ms=at_ms,
        bad_time=unusable,
        status=status,
        detail=said,
        send_id=_in_context(facts.context),
        message_id=facts.message_id,
        addresses=(number,) if number else (),
    )


# --- what the mail formats share --------------------------------------------------------------


def _mail_stop(
    event_type: str, bounce_type: str | None, feedback_type: str | None
) -> StopReason | None:
    """Why mail to those it is about must end; None: it need not."""
    if event_type == "_email.hardbounce" and (bounce_type or "Permanent").lower() == "permanent":
        return StopReason.HARD_BOUNCED
    # "not-spam" is a recipient who takes a mail out of the spam folder.
    if event_type == "_email.complaint" and feedback_type != "not-spam":
        return StopReason.COMPLAINED
    if event_type == "_email.unsubscribe":
        return StopReason.UNSUBSCRIBED
    return None


def _mail_detail(event_type: str, bounce_type: str | None, bounce_sub_type: str | None) -> str:
    said = [event_type.partition(".")[2], bounce_type, bounce_sub_type]
    return " ".join(filter(None, said))


def _recipients(entries: Any, key: str) -> tuple[str, ...]:
    if not isinstance(entries, list):
        return ()
    return _texts([entry.get(key) for entry in entries if isinstance(entry, dict)])


def _texts(value: Any) -> tuple[str, ...]:
    """The texts in a list, or a single text; no empty and no endless ones."""
    items = value[:RECIPIENTS_MAX] if isinstance(value, list) else [value]
    return tuple(
        item for item in items if isinstance(item, str) and 0 < len(item) <= TEXT_CHARS_MAX
    )
