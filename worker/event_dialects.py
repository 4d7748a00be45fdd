"""Events that an app writes in words of its own, told as Pinpoint would tell them. Pure.

Since Pinpoint's event stream ended, what is on a stream is whatever its owner writes there. A
`Dialect` says where in such an event the fields stand; what comes of it is the `EventShape` that
`events.py` reads, so that nothing behind it knows of dialects. Several may be on one stream: each
event is read by the first in the list that it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

import msgspec

from worker.event_shapes import (
    ApplicationShape,
    ClientShape,
    DemographicShape,
    EndpointShape,
    EventShape,
    LocationShape,
    UserShape,
    decode_any,
    shaped,
)

ADDRESSES_MAX: Final = 15
"""Of one event; as many endpoints as Pinpoint kept of one user."""

_TRUE: Final = frozenset({"true", "yes", "1", "all", "active"})

Path: TypeAlias = tuple[str, ...]
"""Keys from the top of an event inwards; digits find an entry of a list."""


class Builtin(StrEnum):
    """The formats of AWS, which have readers of their own."""

    PINPOINT = "pinpoint"
    SES = "ses"
    END_USER_MESSAGING = "end-user-messaging"


class Unit(StrEnum):
    """What a time that is a number counts. Text is taken as ISO 8601 under each of them."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"


