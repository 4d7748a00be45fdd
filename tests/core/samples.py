"""Events as streams carry them, with invented people: each builder answers a fresh dict.

Shapes follow real captures and the vendor's documents (docs/events.md); every value is made up.
Override top-level fields by keyword: `app_event(event_type="_session.stop", endpoint=None)`.
`as_record` makes the Kinesis record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from worker.model import Record

EVENT_MS: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z, when things happen."""
ARRIVAL_MS: Final = EVENT_MS + 1_500
"""When they reach Pinpoint."""
KINESIS_MS: Final = ARRIVAL_MS + 400
"""When they reach the stream."""

SHARD: Final = "shardId-000000000001"
ENDPOINT_ID: Final = "7f3c2b1a-9d4e-4c5f-8a6b-0e1d2c3b4a59"
USER_ID: Final = "shopper-42"
MAIL: Final = "kim@example.com"
PHONE: Final = "+15550100042"
TOKEN: Final = "Tok3n:APA91-Example_abcDEF"
MESSAGE_ID: Final = "0100019a-example-000000"
SEND_ID: Final = "00c0ffee00c0ffee"

Event = dict[str, Any]


def as_bytes(*events: object) -> bytes:
    """One JSON object, or several with newlines between them."""
    return "\n".join(json.dumps(event, ensure_ascii=False) for event in events).encode()


def as_record(
    *events: object, data: bytes | None = None, arrival_ms: int = KINESIS_MS, number: int = 1
) -> Record:
    """A record that holds these events, or exactly these bytes."""
    body = as_bytes(*events) if data is None else data
    return Record(data=body, sequence_number=str(number), arrival_ms=arrival_ms)


def endpoint(**changes: Any) -> Event:
    """An endpoint as app events carry it at their top."""
    return {
        "ChannelType": "GCM",
        "Address": TOKEN,
        "EndpointStatus": "ACTIVE",
        "OptOut": "NONE",
        "RequestId": "5d0a7c1e-0000-4000-8000-000000000000",
        "Location": {"PostalCode": "04524", "City": "Seoul", "Region": "", "Country": "KOR"},
        "Demographic": {
            "Make": "samsung",
            "Model": "SM-S931N",
            "Timezone": "Asia/Seoul",
            "Locale": "ko_KR",
            "AppVersion": "4.2.0",
            "Platform": "android",
            "PlatformVersion": "16",
        },
        "EffectiveDate": "2026-01-01T00:00:01.000Z",
        "Attributes": {"interests": ["tea", "books"]},
        "Metrics": {"visits": 12.0},
        "User": {"UserId": USER_ID, "UserAttributes": {"plan": ["premium"]}},
        "ApplicationId": "app0",
        "Id": ENDPOINT_ID,
        "CohortId": "13",
        "CreationDate": "2025-06-01T00:00:00.000Z",
    } | changes


def app_event(**changes: Any) -> Event:
    """An app event with its endpoint, as an Amplify app makes Pinpoint write it."""
    return {
        "event_type": "_session.start",
        "event_timestamp": EVENT_MS,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.1",
        "application": {
            "app_id": "app0",
            "cognito_identity_pool_id": "eu-west-1:pool",
            "package_name": "com.example.shop",
            "sdk": {"name": "aws-sdk-android", "version": "2.16.0"},
            "title": "Shop",
            "version_name": "4.2.0",
            "version_code": "42",
        },
        "client": {"client_id": ENDPOINT_ID, "cognito_id": "eu-west-1:someone"},
        "device": {
            "locale": {"code": "ko_KR", "country": "KR", "language": "ko"},
            "make": "samsung",
            "model": "SM-S931N",
            "platform": {"name": "android", "version": "16"},
        },
        "session": {"session_id": "00000000-00000000", "start_timestamp": 0},
        "attributes": {},
        "metrics": {},
        "endpoint": endpoint(),
        "awsAccountId": "123456789012",
    } | changes


def documented_app_event(**changes: Any) -> Event:
    """An app event as the documents show it: no endpoint, no user, no account."""
    return {
        "event_type": "_session.start",
        "event_timestamp": EVENT_MS,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.0",
        "application": {"app_id": "app0", "sdk": {}},
        "client": {"client_id": ENDPOINT_ID, "cognito_id": "eu-west-1:someone"},
        "device": {"platform": {}},
        "session": {"session_id": "f5a1c2d3-20260101-000000000", "start_timestamp": EVENT_MS},
        "attributes": {"screen": "home"},
        "metrics": {},
    } | changes


