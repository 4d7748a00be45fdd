"""From the endpoint an event carries to an entry of the address book, and whose it is.

Pure. Used alike by the careful reader (`events.py`) and the quick one (`event_plain.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta

from worker.addresses import normalise_address
from worker.countries import alpha_2
from worker.event_shapes import TEXT_CHARS_MAX, EndpointShape, Text, UserShape
from worker.event_values import EndpointDraft
from worker.model import Endpoint

ATTRIBUTE_NAMES_MAX: Final = 250
ATTRIBUTE_VALUES_MAX: Final = 50
"""Pinpoint's own quotas for one endpoint; what is beyond them is left out."""

COUNTRIES_CACHED_MAX: Final = 1_024
"""There are 249, in three spellings that matter."""

_country_of: Final = lru_cache(maxsize=COUNTRIES_CACHED_MAX)(alpha_2)

Who: TypeAlias = tuple[str | None, str | None]
"""User id and endpoint id, as far as an event names them."""


FullText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARS_MAX)]
PlainAttributes: TypeAlias = Annotated[
    dict[
        Text, Annotated[tuple[FullText, ...], Meta(min_length=1, max_length=ATTRIBUTE_VALUES_MAX)]
    ],
    Meta(max_length=ATTRIBUTE_NAMES_MAX),
]
"""Attributes just as the address book keeps them."""


class PlainUserShape(UserShape, rename="pascal", gc=False):
    """A user with plain attributes."""

    user_attributes: PlainAttributes | None = None


class PlainEndpointShape(EndpointShape, rename="pascal", gc=False):
    """An endpoint with plain attributes."""

    user: PlainUserShape | None = None
    attributes: PlainAttributes | None = None


def who_of(shape: EndpointShape | None, client_id: str | None) -> Who:
    """Whom an event is about. Endpoint ids are in lower case; an empty id is none."""
    if shape is None:
        return None, client_id.lower() if client_id else None
    endpoint_id = shape.id or client_id
    user_id = shape.user.user_id if shape.user is not None else None
    return user_id or None, endpoint_id.lower() if endpoint_id else None


def endpoint_of(
    shape: EndpointShape, endpoint_id: str, user_id: str | None, app_id: str | None, at_ms: int
) -> Endpoint:
    """The entry an event carries. `at_ms` is the event's arrival: the record shows the endpoint as
    it was then, however long the event itself had waited on the device."""
    demographic, location, user = shape.demographic, shape.location, shape.user
    told = location.country if location is not None else None
    country = (_country_of(told) or None) if told else None
    status, opt_out, channel_type = shape.endpoint_status, shape.opt_out, shape.channel_type
    attributes = shape.attributes
    user_attributes = user.user_attributes if user is not None else None
    if not isinstance(shape, PlainEndpointShape):
        attributes, user_attributes = _texts_of(attributes), _texts_of(user_attributes)
    draft: Any = EndpointDraft()
    draft.endpoint_id = endpoint_id
    draft.at_ms = at_ms
    draft.user_id = user_id
    draft.channel_type = channel_type or None
    draft.address = normalise_address(channel_type, shape.address or "", country) or None
    draft.active = status == "ACTIVE" if status else None
    draft.opted_out = opt_out == "ALL" if opt_out else None
    draft.country = country
    draft.region = (location.region or None) if location is not None else None
    draft.timezone = (demographic.timezone or None) if demographic is not None else None
    draft.locale = (demographic.locale or None) if demographic is not None else None
    draft.platform = (demographic.platform or None) if demographic is not None else None
    draft.app = app_id or shape.application_id or None
    draft.attributes = attributes
    draft.user_attributes = user_attributes
    draft.suppressed = None
    draft.__class__ = Endpoint
    made: Endpoint = draft
    return made


def _texts_of(found: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]] | None:
    """Attributes as lists of text, whether they come as lists, as one value or with nulls."""
    if found is None:
        return None
    if len(found) > ATTRIBUTE_NAMES_MAX:
        found = dict(islice(found.items(), ATTRIBUTE_NAMES_MAX))
    kept: dict[str, tuple[str, ...]] = {}
    for name, value in found.items():
        items = value if isinstance(value, list) else (value,)
        if len(items) > ATTRIBUTE_VALUES_MAX:
            items = items[:ATTRIBUTE_VALUES_MAX]
        texts = [item if type(item) is str else _scalar_text(item) for item in items]
        known = tuple([text for text in texts if text and len(text) <= TEXT_CHARS_MAX])
        if known and len(name) <= TEXT_CHARS_MAX:
            kept[name] = known
    return kept


def _scalar_text(item: object) -> str | None:
    """A number or truth value as text; None for null and for what is no single value."""
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item) if isinstance(item, int | float) else None
