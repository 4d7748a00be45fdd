"""The quick way through an ordinary event: one JSON object, whole times, a well-formed endpoint.

Nearly every event of a stream is like that, and most come from endpoints that the same batch has
already shown, or that the state knows to look so. What is in any way unusual is refused here and
read by `events.py`, whose answer is the definition of right: what is not refused must come out
exactly the same. Two things make it quick: an endpoint is looked into only when its bytes are new,
and nothing is built that a later event of the batch would replace. Pure; used by `recency.fold`.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, MsgspecError, Raw, Struct
from msgspec.json import Decoder, encode

from worker.event_endpoints import FullText, PlainEndpointShape, endpoint_of, who_of
from worker.event_shapes import (
    ApplicationShape,
    ClientContextShape,
    ClientShape,
    CustomShape,
    EndpointShape,
    EventAttributesShape,
    FacetsShape,
    decode_endpoint,
)
from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.faces import Faces, print_of
from worker.model import Endpoint

Identity: TypeAlias = str | tuple[str | None, str | None, str | None]
"""Whom an activity is about, by the first that it names: a user by the id alone; otherwise
(endpoint id, message id, address)."""

NEVER_MS: Final = -1

_NULL: Final = Raw(b"null")

Source: TypeAlias = bytes | str
"""An endpoint unread: an object within the event, or the text that campaigns put into it."""

TimeMs: TypeAlias = Annotated[int, Meta(ge=EARLIEST_MS, lt=LATEST_MS)]


class PlainCustomShape(CustomShape, gc=False):
    """`endpoint` can only be text here."""

    endpoint: str | None = None


class PlainContextShape(ClientContextShape, gc=False):
    """Where campaigns and journeys tell whom they wrote to."""

    custom: PlainCustomShape | None = None


class PlainEvent(Struct, gc=False):
    """`EventShape` with narrower types, and the endpoint unread.

    Fields that are of no use here stand here because a value of a wrong type in one of them makes
    an event unusual.
    """

    event_type: FullText
    event_timestamp: TimeMs
    arrival_timestamp: TimeMs
    application: ApplicationShape | None = None
    client: ClientShape | None = None
    attributes: EventAttributesShape | None = None
    endpoint: Raw = _NULL
    client_context: PlainContextShape | None = None
    facets: FacetsShape | None = None


decode_plain_event: Final = Decoder(PlainEvent).decode
"""An ordinary event from its bytes. Raises one of UNUSUAL when it is not one."""

UNUSUAL: Final = (MsgspecError, ValueError, RecursionError)

_decode_endpoint: Final = Decoder(PlainEndpointShape).decode


class Sighting(Struct, gc=False):
    """An endpoint as one event showed it, or several in the same way, and when last."""

    app_id: str | None
    source: Source | None
    shape: EndpointShape | None
    """What the source says; None when the event carries no endpoint."""
    user_id: str | None
    endpoint_id: str | None
    identity: Identity
    at_ms: int = NEVER_MS
    """The latest arrival of such an event."""
    active_ms: int = NEVER_MS
    active_type: str = ""
    """When the latest of them says that somebody was here, and its type; of one instant the last by
    the alphabet, so that it is always the same one."""
    faces: tuple[int, ...] = ()
    """Prints of it, by its bytes and by what they say; none when it cannot be known by them."""

    def endpoint(self) -> Endpoint | None:
        """The entry for the address book; None when the events carry none, or no id for it."""
        if self.shape is None or self.endpoint_id is None:
            return None
        return endpoint_of(self.shape, self.endpoint_id, self.user_id, self.app_id, self.at_ms)


Shown: TypeAlias = tuple[str | None, str | None, Source | None]
"""Client id, app id and endpoint (unread) of an event, as far as it has them."""


def shown_by(event: PlainEvent) -> Shown:
    """What an event shows."""
    client, application, source = event.client, event.application, event.endpoint
    client_id = client.client_id if client is not None else None
    app_id = application.app_id if application is not None else None
    if source is not _NULL and (found := bytes(source)) != b"null":
        return client_id, app_id, found
    context = event.client_context
    custom = context.custom if context is not None else None
    return client_id, app_id, custom.endpoint if custom is not None else None


class Sightings:
    """What the ordinary events of one batch showed, each at most one sighting. With `faces` it
    tells the prints of what it looked into."""

    def __init__(self, faces: Faces | None) -> None:
        self.found: list[Sighting] = []
        self._last: dict[str | None, Sighting] = {}
        self._faces = faces

    def of(self, shown: Shown) -> Sighting | None:
        """What an event shows; the same object as long as a client's events show the same. None
        when its endpoint cannot be read, and when it names nobody."""
        client_id, app_id, source = shown
        last = self._last.get(client_id)
        if last is not None and last.source == source and last.app_id == app_id:
            return last
        shape: EndpointShape | None = None
        if source is not None:
            try:
                shape = _decode_endpoint(source)
            except UNUSUAL:
                shape = _loose_shape(source)
                if shape is None:
                    return None
            # Of plain shapes only: elsewhere an attribute may be 1 or true, which are equal here.
            plain = isinstance(shape, PlainEndpointShape)
            if plain and last is not None and last.shape == shape and last.app_id == app_id:
                last.source = source
                return last
        user_id, endpoint_id = who_of(shape, client_id)
        identity: Identity = (endpoint_id, None, None)
        if user_id is not None:
            identity = user_id
        elif endpoint_id is None:
            return None
        last = Sighting(app_id, source, shape, user_id, endpoint_id, identity)
        if self._faces is not None and client_id and client_id == endpoint_id:
            face = print_of(client_id, app_id, source)
            said = face if shape is None else print_of(client_id, app_id, encode(shape))
            last.faces = (face, said)
        self._last[client_id] = last
        self.found.append(last)
        return last


def _loose_shape(source: Source) -> EndpointShape | None:
    """An endpoint whose attributes are not plain; that costs time and nothing else."""
    try:
        return decode_endpoint(source)
    except UNUSUAL:
        return None
