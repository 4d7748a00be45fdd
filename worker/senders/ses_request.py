"""Builds the bodies of SES calls from deliveries. Pure.

Shapes are those of `SendEmailRequest` and `SendBulkEmailRequest` in botocore's model of service
`sesv2`; the sandbox's stub checks every request against it.

One mail goes out by `SendEmail`, exactly as it was rendered. Several with one text go out by one
`SendBulkEmail`, whose text can only be a template; it is given inline and has no variables, so it
says the same to everybody. What is each recipient's own (address, send id, way to unsubscribe)
stands in that recipient's entry.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from email.utils import formataddr, parseaddr
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from worker.event_messages import SEND_ID_KEY
from worker.model import Delivery, Message
from worker.senders.braces import literal, literal_html

RECIPIENTS_MAX = 50
"""Entries per SendBulkEmail (SES developer guide, "Using templates to send personalized email")."""

REQUEST_BYTES_MAX = 1_000_000
"""A larger bulk call is split before it is made: SES takes inline templates up to 1 MB."""

HEADER_CHARS_MAX = 995
"""Of a header's value (`MessageHeaderValue` of botocore's model)."""

ONE_CLICK = "List-Unsubscribe=One-Click"
"""The whole value of List-Unsubscribe-Post (RFC 8058, section 3.1)."""

Json: TypeAlias = dict[str, Any]


class Unsendable(ValueError):
    """No valid call can be made of this delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOrigin:
    """Who our mail comes from, who hears of it, and how a reader ends it. Empty: not said."""

    email_from: str
    """`shop@example.com` or `Shop <shop@example.com>`."""
    reply_to: tuple[str, ...] = ()
    from_arn: str = ""
    """ARN of the identity, when another account owns it."""
    feedback_to: str = ""
    """Where SES sends bounces and complaints as mail."""
    feedback_arn: str = ""
    configuration_set: str = ""
    unsubscribe_url: str = ""
    """`https://...` or `mailto:...`, in which `{user_id}` and `{send_id}` stand for the user's and
    the send's, percent-encoded."""

    def envelope(self) -> Json:
        """What every call says about the sender. A name beyond ASCII is written as RFC 2047 wants
        it."""
        told: Json = {
            "FromEmailAddress": _mailbox(self.email_from),
            "FromEmailAddressIdentityArn": self.from_arn,
            "ReplyToAddresses": [_mailbox(address) for address in self.reply_to],
            "FeedbackForwardingEmailAddress": self.feedback_to,
            "FeedbackForwardingEmailAddressIdentityArn": self.feedback_arn,
            "ConfigurationSetName": self.configuration_set,
        }
        return {name: value for name, value in told.items() if value}


def _mailbox(text: str) -> str:
    name, address = parseaddr(text)
    return formataddr((name, address)) if name and address.isascii() else text


def call_kind(delivery: Delivery) -> Hashable:
    """Equal for two deliveries that one call can carry, if their addresses differ."""
    message = delivery.message
    return message.title, message.body, message.html


def one_message(delivery: Delivery, envelope: Json, unsubscribe_url: str) -> bytes:
    """The body of a SendEmail, JSON in UTF-8.

    Raises UnicodeEncodeError when a text or address holds half a surrogate pair, Unsendable when
    its headers would be too long.
    """
    simple: Json = {"Subject": _text(delivery.message.title or ""), "Body": _parts(delivery)}
    headers = _headers(delivery, unsubscribe_url)
    if headers:
        simple["Headers"] = headers
    return msgspec.json.encode(
        {
            **envelope,
            "Destination": {"ToAddresses": [delivery.address]},
            "Content": {"Simple": simple},
            "EmailTags": _tags(delivery),
        }
    )


def bulk_message(deliveries: Sequence[Delivery], envelope: Json, unsubscribe_url: str) -> bytes:
    """The body of a SendBulkEmail, for deliveries of one kind. Raises as `one_message` does."""
    first = deliveries[0]
    assert all(call_kind(delivery) == call_kind(first) for delivery in deliveries), (
        "one call, one kind"
    )
    template = {"TemplateContent": _template(first.message), "TemplateData": "{}"}
    return msgspec.json.encode(
        {
            **envelope,
            "DefaultContent": {"Template": template},
            "BulkEmailEntries": [_entry(delivery, unsubscribe_url) for delivery in deliveries],
        }
    )


def _text(text: str) -> Json:
    return {"Data": text, "Charset": "UTF-8"}


def _parts(delivery: Delivery) -> Json:
    message = delivery.message
    named = {"Text": message.body, "Html": message.html}
    return {name: _text(text) for name, text in named.items() if text}


def _template(message: Message) -> Json:
    parts = {
        "Subject": literal(message.title or ""),
        "Text": literal(message.body),
        "Html": literal_html(message.html or ""),
    }
    return {name: text for name, text in parts.items() if text}


def _entry(delivery: Delivery, unsubscribe_url: str) -> Json:
    entry: Json = {
        "Destination": {"ToAddresses": [delivery.address]},
        "ReplacementTags": _tags(delivery),
    }
    headers = _headers(delivery, unsubscribe_url)
    if headers:
        entry["ReplacementHeaders"] = headers
    return entry


def _tags(delivery: Delivery) -> list[Json]:
    """Receipts bring them back as `mail.tags`; a send id has only characters a tag may have."""
    return [{"Name": SEND_ID_KEY, "Value": delivery.claim.send_id}]


def _headers(delivery: Delivery, unsubscribe_url: str) -> list[Json]:
    """One-click unsubscription (RFC 8058); a mailto address has no such click (RFC 2369)."""
    if not unsubscribe_url:
        return []
    value = f"<{unsubscribe_link(delivery, unsubscribe_url)}>"
    if len(value) > HEADER_CHARS_MAX:
        raise Unsendable(f"List-Unsubscribe of more than {HEADER_CHARS_MAX} characters")
    headers = [{"Name": "List-Unsubscribe", "Value": value}]
    if unsubscribe_url.lower().startswith("https:"):
        headers.append({"Name": "List-Unsubscribe-Post", "Value": ONE_CLICK})
    return headers


def unsubscribe_link(delivery: Delivery, unsubscribe_url: str) -> str:
    """Where this recipient of this send unsubscribes. Raises UnicodeEncodeError for a user id that
    UTF-8 cannot carry."""
    claim = delivery.claim
    user_id = quote(claim.user_id, safe="")
    return unsubscribe_url.replace("{send_id}", claim.send_id).replace("{user_id}", user_id)
