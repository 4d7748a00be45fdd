"""What apps and providers write to the stream: events as bytes, in the formats of Pinpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.simulator.story import ChannelName

CHANNEL_OF: dict[str, ChannelName] = {
    "GCM": "push",
    "APNS": "push",
    "EMAIL": "email",
    "SMS": "sms",
}


@dataclass(slots=True, kw_only=True)
class Device:
    """An endpoint as its app knows it; changes in the course of a run."""

    endpoint_id: str
    channel_type: str
    address: str
    user: str | None
    timezone: str | None
    country: str | None
    opted_out: bool = False
    active: bool = True

    @property
    def channel(self) -> ChannelName:
        """Of the ladder."""
        return CHANNEL_OF[self.channel_type]

    def facts(self) -> dict[str, Any]:
        """What an event of it shows (`Put.facts`)."""
        return {
            "endpoint": self.endpoint_id,
            "user": self.user,
            "opted_out": self.opted_out,
            "active": self.active,
            "timezone": self.timezone,
            "country": self.country,
        }


def app_event(device: Device, event_type: str, *, event_ms: int, arrival_ms: int) -> bytes:
    """An event of an app, with its endpoint."""
    endpoint: dict[str, Any] = {
        "ChannelType": device.channel_type,
        "Address": device.address,
        "EndpointStatus": "ACTIVE" if device.active else "INACTIVE",
        "OptOut": "ALL" if device.opted_out else "NONE",
        "Id": device.endpoint_id,
    }
    if device.timezone is not None:
        endpoint["Demographic"] = {"Timezone": device.timezone}
    if device.country is not None:
        endpoint["Location"] = {"Country": device.country}
    if device.user is not None:
        endpoint["User"] = {"UserId": device.user}
    return _bytes(
        event_type,
        event_ms,
        arrival_ms,
        client={"client_id": device.endpoint_id},
        endpoint=endpoint,
    )


def opened(endpoint_id: str, *, event_ms: int, arrival_ms: int) -> bytes:
    """The user tapped a push."""
    return _bytes(
        "_campaign.opened_notification",
        event_ms,
        arrival_ms,
        client={"client_id": endpoint_id},
        attributes={},
    )


def mail_event(kind: str, *, address: str, message_id: str, sent_ms: int, arrival_ms: int) -> bytes:
    """`_email.KIND`: its event_timestamp is when the mail was sent."""
    known: dict[str, dict[str, Any]] = {
        "hardbounce": {
            "bounce": {
                "bounce_type": "Permanent",
                "bounce_sub_type": "General",
                "bounced_recipients": [{"email_address": address, "status": "5.1.1"}],
            }
        },
        "softbounce": {
            "bounce": {
                "bounce_type": "Transient",
                "bounce_sub_type": "MailboxFull",
                "bounced_recipients": [{"email_address": address}],
            }
        },
        "complaint": {
            "complaint": {
                "complained_recipients": [{"email_address": address}],
                "complaint_feedback_type": "abuse",
            }
        },
        "delivered": {"delivery": {"recipients": [address]}},
    }
    details = known.get(kind, {})
    mail = {
        "message_id": message_id,
        "message_send_timestamp": sent_ms,
        "destination": [address],
        "headers_truncated": False,
    }
    return _bytes(
        f"_email.{kind}",
        sent_ms,
        arrival_ms,
        client={"client_id": "mail"},
        attributes={"feedback": "received"},
        client_context={"custom": {"legacy_identifier": "app0"}},
        facets={"email_channel": {"mail_event": {"mail": mail, **details}}},
    )


def sms_event(
    kind: str,
    status: str,
    *,
    address: str,
    message_id: str,
    send_id: str | None,
    event_ms: int,
    arrival_ms: int,
) -> bytes:
    """`_SMS.KIND`, with the context of the send."""
    attributes = {
        "destination_phone_number": address,
        "record_status": status,
        "message_id": message_id,
        "message_type": "Promotional",
    }
    if send_id is not None:
        attributes["customer_context"] = json.dumps({"send_id": send_id})
    return _bytes(
        f"_SMS.{kind}",
        event_ms,
        arrival_ms,
        client={"client_id": "123456789012"},
        attributes=attributes,
    )


def ses_event(
    kind: str, *, address: str, message_id: str, send_id: str | None, sent_ms: int, at_ms: int
) -> bytes:
    """The same as `mail_event`, as SES itself publishes it."""
    at = _instant(at_ms)
    recipients = [{"emailAddress": address}]
    bounce = {"timestamp": at, "bounceSubType": "General", "bouncedRecipients": recipients}
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "delivered": ("Delivery", {"delivery": {"timestamp": at, "recipients": [address]}}),
        "hardbounce": ("Bounce", {"bounce": {**bounce, "bounceType": "Permanent"}}),
        "softbounce": ("Bounce", {"bounce": {**bounce, "bounceType": "Transient"}}),
        "complaint": (
            "Complaint",
            {"complaint": {"timestamp": at, "complainedRecipients": recipients}},
        ),
        "unsubscribe": (
            "Subscription",
            {
                "subscription": {
                    "timestamp": at,
                    "contactList": "list",
                    "newTopicPreferences": {"unsubscribeAll": True},
                }
            },
        ),
    }
    event_type, details = known[kind]
    tags = {} if send_id is None else {"send_id": [send_id]}
    mail = {
        "timestamp": _instant(sent_ms),
        "messageId": message_id,
        "destination": [address],
        "tags": tags,
    }
    return json.dumps({"eventType": event_type, "mail": mail, **details}).encode()


def text_event(
    status: str, *, address: str, message_id: str, send_id: str | None, at_ms: int
) -> bytes:
    """A report of End User Messaging; its context is an object."""
    event = {
        "eventType": f"TEXT_{status}",
        "eventVersion": "1.0",
        "eventTimestamp": at_ms,
        "isFinal": True,
        "destinationPhoneNumber": address,
        "messageId": message_id,
        "messageStatus": status,
        "context": {} if send_id is None else {"send_id": send_id},
    }
    return json.dumps(event).encode()


def _instant(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def _bytes(event_type: str, event_ms: int, arrival_ms: int, **fields: Any) -> bytes:
    event = {
        "event_type": event_type,
        "event_timestamp": event_ms,
        "arrival_timestamp": arrival_ms,
        "event_version": "3.1",
        "application": {"app_id": "app0", "sdk": {}},
        **fields,
    }
    return json.dumps(event).encode()
