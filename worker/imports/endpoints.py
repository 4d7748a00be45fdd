"""From one endpoint as JSON to what it says: signals for the address book, as an event would give.

Pure. The meaning of an endpoint is `event_endpoints.endpoint_of`; here only its time is found, its
spelling forgiven, and what is odd about it counted. Source of the form: Pinpoint developer guide,
"Exporting endpoints"; API reference, EndpointResponse. Two members are our own export's:
`FactTimes` (facts older than EffectiveDate) and `Suppressed` (nothing goes there any more).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from worker.event_endpoints import PlainEndpointShape, endpoint_of, who_of
from worker.event_shapes import EndpointShape, Text, decode_any, shaped
from worker.event_times import EARLIEST_MS, time_ms
from worker.event_values import activity_of
from worker.imports.findings import Findings, Oddity, Place
from worker.imports.spelling import canonical
from worker.model import CHANNEL_OF_TYPE, Activity, Endpoint, Stop, StopReason
from worker.rules.facts import PHONE_TYPES
from worker.rules.zones import zone_names, zones_of_country

IMPORTED: Final = "import"
"""The event type of an activity that `last seen` makes of an EffectiveDate."""

MADE_ID: Final = "imported:"
"""How the id of an endpoint begins that had none."""

FACTS: Final = frozenset(field.name for field in fields(Endpoint)) - {
    "endpoint_id",
    "at_ms",
    "suppressed",
}
"""What `FactTimes` may name."""

COUNTRIES_CACHED_MAX: Final = 1_024

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
_STOP_REASONS: Final = {reason.value: reason for reason in StopReason}
_STATUSES: Final = frozenset({None, "ACTIVE", "INACTIVE"})
_OPT_OUTS: Final = frozenset({None, "ALL", "NONE"})
_TYPES: Final = frozenset({*CHANNEL_OF_TYPE, "VOICE", "CUSTOM", "IN_APP", "PUSH", None})


class SuppressedShape(msgspec.Struct, rename="pascal", gc=False):
    """Why and since when an address gets nothing."""

    reason: Text | None = None
    at: Any = None


class ExportedShape(PlainEndpointShape, rename="pascal", gc=False):
    """An endpoint of a file, with plain attributes."""

    effective_date: Any = None
    creation_date: Any = None
    fact_times: dict[str, Any] | None = None
    suppressed: SuppressedShape | None = None


class CarefulShape(EndpointShape, rename="pascal", gc=False):
    """The same, with attributes of any kind."""

    effective_date: Any = None
    creation_date: Any = None
    fact_times: dict[str, Any] | None = None
    suppressed: SuppressedShape | None = None


class _IdShape(msgspec.Struct, rename="pascal", gc=False):
    id: Text | None = None


_decode = msgspec.json.Decoder(ExportedShape).decode
_decode_id = msgspec.json.Decoder(_IdShape).decode


def sort_key(raw: bytes) -> str:
    """The endpoint id a line tells, in lower case; empty when it tells none. To put neighbours of
    the address book beside each other."""
    try:
        return (_decode_id(raw).id or "").lower()
    except _UNREADABLE:
        return ""


@dataclass(slots=True)
class Said:
    """What some endpoints say. `rounds`: no id comes twice in one of them; their order is free."""

    rounds: list[dict[str, Endpoint]] = field(default_factory=lambda: [{}])
    activities: list[Activity] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)

    def add(self, endpoint: Endpoint) -> None:
        """Into the first round that has none of its id."""
        for told in self.rounds:
            if told.setdefault(endpoint.endpoint_id, endpoint) is endpoint:
                return
        self.rounds.append({endpoint.endpoint_id: endpoint})


class EndpointReader:
    """Reads endpoints and counts what is odd about them."""

    def __init__(
        self, findings: Findings, *, now_ms: int, as_of_ms: int | None, last_seen: bool
    ) -> None:
        """`as_of_ms`: when endpoints without EffectiveDate were as the file tells. `last_seen`: the
        EffectiveDate of a live endpoint is a time at which its user was active."""
        self._note = findings.note
        self._now_ms = now_ms
        self._as_of_ms = as_of_ms
        self._last_seen = last_seen
        self._zones = zone_names()

    def read(self, raw: bytes, place: Place, said: Said) -> Endpoint | None:
        """Adds what a line says to `said`; returns its endpoint, None when there is none."""
        shape = self._shape(raw, place)
        if shape is None:
            return None
        self._mend_words(shape, place)
        stated_ms = self._stated_ms(shape, place)
        user_id, endpoint_id = who_of(shape, None)
        if endpoint_id is None and not (shape.address or "").strip():
            self._note(Oddity.NO_IDENTITY, place)
            return None
        at_ms = stated_ms if stated_ms is not None else self._assumed_ms(shape)
        endpoint = endpoint_of(shape, endpoint_id or MADE_ID, user_id, None, at_ms)
        if endpoint_id is None:
            self._note(Oddity.ID_MADE, place)
            endpoint = replace(endpoint, endpoint_id=_made_id(endpoint))
        self._inspect(shape, endpoint, place)
        if shape.fact_times:
            for part in _parts(endpoint, shape.fact_times):
                said.add(part)
        else:
            said.add(endpoint)
        if shape.suppressed is not None and (stop := _stop(endpoint, shape.suppressed)):
            said.stops.append(stop)
        if self._last_seen and stated_ms is not None and endpoint.active is not False:
            seen = activity_of(stated_ms, IMPORTED, user_id, endpoint.endpoint_id)
            said.activities.append(seen)
        return endpoint

    def _shape(self, raw: bytes, place: Place) -> ExportedShape | CarefulShape | None:
        try:
            shape = _decode(raw)
            # A field that is not there may be there in another case.
            if shape.address and shape.channel_type and shape.opt_out and shape.endpoint_status:
                return shape
        except _UNREADABLE:
            pass
        return self._careful_shape(raw, place)

    def _careful_shape(self, raw: bytes, place: Place) -> CarefulShape | None:
        """For what is not exactly as Pinpoint writes it: each field that can be read."""
        try:
            value = decode_any(raw)
        except _UNREADABLE:
            value = None
        if not isinstance(value, dict):
            self._note(Oddity.BAD_LINE, place)
            return None
        mended = canonical(value)
        if mended != value:
            self._note(Oddity.SPELLING, place)
        try:
            return msgspec.convert(mended, CarefulShape)
        except msgspec.ValidationError:
            self._note(Oddity.FIELD_LEFT_OUT, place)
            return shaped(mended, CarefulShape)

    def _mend_words(self, shape: ExportedShape | CarefulShape, place: Place) -> None:
        mended = False
        if shape.channel_type not in _TYPES:
            known = _word(shape.channel_type)
            if known != shape.channel_type and known in _TYPES:
                shape.channel_type, mended = known, True
        if shape.endpoint_status not in _STATUSES:
            shape.endpoint_status, mended = _word(shape.endpoint_status), True
        if shape.opt_out not in _OPT_OUTS:
            shape.opt_out, mended = _word(shape.opt_out), True
            if shape.opt_out not in _OPT_OUTS:
                self._note(Oddity.OPT_OUT_UNKNOWN, place)
                shape.opt_out = "ALL"
        if mended:
            self._note(Oddity.SPELLING, place)

    def _stated_ms(self, shape: ExportedShape | CarefulShape, place: Place) -> int | None:
        told = shape.effective_date
        if told is None or told == "":
            self._note(Oddity.NO_TIME, place)
            return None
        at_ms = _time_ms(told)
        if at_ms is None or at_ms > self._now_ms:
            self._note(Oddity.BAD_TIME, place)
            return None
        return at_ms

    def _assumed_ms(self, shape: ExportedShape | CarefulShape) -> int:
        if self._as_of_ms is not None:
            return self._as_of_ms
        created_ms = _time_ms(shape.creation_date)
        return EARLIEST_MS if created_ms is None or created_ms > self._now_ms else created_ms

    def _inspect(
        self, shape: ExportedShape | CarefulShape, endpoint: Endpoint, place: Place
    ) -> None:
        note = self._note
        if endpoint.address is None:
            note(Oddity.NO_ADDRESS, place)
        elif endpoint.channel_type in PHONE_TYPES and not _with_plus(shape.address):
            completed = endpoint.address.startswith("+")
            note(Oddity.PHONE_COMPLETED if completed else Oddity.PHONE_UNUSABLE, place)
        if endpoint.channel_type not in CHANNEL_OF_TYPE:
            note(Oddity.CHANNEL_UNKNOWN, place)
        if endpoint.country is not None:
            told = shape.location.country if shape.location is not None else None
            if not _is_country(endpoint.country):
                note(Oddity.COUNTRY_UNKNOWN, place)
            elif told != endpoint.country:
                note(Oddity.COUNTRY_MAPPED, place)
        if endpoint.timezone is not None and endpoint.timezone not in self._zones:
            note(Oddity.ZONE_UNKNOWN, place)
        if endpoint.active is False:
            note(Oddity.INACTIVE, place)
        if endpoint.opted_out:
            note(Oddity.OPTED_OUT, place)
        if endpoint.user_id is None:
            note(Oddity.NO_USER, place)


@lru_cache(maxsize=COUNTRIES_CACHED_MAX)
def _is_country(code: str) -> bool:
    return bool(zones_of_country(code))


def _with_plus(address: str | None) -> bool:
    return (address or "").lstrip(" \t\u00a0(").startswith("+")


def _word(told: str | None) -> str | None:
    return (told or "").strip().upper() or None


def _time_ms(told: object) -> int | None:
    """As the event times, and text without an offset, which is UTC."""
    at_ms = time_ms(told)
    if at_ms is not None or not isinstance(told, str):
        return at_ms
    try:
        moment = datetime.fromisoformat(told.strip())
    except ValueError:
        return None
    return time_ms((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat())


def _made_id(endpoint: Endpoint) -> str:
    """The same for the same address of the same user, whatever file tells it."""
    parts = (endpoint.channel_type or "", endpoint.address or "", endpoint.user_id or "")
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return MADE_ID + blake2b(joined, digest_size=16).hexdigest()


def _stop(endpoint: Endpoint, suppressed: SuppressedShape) -> Stop | None:
    at_ms = _time_ms(suppressed.at)
    if endpoint.channel is None or endpoint.address is None or at_ms is None:
        return None
    reason = _STOP_REASONS.get(suppressed.reason or "")
    if reason is None:
        return None
    return Stop(at_ms=at_ms, channel=endpoint.channel, reason=reason, address=endpoint.address)


def _parts(endpoint: Endpoint, fact_times: Mapping[str, Any]) -> list[Endpoint]:
    """An endpoint by the times of its facts: one with those of its own time, and for each older
    time one with the facts of that time."""
    older: dict[int, dict[str, Any]] = {}
    for name, told in fact_times.items():
        at_ms = _time_ms(told)
        if name in FACTS and at_ms is not None and at_ms < endpoint.at_ms:
            older.setdefault(at_ms, {})[name] = getattr(endpoint, name)
    gone: dict[str, Any] = {name: None for facts in older.values() for name in facts}
    parts = [replace(endpoint, **gone)]
    for at_ms, facts in older.items():
        parts.append(Endpoint(endpoint_id=endpoint.endpoint_id, at_ms=at_ms, **facts))
    return parts