_MS_OF: Final = {Unit.SECONDS: 1_000.0, Unit.MILLISECONDS: 1.0, Unit.MICROSECONDS: 0.001}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Where a value stands: the first of several paths that leads to one, or the value itself."""

    paths: tuple[Path, ...] = ()
    fixed: str | None = None

    def find(self, event: object) -> tuple[Path | None, Any]:
        """The path that led to a value, and the value; (None, None) when there is none."""
        if self.fixed is not None:
            return (), self.fixed
        for path in self.paths:
            found = at(event, path)
            if found is not None and found != "":
                return path, found
        return None, None

    def __bool__(self) -> bool:
        return bool(self.paths) or self.fixed is not None


NOWHERE: Final = Spot()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSpots:
    """Where one address of the user stands."""

    channel_type: Spot
    address: Spot
    endpoint_id: Spot = NOWHERE
    """Nowhere: the user's id and the channel type make one."""
    opt_out: Spot = NOWHERE
    active: Spot = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is in every event of a dialect: a path and, unless empty, its values."""

    path: Path
    values: tuple[str, ...] = ()

    def holds(self, event: object) -> bool:
        """Is it so in this event?"""
        found = at(event, self.path)
        return found is not None and (not self.values or _text(found) in self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Where the fields of an event stand. An event fits when all conditions hold, and it has a
    type and somebody it is about."""

    name: str
    event_type: Spot
    conditions: tuple[Condition, ...] = ()
    user_id: Spot = NOWHERE
    endpoint_id: Spot = NOWHERE
    time: Spot = NOWHERE
    unit: Unit = Unit.MILLISECONDS
    arrival: Spot = NOWHERE
    app: Spot = NOWHERE
    endpoint: Spot = NOWHERE
    """An object in Pinpoint's spelling; what else is told of the endpoint is added to it."""
    timezone: Spot = NOWHERE
    locale: Spot = NOWHERE
    platform: Spot = NOWHERE
    country: Spot = NOWHERE
    region: Spot = NOWHERE
    user_attributes: Spot = NOWHERE
    attributes: Spot = NOWHERE
    addresses: tuple[AddressSpots, ...] = ()

    def read(self, event: Mapping[str, Any]) -> Told | None:
        """The event in Pinpoint's words; None when it is not in this dialect."""
        if not all(condition.holds(event) for condition in self.conditions):
            return None
        event_type = _text(self.event_type.find(event)[1])
        user_id = _text(self.user_id.find(event)[1])
        endpoint_id = _text(self.endpoint_id.find(event)[1])
        base = self._base(event, user_id)
        if not event_type or not (user_id or endpoint_id or base.id):
            return None
        endpoints = list(self._endpoints(event, base, user_id))
        if not endpoints or endpoint_id or base.id or base.address:
            # What is told of the device itself, beside the addresses.
            own = msgspec.structs.replace(base, id=base.id or endpoint_id)
            endpoints.insert(0, own)
        main = endpoints[0]
        told = EventShape(
            event_type=event_type,
            event_timestamp=self.in_ms(self.time.find(event)[1]),
            arrival_timestamp=self.in_ms(self.arrival.find(event)[1]),
            application=ApplicationShape(app_id=_text(self.app.find(event)[1])),
            client=ClientShape(client_id=endpoint_id or main.id),
            endpoint=main,
        )
        return Told(event=told, more=tuple(endpoints[1:]))

    def _base(self, event: object, user_id: str | None) -> EndpointShape:
        """What holds for every endpoint the event tells of."""
        stated = self.endpoint.find(event)[1]
        base = shaped(stated, EndpointShape) if isinstance(stated, dict) else EndpointShape()
        user = base.user or UserShape()
        demographic = base.demographic or DemographicShape()
        location = base.location or LocationShape()
        return msgspec.structs.replace(
            base,
            user=UserShape(
                user_id=user_id or user.user_id,
                user_attributes=_map(self.user_attributes.find(event)[1]) or user.user_attributes,
            ),
            demographic=DemographicShape(
                timezone=_text(self.timezone.find(event)[1]) or demographic.timezone,
                locale=_text(self.locale.find(event)[1]) or demographic.locale,
                platform=_text(self.platform.find(event)[1]) or demographic.platform,
            ),
            location=LocationShape(
                country=_text(self.country.find(event)[1]) or location.country,
                region=_text(self.region.find(event)[1]) or location.region,
            ),
            attributes=_map(self.attributes.find(event)[1]) or base.attributes,
        )

    def _endpoints(
        self, event: object, base: EndpointShape, user_id: str | None
    ) -> Iterator[EndpointShape]:
        """One for each address that is told, and can be given an id."""
        for spots in self.addresses[:ADDRESSES_MAX]:
            address = _text(spots.address.find(event)[1])
            channel_type = _text(spots.channel_type.find(event)[1])
            stated_id = _text(spots.endpoint_id.find(event)[1])
            endpoint_id = stated_id or (f"{user_id}/{channel_type}" if user_id else None)
            if not address or not channel_type or not endpoint_id:
                continue
            opt_out = _truth(spots.opt_out.find(event)[1])
            active = _truth(spots.active.find(event)[1])
            yield msgspec.structs.replace(
                base,
                id=endpoint_id,
                address=address,
                channel_type=channel_type,
                opt_out=None if opt_out is None else ("ALL" if opt_out else "NONE"),
                endpoint_status=None if active is None else ("ACTIVE" if active else "INACTIVE"),
            )

    def in_ms(self, found: object) -> object:
        """A time in ms, or as it is written where it is no number."""
        if self.unit is Unit.MILLISECONDS or found is None or isinstance(found, bool):
            return found
        if isinstance(found, str):
            try:
                found = float(found)
            except ValueError:
                return found
        if not isinstance(found, int | float):
            return found
        counted = found * _MS_OF[self.unit]
        return int(counted) if abs(counted) < 2**53 else counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event of a dialect in Pinpoint's words."""

    event: EventShape
    more: Sequence[EndpointShape] = ()
    """Endpoints of the same user beside the event's own."""


Reader: TypeAlias = Builtin | Dialect

BUILTINS: Final[tuple[Reader, ...]] = tuple(Builtin)
"""What is read when nothing else is asked for."""


def name_of(reader: Reader) -> str:
    """As people call it."""
    return reader.name if isinstance(reader, Dialect) else reader.value


def at(event: object, path: Path) -> Any:
    """What a path leads to, None when it leads nowhere. Text on the way that holds JSON is looked
    into."""
    found = event
    for key in path:
        if isinstance(found, str) and found[:1] in ("{", "["):
            found = _opened(found)
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _opened(text: str) -> Any:
    try:
        return decode_any(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return str(value)


def _map(value: object) -> dict[str, Any] | None:
    if isinstance(value, str):
        value = _opened(value)
    return value if isinstance(value, dict) and value else None


def _truth(value: object) -> bool | None:
    if value is None:
        return None
    return value if isinstance(value, bool) else str(value).lower() in _TRUE
