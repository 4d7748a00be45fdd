"""How records would be read, field by field, without running: for `comeback events check`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.event_dialects import Builtin, Dialect, Path, Reader, Spot, name_of
from worker.event_meanings import meanings_of
from worker.event_times import time_ms
from worker.event_wrappers import Found, objects_in
from worker.events import Finding, Problem, read_object
from worker.model import Activity, Conversion, Endpoint, Receipt, Record, Stop
from worker.rules.ruleset import ActivityPolicy

KINDS_MAX: Final = 500
"""Kinds of events told apart; the rest is counted together."""

USERS_MAX: Final = 1_000_000
"""Users counted one by one."""

SHOWN_CHARS_MAX: Final = 60
"""Of a value in an example."""

OTHER: Final = "(other types)"

_TIMES: Final = frozenset({"time", "arrival"})

_PRIVATE: Final = frozenset({"address", "user_attributes", "attributes", "endpoint"})
"""Fields whose values are shown only to who asks for them (P11)."""


def _at(*texts: str) -> Spot:
    return Spot(paths=tuple(tuple(text.split(".")) for text in texts))


_FIELDS: Final[Mapping[Builtin, Mapping[str, Spot]]] = {
    Builtin.PINPOINT: {
        "type": _at("event_type"),
        "user_id": _at("endpoint.User.UserId", "client_context.custom.endpoint.User.UserId"),
        "endpoint_id": _at("endpoint.Id", "client_context.custom.endpoint.Id", "client.client_id"),
        "time": _at("event_timestamp"),
        "arrival": _at("arrival_timestamp"),
        "app": _at("application.app_id"),
        "channel_type": _at("endpoint.ChannelType", "client_context.custom.endpoint.ChannelType"),
        "address": _at(
            "endpoint.Address",
            "client_context.custom.endpoint.Address",
            "attributes.destination_phone_number",
            "facets.email_channel.mail_event.mail.destination.0",
        ),
        "opt_out": _at("endpoint.OptOut"),
        "active": _at("endpoint.EndpointStatus"),
        "timezone": _at("endpoint.Demographic.Timezone"),
        "locale": _at("endpoint.Demographic.Locale"),
        "country": _at("endpoint.Location.Country"),
        "user_attributes": _at("endpoint.User.UserAttributes"),
        "attributes": _at("endpoint.Attributes"),
        "message_id": _at(
            "attributes.message_id", "facets.email_channel.mail_event.mail.message_id"
        ),
        "send_id": _at(
            "attributes.customer_context.send_id",
            "attributes.send_id",
            "client_context.custom.send_id",
        ),
    },
    Builtin.SES: {
        "type": _at("eventType", "notificationType"),
        "time": _at(
            "delivery.timestamp",
            "bounce.timestamp",
            "complaint.timestamp",
            "open.timestamp",
            "click.timestamp",
            "mail.timestamp",
        ),
        "address": _at("mail.destination.0"),
        "message_id": _at("mail.messageId"),
        "send_id": _at("mail.tags.send_id.0"),
    },
    Builtin.END_USER_MESSAGING: {
        "type": _at("eventType"),
        "time": _at("eventTimestamp"),
        "address": _at("destinationPhoneNumber"),
        "status": _at("messageStatus"),
        "message_id": _at("messageId"),
        "send_id": _at("context.send_id"),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFound:
    """One field of an example: where it was looked for, where it was found, what stands there."""

    name: str
    looked_for: tuple[str, ...]
    found_at: str | None
    value: str | None
    """As text; only its kind where it may not be shown unasked. None: nothing was found."""
    means_ms: int | None = None
    """The instant a time means; None when it means none."""


@dataclass(slots=True, kw_only=True)
class Kind:
    """The events of one format and type."""

    format: str
    type: str
    events: int = 0
    active: int = 0
    goals: int = 0
    users_named: int = 0
    addresses: int = 0
    receipts: int = 0
    stops: int = 0
    odd: Counter[str] = field(default_factory=Counter)
    """Dead letters, by reason."""
    example: tuple[FieldFound, ...] = ()


@dataclass(slots=True, kw_only=True)
class Check:
    """What was read of some records."""

    records: int = 0
    events: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    """Parts of records that are no event of any format, by what is wrong with them."""
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    first_ms: int | None = None
    last_ms: int | None = None

    def take(
        self, records: Iterable[Record], policy: ActivityPolicy, *, show_values: bool = False
    ) -> None:
        """Reads some more records."""
        meanings = meanings_of(policy)
        for record in records:
            self.records += 1
            for part in objects_in(record.data):
                if not isinstance(part, Found):
                    self.unread[f"{part.reason}: {part.detail}"] += 1
                    continue
                reader, findings = read_object(part.value, record.arrival_ms, meanings)
                if reader is None:
                    told = (found for found in findings if isinstance(found, Problem))
                    self.unread.update(f"{found.reason}: {found.detail}" for found in told)
                    continue
                self._count(reader, part.value, findings, show_values=show_values)

    def _count(
        self,
        reader: Reader,
        value: Mapping[str, Any],
        findings: Iterable[Finding],
        *,
        show_values: bool,
    ) -> None:
        self.events += 1
        fields = tuple(fields_of(reader, value, show_values=show_values))
        event_type = next((f.value for f in fields if f.name == "type" and f.value), OTHER)
        key = (name_of(reader), event_type)
        if key not in self.kinds and len(self.kinds) >= KINDS_MAX:
            key = (name_of(reader), OTHER)
        kind = self.kinds.setdefault(key, Kind(format=key[0], type=key[1]))
        kind.events += 1
        if not kind.example or _filled(fields) > _filled(kind.example):
            kind.example = fields
        named = set()
        for found in findings:
            self._take(kind, found)
            if isinstance(found, Activity | Endpoint) and found.user_id is not None:
                named.add(found.user_id)
        kind.users_named += bool(named)
        if len(self.users) < USERS_MAX:
            self.users |= named

    def _take(self, kind: Kind, found: Finding) -> None:
        match found:
            case Activity():
                kind.active += 1
                self.first_ms = min(found.at_ms, self.first_ms or found.at_ms)
                self.last_ms = max(found.at_ms, self.last_ms or found.at_ms)
            case Endpoint():
                kind.addresses += found.address is not None
            case Receipt():
                kind.receipts += 1
            case Stop():
                kind.stops += 1
            case Conversion():
                kind.goals += 1
            case Problem():
                kind.odd[found.reason] += 1

    def advice(self) -> Iterator[str]:
        """What somebody should do before this stream is read in earnest."""
        kinds = self.kinds.values()
        if not self.events:
            yield (
                "no event of a known format was found; name the format in COMEBACK_EVENTS, or"
                " write a file of formats (docs/events.md)"
            )
            return
        if not any(kind.active for kind in kinds):
            told = ", ".join(sorted({kind.type for kind in kinds})[:5])
            yield (
                f"no event counts as activity, so nobody would ever be known to be there; name"
                f" types in `defaults.activity.events` of the rules (found: {told})"
            )
        if not self.users:
            yield "no event names a user; users would live under their endpoint ids"
        if not any(kind.addresses for kind in kinds):
            yield (
                "no event tells an address; bring them by `comeback import`, or say in a file of"
                " formats where they stand"
            )
        for kind in kinds:
            for reason, times in kind.odd.items():
                yield f"{kind.format} {kind.type}: {times:,} of {kind.events:,} events: {reason}"


def fields_of(
    reader: Reader, value: Mapping[str, Any], *, show_values: bool
) -> Iterator[FieldFound]:
    """Every field the reader looks for, in an order people can follow."""
    for name, spot in _spots(reader):
        path, found = spot.find(value)
        private = not show_values and name.partition(" ")[0] in _PRIVATE
        yield FieldFound(
            name=name,
            looked_for=tuple(_dotted(p) for p in spot.paths) or (f"fixed: {spot.fixed}",),
            found_at=None if path is None else (_dotted(path) or "fixed"),
            value=None if path is None else (_masked(found) if private else _shown(found)),
            means_ms=_ms_of(reader, found) if name in _TIMES else None,
        )


def _ms_of(reader: Reader, found: object) -> int | None:
    return time_ms(reader.in_ms(found) if isinstance(reader, Dialect) else found)


def _spots(reader: Reader) -> Iterator[tuple[str, Spot]]:
    if not isinstance(reader, Dialect):
        yield from _FIELDS[reader].items()
        return
    yield "type", reader.event_type
    for name in (
        "user_id", "endpoint_id", "time", "arrival", "app", "endpoint", "timezone", "locale",
        "platform", "country", "region", "user_attributes", "attributes",
    ):  # fmt: skip
        spot: Spot = getattr(reader, name)
        if spot:
            yield name, spot
    for number, spots in enumerate(reader.addresses, start=1):
        for name in ("address", "channel_type", "endpoint_id", "opt_out", "active"):
            spot = getattr(spots, name)
            if spot:
                yield f"{name} {number}", spot


def _dotted(path: Path) -> str:
    return ".".join(key.replace(".", "\\.") for key in path)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def _masked(value: object) -> str:
    """What kind of thing stands there, and nothing of it."""
    match value:
        case str():
            return f"text of {len(value)}"
        case dict():
            return f"object of {len(value)}"
        case list():
            return f"list of {len(value)}"
        case _:
            return type(value).__name__


def _filled(fields: Iterable[FieldFound]) -> int:
    return sum(found.found_at is not None for found in fields)
