"""Builds the body of one SendTextMessage call from a delivery. Pure.

Shapes are those of `SendTextMessageRequest` in botocore's model of service
`pinpoint-sms-voice-v2`; the sandbox's stub checks every request against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from worker.event_messages import SEND_ID_KEY
from worker.model import SECOND_MS, Delivery

TTL_SECONDS_MIN = 5
TTL_SECONDS_MAX = 259_200
"""Bounds of `TimeToLive` in the model; 72 hours is also what holds when nothing is said."""

INDIA = "+91"
"""Country code of the one country whose carriers ask for a registered template (DLT)."""

PRICE_STEP_MICROS = 10
PRICE_STEPS_MAX = 9_999_999
"""`MaxPrice` has at most two digits before the point and five behind it."""

CHECK_TEXT = "comeback start-up check"
"""Body of a dry run; it reaches nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOrigin:
    """Who our texts come from, and how they are declared. Empty: not said."""

    identity: str
    """A phone number, sender id or pool: its id or its ARN."""
    configuration_set: str = ""
    message_type: str = "PROMOTIONAL"
    india_entity_id: str = ""
    india_template_id: str = ""


def text_message(delivery: Delivery, origin: TextOrigin, ttl_seconds: int | None) -> bytes:
    """The body of the call, JSON in UTF-8. `ttl_seconds` None: the service's own 72 hours.

    Raises UnicodeEncodeError when the text or the number holds half a surrogate pair.
    """
    body = _envelope(delivery.address, delivery.message.body, origin)
    body["Context"] = {SEND_ID_KEY: delivery.claim.send_id}
    if ttl_seconds is not None:
        assert TTL_SECONDS_MIN <= ttl_seconds <= TTL_SECONDS_MAX
        body["TimeToLive"] = ttl_seconds
    if delivery.max_price_micros is not None:
        body["MaxPrice"] = price_of(delivery.max_price_micros)
    return msgspec.json.encode(body)


def dry_run(number: str, origin: TextOrigin) -> bytes:
    """The body of a call that is checked by the service, and neither sent nor charged."""
    return msgspec.json.encode(_envelope(number, CHECK_TEXT, origin) | {"DryRun": True})


def _envelope(number: str, text: str, origin: TextOrigin) -> dict[str, Any]:
    body: dict[str, Any] = {
        "DestinationPhoneNumber": number,
        "MessageBody": text,
        "MessageType": origin.message_type,
    }
    named = {
        "OriginationIdentity": origin.identity,
        "ConfigurationSetName": origin.configuration_set,
        "DestinationCountryParameters": _india(origin) if number.startswith(INDIA) else {},
    }
    return body | {name: value for name, value in named.items() if value}


def _india(origin: TextOrigin) -> dict[str, str]:
    named = {"IN_ENTITY_ID": origin.india_entity_id, "IN_TEMPLATE_ID": origin.india_template_id}
    return {name: value for name, value in named.items() if value}


def price_of(micros: int) -> str:
    """Millionths of a dollar as the service reads them, rounded down: "0.04500". What is too small
    or too large to say becomes the nearest price that can be said."""
    steps = max(1, min(micros // PRICE_STEP_MICROS, PRICE_STEPS_MAX))
    whole, rest = divmod(steps, 100_000)
    return f"{whole}.{rest:05}"


def ttl_seconds_of(ttl_ms: int) -> int | None:
    """Whole seconds, rounded down. None: less is left than the service can be told."""
    seconds = min(ttl_ms // SECOND_MS, TTL_SECONDS_MAX)
    return seconds if seconds >= TTL_SECONDS_MIN else None
