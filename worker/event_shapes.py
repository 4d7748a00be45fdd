"""The shapes of the three event formats: Pinpoint, SES, End User Messaging SMS.

Only fields that become part of a signal are declared. The decoder skips all others unread, so
whatever they hold can neither cost time nor lose an event. Fields that are found with several
types (times, attribute values) are `Any` and judged where they are used.

`decode_event` makes one pass over the bytes. `shaped` is for what it refuses: it takes each field
that fits and leaves the others out. The narrower shapes of ordinary events are in `event_plain.py`.

Formats: docs.aws.amazon.com/pinpoint/latest/developerguide/event-streams.html and its data pages;
docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html;
docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-format.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.json import Decoder
from msgspec.structs import fields

ShapeT = TypeVar("ShapeT", bound=Struct)

TEXT_CHARS_MAX: Final = 4096
"""No id, address or name is longer (push tokens are the longest); a longer one is left out."""

Text: TypeAlias = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]


# --- Pinpoint: the endpoint -------------------------------------------------------------------


class UserShape(Struct, rename="pascal", gc=False):
    """Whose endpoint it is; often empty or absent."""

    user_id: Text | None = None
    user_attributes: dict[str, Any] | None = None


class DemographicShape(Struct, rename="pascal", gc=False):
    """The device, as far as it matters for when and how to speak to it."""

    timezone: Text | None = None
    locale: Text | None = None
    platform: Text | None = None


class LocationShape(Struct, rename="pascal", gc=False):
    """Where the device is."""

    region: Text | None = None
    country: Text | None = None


class EndpointShape(Struct, rename="pascal", gc=False):
    """An endpoint as app events, campaign and journey events and export files spell it."""

    id: Text | None = None
    address: Text | None = None
    channel_type: Text | None = None
    endpoint_status: Text | None = None
    opt_out: Text | None = None
    user: UserShape | None = None
    demographic: DemographicShape | None = None
    location: LocationShape | None = None
    attributes: dict[str, Any] | None = None
    application_id: Text | None = None


# --- Pinpoint: the event ----------------------------------------------------------------------


class ApplicationShape(Struct, gc=False):
    """Which Pinpoint application the event belongs to."""

    app_id: Text | None = None


class ClientShape(Struct, gc=False):
    """`client_id` is the endpoint id, except on mail and SMS events."""

    client_id: Text | None = None


class CustomShape(Struct, gc=False):
    """`endpoint` is an object or, on campaign and journey events, a string that holds JSON."""

    endpoint: EndpointShape | str | None = None
    send_id: Text | None = None


class ClientContextShape(Struct, gc=False):
    """Where campaigns and journeys tell whom they wrote to."""

    custom: CustomShape | None = None


class EventAttributesShape(Struct, gc=False):
    """The attributes of SMS events; `customer_context` is a string that holds JSON."""

    destination_phone_number: Text | None = None
    message_id: Text | None = None
    record_status: Text | None = None
    customer_context: Any = None
    send_id: Text | None = None


class MailShape(Struct, gc=False):
    """The message a mail event is about."""

    message_id: Text | None = None
    destination: Any = None


class BounceShape(Struct, gc=False):
    """Why and for whom a mail came back."""

    bounce_type: Text | None = None
    bounce_sub_type: Text | None = None
    bounced_recipients: Any = None


class DeliveryShape(Struct, gc=False):
    """Whom a mail reached."""

    recipients: Any = None


class ComplaintShape(Struct, gc=False):
    """Who called a mail spam."""

    complaint_feedback_type: Text | None = None
    complained_recipients: Any = None


class MailEventShape(Struct, gc=False):
    """`facets.email_channel.mail_event`."""

    mail: MailShape | None = None
    delivery: DeliveryShape | None = None
    bounce: BounceShape | None = None
    complaint: ComplaintShape | None = None


class EmailChannelShape(Struct, gc=False):
    """`facets.email_channel`."""

    mail_event: MailEventShape | None = None


class FacetsShape(Struct, gc=False):
    """`facets`: mail events only."""

    email_channel: EmailChannelShape | None = None


class EventShape(Struct, gc=False):
    """Any event of a Pinpoint event stream."""

    event_type: Text | None = None
    event_timestamp: Any = None
    arrival_timestamp: Any = None
    application: ApplicationShape | None = None
    client: ClientShape | None = None
    endpoint: EndpointShape | str | None = None
    attributes: EventAttributesShape | None = None
    client_context: ClientContextShape | None = None
    facets: FacetsShape | None = None


# --- SES and End User Messaging ---------------------------------------------------------------


class SesMailShape(Struct, rename="camel", gc=False):
    """`mail`: the message, with the tags it was sent with (name to list of values)."""

    timestamp: Any = None
    message_id: Text | None = None
    destination: Any = None
    tags: dict[str, Any] | None = None


class SesDetailShape(Struct, rename="camel", gc=False):
    """What the members bounce, complaint, delivery, click and so on share or add."""

    timestamp: Any = None
    bounce_type: Text | None = None
    bounce_sub_type: Text | None = None
    bounced_recipients: Any = None
    complaint_feedback_type: Text | None = None
    complained_recipients: Any = None
    recipients: Any = None
    delayed_recipients: Any = None
    new_topic_preferences: dict[str, Any] | None = None


class SmsReportShape(Struct, rename="camel", gc=False):
    """An event of an End User Messaging configuration set. `context` is an object here."""

    event_type: Text | None = None
    event_timestamp: Any = None
    message_id: Text | None = None
    message_status: Text | None = None
    is_final: bool | None = None
    destination_phone_number: Text | None = None
    context: Any = None


# --- decoding ---------------------------------------------------------------------------------

decode_event = Decoder(EventShape).decode
"""One event from its bytes. Raises MsgspecError, ValueError, RecursionError."""

decode_endpoint = Decoder(EndpointShape).decode
"""One endpoint from its JSON text. Raises MsgspecError, ValueError, RecursionError."""

decode_any = Decoder().decode
"""Any JSON text. Raises MsgspecError, ValueError, RecursionError."""


def shaped(value: Mapping[str, Any], shape: type[ShapeT]) -> ShapeT:
    """As much of `value` as fits the shape: a field of another type is left out, alone."""
    try:
        return convert(value, shape)
    except ValidationError:
        pass  # One field at least does not fit; which, the loop below finds out.
    kept: dict[str, Any] = {}
    for name, encoded_name, kind, nested in _fields_of(shape):
        item = value.get(encoded_name)
        try:
            kept[name] = convert(item, kind)
        except ValidationError:
            if nested is not None and isinstance(item, dict):
                kept[name] = shaped(item, nested)
    return shape(**kept)


@cache
def _fields_of(shape: type[Struct]) -> tuple[tuple[str, str, Any, type[Struct] | None], ...]:
    """Per field: its name, its name in JSON, its type, and the Struct within that type."""
    return tuple(
        (field.name, field.encode_name, field.type, _struct_in(field.type))
        for field in fields(shape)
    )


def _struct_in(kind: Any) -> type[Struct] | None:
    return next(
        (arm for arm in get_args(kind) if isinstance(arm, type) and issubclass(arm, Struct)), None
    )
