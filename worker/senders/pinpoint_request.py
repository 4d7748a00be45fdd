"""Builds the body of one Pinpoint `SendMessages` call from deliveries. Pure.

Shapes are those of `MessageRequest` in botocore's model of service `pinpoint`; the sandbox's stub
checks every request against it. Only `Addresses` are used: endpoints, segments and templates ended
with Pinpoint on 2026-10-30.

What may differ within one call:

- push: the text, by `TitleOverride` and `BodyOverride` of each address. The model says these
  replace the *default* message, so that is what is sent (`DefaultPushNotificationMessage`, which
  every push channel uses and which has all fields a `Message` has); a text of its own in
  `GCMMessage` or `APNSMessage` might win over them. When texts differ the default has no text, so
  whatever the service makes of the overrides, nobody can be shown another user's words. Link and
  data cannot be overridden and are shared.
- push with a time to live: the text, by the `Substitutions` of each address, which the model says
  win over the message's own. Only the message of one kind of phone can say how long to try, so each
  kind gets a message of its own beside the default, and all of them say the same: the text, or
  where texts differ the two variables it is filled into.
- SMS and e-mail: nothing. Neither subject nor HTML can be overridden, and an SMS is paced by its
  origination number, far below what sharing calls could win. Only identical texts share a call.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from worker.event_messages import SEND_ID_KEY
from worker.model import SECOND_MS, Channel, Delivery, Message
from worker.senders.braces import literal, literal_html, literal_url

RECIPIENTS_MAX = 100
"""Addresses per call (API reference, "Messages")."""

REQUEST_BYTES_MAX = 1024 * 1024
"""A larger call is split before it is made. Pinpoint allows 7 MB; signing and writing even one
would stop the event loop for too long."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who our messages come from. Empty: what the Pinpoint application is set up with."""

    email_from: str = ""
    sms_origination_number: str = ""
    sms_sender_id: str = ""
    sms_message_type: str = "PROMOTIONAL"


def call_kind(delivery: Delivery) -> Hashable:
    """Equal for two deliveries that one call can carry, if their addresses differ."""
    channel, message = delivery.claim.channel, delivery.message
    match channel:
        case Channel.PUSH:
            shared = (message.url, tuple(sorted(message.data.items())))
            if delivery.ttl_ms is None:
                return channel, shared
            return channel, shared, delivery.ttl_ms, message.title is None
        case Channel.EMAIL:
            return channel, message.title, message.body, message.html
        case Channel.SMS:
            return channel, message.body


def message_request(deliveries: Sequence[Delivery], origin: Origin) -> bytes:
    """The request body, JSON in UTF-8, for deliveries of one kind.

    Raises UnicodeEncodeError when a text or address holds half a surrogate pair, which JSON events
    can smuggle in and UTF-8 cannot carry.
    """
    first = deliveries[0]
    assert all(_is_alike(delivery, first) for delivery in deliveries), "one call, one kind"
    texts = {(delivery.message.title, delivery.message.body) for delivery in deliveries}
    shared = len(texts) == 1
    address_of = _address_alone if shared else _address_with_text
    body = {
        "MessageConfiguration": _configuration(first, origin, shared=shared),
        "Addresses": {delivery.address: address_of(delivery) for delivery in deliveries},
    }
    return _encode(body)


_encode = msgspec.json.Encoder().encode


class _Address(msgspec.Struct, rename="pascal", omit_defaults=True):
    """`AddressConfiguration` of botocore's model, as far as it is used."""

    channel_type: str
    context: dict[str, str]
    body_override: str | None = None
    title_override: str | None = None
    substitutions: dict[str, list[str]] | None = None


def _is_alike(one: Delivery, other: Delivery) -> bool:
    """`call_kind(one) == call_kind(other)`."""
    if one.claim.channel is not Channel.PUSH or other.claim.channel is not Channel.PUSH:
        return call_kind(one) == call_kind(other)
    if one.ttl_ms != other.ttl_ms:
        return False
    message, like = one.message, other.message
    same_title = one.ttl_ms is None or (message.title is None) is (like.title is None)
    return same_title and message.url == like.url and message.data == like.data


def _address_alone(delivery: Delivery) -> _Address:
    """The settings of one address of a call in which all share one text."""
    return _Address(delivery.channel_type, {SEND_ID_KEY: delivery.claim.send_id})


def _address_with_text(delivery: Delivery) -> _Address:
    """The settings of one address, with its text."""
    claim, message = delivery.claim, delivery.message
    assert claim.channel is Channel.PUSH, "only pushes of one call can differ in text"
    context = {SEND_ID_KEY: claim.send_id}
    if delivery.ttl_ms is None:
        title = None if message.title is None else literal(message.title)
        return _Address(delivery.channel_type, context, literal(message.body), title)
    texts = {name: [text] for name, text in _texts(message).items()}
    return _Address(delivery.channel_type, context, substitutions=texts)


def _texts(message: Message) -> dict[str, str]:
    """What a push shows, by the name of its member."""
    texts = {"Body": literal(message.body)}
    return texts if message.title is None else texts | {"Title": literal(message.title)}


def _configuration(delivery: Delivery, origin: Origin, *, shared: bool) -> Json:
    message = delivery.message
    match delivery.claim.channel:
        case Channel.PUSH:
            push = _link(message.url)
            if message.data:
                push["Data"] = {key: literal(value) for key, value in message.data.items()}
            if shared:
                push |= _texts(message)
            if delivery.ttl_ms is None:
                return {"DefaultPushNotificationMessage": push}
            if not shared:
                push |= {name: f"{{{{{name}}}}}" for name in _texts(message)}
            lasting = _lasting(push, delivery.ttl_ms)
            return {"DefaultPushNotificationMessage": push, **lasting}
        case Channel.EMAIL:
            return {"EmailMessage": _email(message, origin)}
        case Channel.SMS:
            return {"SMSMessage": _sms(message, origin)}


def _lasting(push: Json, ttl_ms: int) -> Json:
    """The message for each kind of phone, with how long its service may try, in seconds."""
    seconds = max(1, ttl_ms // SECOND_MS)
    times: Mapping[str, Json] = {
        "GCMMessage": {"TimeToLive": seconds},
        "APNSMessage": {"TimeToLive": seconds},
        "ADMMessage": {"ExpiresAfter": str(seconds)},
        "BaiduMessage": {"TimeToLive": seconds},
    }
    return {name: push | time for name, time in times.items()}


def _link(url: str | None) -> Json:
    if not url:
        return {"Action": "OPEN_APP"}
    action = "URL" if urlsplit(url).scheme.lower() in ("http", "https") else "DEEP_LINK"
    return {"Action": action, "Url": literal_url(url)}


def _email(message: Message, origin: Origin) -> Json:
    parts = {"Subject": literal(message.title or ""), "TextPart": literal(message.body)}
    if message.html:
        parts["HtmlPart"] = literal_html(message.html)
    simple = {name: {"Charset": "UTF-8", "Data": text} for name, text in parts.items() if text}
    email: Json = {"SimpleEmail": simple}
    if origin.email_from:
        email["FromAddress"] = origin.email_from
    return email


def _sms(message: Message, origin: Origin) -> Json:
    sms: Json = {"Body": literal(message.body), "MessageType": origin.sms_message_type}
    named: Mapping[str, str] = {
        "OriginationNumber": origin.sms_origination_number,
        "SenderId": origin.sms_sender_id,
    }
    return sms | {name: value for name, value in named.items() if value}