def custom_event(event_type: str = "cart.opened", **changes: Any) -> Event:
    """An event the app, or a server, made up."""
    return app_event(event_type=event_type, attributes={"cart": "c1"}, **changes)


def inapp_event(act: str = "clicked", **changes: Any) -> Event:
    """What somebody did with an in-app message."""
    facts = {"campaign_id": "camp1", "treatment_id": "0", "delivery_type": "IN_APP_MESSAGE"}
    return app_event(event_type=f"_inapp.message_{act}", attributes=facts, **changes)


def _engagement_event(event_type: str, attributes: Event, changes: Event) -> Event:
    shown = {
        "ChannelType": "GCM",
        "EndpointStatus": "ACTIVE",
        "OptOut": "NONE",
        "RequestId": "5d0a7c1e-0000-4000-8000-000000000001",
        "EffectiveDate": "2025-12-24T10:00:00.000Z",
        "Location": {"Country": "KR"},
        "Demographic": {"Timezone": "Asia/Seoul", "Locale": "ko_KR"},
        "Attributes": {"interests": ["tea"]},
        "User": {"UserId": USER_ID, "UserAttributes": {"plan": ["premium"]}},
    }
    return {
        "event_type": event_type,
        "event_timestamp": EVENT_MS,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.1",
        "application": {"app_id": "app0", "sdk": {}},
        "client": {"client_id": ENDPOINT_ID},
        "device": {"platform": {}},
        "session": {},
        "attributes": attributes,
        "client_context": {"custom": {"endpoint": json.dumps(shown)}},
        "awsAccountId": "123456789012",
    } | changes


def campaign_event(kind: str = "send", **changes: Any) -> Event:
    """A campaign's send, or what the app says of it; the endpoint is JSON in a string."""
    attributes = {
        "treatment_id": "0",
        "campaign_activity_id": "act1",
        "campaign_id": "camp1",
        "campaign_type": None,
        "delivery_type": "GCM",
        "campaign_send_status": "SUCCESS",
    }
    return _engagement_event(f"_campaign.{kind}", attributes, changes)


def journey_event(kind: str = "send", **changes: Any) -> Event:
    """The same for a journey."""
    attributes = {
        "journey_id": "jour1",
        "journey_run_id": "run1",
        "journey_activity_id": "act1",
        "journey_activity_type": "PUSH",
        "journey_send_status": "SUCCESS",
    }
    return _engagement_event(f"_journey.{kind}", attributes, changes)


_MAIL_FACTS: Final[Mapping[str, Event]] = {
    "send": {"send": {}},
    "delivered": {
        "delivery": {
            "smtp_response": "250 ok",
            "reporting_mta": "mx.example.com",
            "recipients": [MAIL],
            "processing_time_millis": 310,
        }
    },
    "open": {"open": {"ip_address": "192.0.2.1", "user_agent": "Mail"}},
    "click": {
        "click": {
            "ip_address": "192.0.2.1",
            "user_agent": "Mail",
            "link": "https://shop.example.com/",
            "link_tags": None,
        }
    },
    "hardbounce": {
        "bounce": {
            "bounce_type": "Permanent",
            "bounce_sub_type": "General",
            "bounced_recipients": [
                {"email_address": MAIL, "action": "failed", "status": "5.1.1"},
            ],
            "feedback_id": "f1",
            "reporting_mta": "mx.example.com",
        }
    },
    "softbounce": {
        "bounce": {
            "bounce_type": "Transient",
            "bounce_sub_type": "MailboxFull",
            "bounced_recipients": [{"email_address": MAIL, "action": "delayed"}],
        }
    },
    "complaint": {
        "complaint": {
            "complained_recipients": [{"email_address": MAIL}],
            "complaint_feedback_type": "abuse",
            "feedback_id": "f2",
        }
    },
    "rejected": {"reject": {"reason": "Bad content"}},
    "rendering_failure": {},
    "unsubscribe": {},
}
MAIL_KINDS: Final = tuple(_MAIL_FACTS)


def mail_event(kind: str = "delivered", **changes: Any) -> Event:
    """A mail event. Its event_timestamp is when the mail was sent, hours before it arrives."""
    mail = {
        "message_id": MESSAGE_ID,
        "message_send_timestamp": EVENT_MS,
        "from_address": "shop@example.com",
        "destination": [MAIL],
        "headers_truncated": False,
        "headers": [{"name": "Reply-To", "value": "null"}, {"name": "To", "value": MAIL}],
        "common_headers": {"from": "shop@example.com", "to": [MAIL], "subject": "Hello"},
    }
    return {
        "event_type": f"_email.{kind}",
        "event_timestamp": EVENT_MS,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.1",
        "application": {"app_id": "app0", "sdk": {}},
        "client": {"client_id": "2b7e1516-28ae-4d2a-abf7-158809cf4f3c"},
        "device": {"platform": {}},
        "session": {},
        "attributes": {"feedback": "received"},
        "client_context": {"custom": {"legacy_identifier": "app0"}},
        "facets": {"email_channel": {"mail_event": {"mail": mail, **deepcopy(_MAIL_FACTS[kind])}}},
        "awsAccountId": "123456789012",
    } | changes


def sms_event(kind: str = "SUCCESS", record_status: str = "DELIVERED", **changes: Any) -> Event:
    """A Pinpoint SMS event: BUFFERED, SUCCESS, FAILURE or OPTOUT."""
    return {
        "event_type": f"_SMS.{kind}",
        "event_timestamp": ARRIVAL_MS + 258,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.1",
        "application": {"app_id": "app0", "sdk": {}},
        "client": {"client_id": "123456789012"},
        "device": {"platform": {}},
        "session": {},
        "attributes": {
            "sender_request_id": "req1",
            "destination_phone_number": PHONE,
            "record_status": record_status,
            "iso_country_code": "US",
            "treatment_id": "0",
            "number_of_message_parts": "1",
            "message_id": MESSAGE_ID,
            "message_type": "Promotional",
            "origination_phone_number": "+15550100001",
            "customer_context": json.dumps({"send_id": SEND_ID}),
        },
        "metrics": {"price_in_millicents_usd": 645.0},
        "awsAccountId": "123456789012",
    } | changes


def stream_test_event(**changes: Any) -> Event:
    """What is written once when a stream is connected."""
    return {
        "event_type": "_test.event_stream",
        "event_timestamp": EVENT_MS,
        "arrival_timestamp": ARRIVAL_MS,
        "event_version": "3.1",
        "application": {"app_id": "app0", "sdk": {}},
    } | changes


def ses_event(kind: str = "Delivery", details: Event | None = None) -> Event:
    """An event as SES publishes it; its own words and times."""
    member = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}
    return {
        "eventType": kind,
        "mail": {
            "timestamp": "2026-01-01T00:00:00.000Z",
            "messageId": MESSAGE_ID,
            "source": "Shop <shop@example.com>",
            "sendingAccountId": "123456789012",
            "destination": [MAIL],
            "headersTruncated": False,
            "headers": [{"name": "To", "value": MAIL}],
            "tags": {"ses:configuration-set": ["shop"], "send_id": [SEND_ID]},
        },
        member.get(kind, kind.lower()): {"timestamp": "2026-01-01T00:00:01.250Z"} | (details or {}),
    }


def text_event(status: str = "DELIVERED", **changes: Any) -> Event:
    """An End User Messaging SMS event; its context is an object."""
    return {
        "eventType": f"TEXT_{status}",
        "eventVersion": "1.0",
        "eventTimestamp": EVENT_MS,
        "isFinal": True,
        "originationPhoneNumber": "+15550100001",
        "destinationPhoneNumber": PHONE,
        "isoCountryCode": "US",
        "messageId": MESSAGE_ID,
        "messageRequestTimestamp": EVENT_MS - 900,
        "messageEncoding": "GSM",
        "messageType": "PROMOTIONAL",
        "messageStatus": status,
        "messageStatusDescription": "Message has been accepted by phone",
        "context": {"send_id": SEND_ID},
        "totalMessageParts": 1,
        "totalMessagePrice": 0.00581,
    } | changes
