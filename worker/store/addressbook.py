"""The address book in the store: endpoints folded fact by fact, stops, who owns what.

Every fact of an endpoint is a last-writer-wins register: it keeps the time of the event that told
it, so the result does not depend on the order in which late and repeated events arrive. Facts as
old as the entry itself, the usual case, share its `at_ms`; only older ones have a stamp.

An endpoint no event has named a user for belongs to an anonymous user of its own. Works inside the
transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from worker.addresses import CHANNEL_TYPE_OF, normalise_address
from worker.model import (
    Attributes,
    Channel,
    Endpoint,
    Stop,
    StopReason,
    address_hash_of,
)
from worker.store import statements
from worker.store.connection import want
from worker.store.endpoint_rows import endpoint_of
from worker.store.touches import Touches

FACTS = tuple(statements.ENDPOINT_FACTS.split(", "))
USER_ID, CHANNEL_TYPE, ADDRESS = 0, 1, 2
REACH = 4
"""The first facts say whose endpoint it is, where it leads and whether it is live."""

assert FACTS[:REACH] == ("user_id", "channel_type", "address", "active")

Value: TypeAlias = str | int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the address book. `facts` are in the order of `FACTS`, as the columns hold them;
    `stamps` has the time of every known fact that is older than `at_ms`."""

    endpoint_id: str
    at_ms: int
    stamps: Mapping[str, int]
    facts: tuple[Value, ...]

    @property
    def owner(self) -> str:
        """The user this endpoint belongs to."""
        user_id = self.facts[USER_ID]
        return user_id if isinstance(user_id, str) else anonymous_user_of(self.endpoint_id)

    @property
    def address_hash(self) -> str | None:
        address = self.facts[ADDRESS]
        return address_hash_of(address) if isinstance(address, str) else None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of endpoint signals changed."""

    owners: set[str] = field(default_factory=set)
    """Users about whom a fact changed, before and after a change of owner."""
    named: dict[str, str] = field(default_factory=dict)
    """Anonymous user to the real one, for endpoints that now have a user."""
    newest: set[str] = field(default_factory=set)
    """Endpoints that look just as they were told: nothing newer was known."""

    def note(self, old: Entry | None, new: Entry) -> None:
        """Takes one changed entry down."""
        self.owners.update(entry.owner for entry in (old, new) if entry is not None)
        if new.facts[USER_ID] is not None and (old is None or old.facts[USER_ID] is None):
            self.named[anonymous_user_of(new.endpoint_id)] = new.owner


def anonymous_user_of(endpoint_id: str) -> str:
    """The user an endpoint stands for until an event names one. The schema has the same rule."""
    return f"anonymous:{endpoint_id}"


def hash_of(channel: Channel, address: str) -> str:
    """How an address that a stop or an activity names is found in the address book."""
    return address_hash_of(normalise_address(CHANNEL_TYPE_OF.get(channel), address))


def write_endpoints(
    connection: sqlite3.Connection, told: Sequence[Endpoint], touches: Touches
) -> Changes:
    """Folds endpoint signals, one per endpoint, into the address book."""
    changes = Changes()
    if not told:
        return changes
    touches.catch_up(connection, [endpoint.endpoint_id for endpoint in told])
    entries = read_entries(connection, told)
    touched: list[Entry] = []
    renewed: list[Entry] = []
    moved: list[Entry] = []
    added: list[Entry] = []
    for endpoint in told:
        old = entries.get(endpoint.endpoint_id)
        new = merged(old, endpoint)
        if old is None:
            added.append(new)
        elif old.facts != new.facts:
            renewed.append(new)
            if old.facts[:REACH] != new.facts[:REACH]:
                moved.append(new)
        elif old != new:
            touched.append(new)
        if old is None or old.facts != new.facts:
            changes.note(old, new)
        if old is None or endpoint.at_ms > old.at_ms:
            changes.newest.add(endpoint.endpoint_id)
    connection.executemany(statements.PUT_ENTRY, map(_row, added))
    connection.executemany(statements.CHANGE_FACTS, map(_facts_row, renewed))
    connection.executemany(statements.CHANGE_REACH, map(_reach_row, moved))
    connection.executemany(statements.TOUCH_ENTRY, map(_time_row, touched))
    disowned = [e.endpoint_id for e in moved if e.owner != entries[e.endpoint_id].owner]
    touches.disown(connection, disowned)
    arrived = [entry.address_hash for entry in (*added, *moved)]
    touches.catch_up_addresses(connection, {key for key in arrived if key is not None})
    return changes


def read_entries(connection: sqlite3.Connection, told: Iterable[Endpoint]) -> dict[str, Entry]:
    """What is known of these endpoints, by their id."""
    want(connection, (endpoint.endpoint_id for endpoint in told))
    return {
        row[0]: Entry(row[0], row[1], _stamps(row[2]), row[3:])
        for row in connection.execute(statements.ENTRIES_WANTED)
    }


def merged(old: Entry | None, new: Endpoint) -> Entry:
    """The entry after a signal: per fact the newest that is known; of two told for the same instant
    always the same one. A fact that is None was not told and changes nothing."""
    said = _said(new)
    if old is None:
        return Entry(new.endpoint_id, new.at_ms, {}, said)
    if new.at_ms > old.at_ms and said == old.facts:
        return Entry(new.endpoint_id, new.at_ms, {}, said)  # nothing new: nearly all signals
    facts: list[Value] = []
    stamps: dict[str, int] = {}
    at_ms = max(old.at_ms, new.at_ms)
    for name, before, after in zip(FACTS, old.facts, said, strict=True):
        stamp = old.stamps.get(name, old.at_ms)
        newer = before is None or (new.at_ms, str(after)) > (stamp, str(before))
        if after is not None and newer:
            stamp = new.at_ms
        else:
            after = before
        if after is not None and stamp != at_ms:
            stamps[name] = stamp
        facts.append(after)
    return Entry(new.endpoint_id, at_ms, stamps, tuple(facts))


def write_stops(connection: sqlite3.Connection, stops: Sequence[Stop]) -> set[str]:
    """Suppresses addresses, now and for endpoints that will hold them later; returns the users who
    hold them now. Stops that name a message instead are for `receipts.stop_messages`."""
    if not stops:
        return set()
    rows = [
        (hash_of(s.channel, s.address), s.channel, s.reason, s.at_ms)
        for s in stops
        if s.address is not None
    ]
    connection.executemany(statements.PUT_SUPPRESSION, rows)
    want(connection, (row[0] for row in rows))
    return {owner for _, owner in connection.execute(statements.OWNERS_BY_ADDRESS)}


def suppress(
    connection: sqlite3.Connection, rows: Iterable[tuple[str, Channel, StopReason, int]]
) -> None:
    """Suppresses addresses by their hash, as a claim knows them."""
    connection.executemany(statements.PUT_SUPPRESSION, rows)


def replace_token(
    connection: sqlite3.Connection,
    touches: Touches,
    *,
    user_id: str,
    address_hash: str,
    token: str,
    at_ms: int,
) -> None:
    """Puts the token a push service answered in the place of the one that was used. An endpoint
    that has another address by now, or another user, is left alone."""
    touches.catch_up_users(connection, (user_id,))
    want(connection, (user_id,))
    for row in connection.execute(statements.ENDPOINTS_OF_OWNERS).fetchall():
        endpoint = endpoint_of(row)
        if endpoint.channel is Channel.PUSH and address_hash_of(endpoint.address or "") == (
            address_hash
        ):
            changed = Endpoint(
                endpoint_id=endpoint.endpoint_id,
                at_ms=max(at_ms, endpoint.at_ms + 1),
                address=token,
            )
            write_endpoints(connection, (changed,), touches)


def _said(endpoint: Endpoint) -> tuple[Value, ...]:
    """The facts of a signal in the order of `FACTS`. A blank address is none."""
    return (
        endpoint.user_id,
        endpoint.channel_type,
        normalise_address(endpoint.channel_type, endpoint.address or "", endpoint.country) or None,
        _flag(endpoint.active),
        _flag(endpoint.opted_out),
        endpoint.timezone,
        endpoint.country,
        endpoint.region,
        endpoint.locale,
        endpoint.platform,
        endpoint.app,
        _attributes_text(endpoint.attributes),
        _attributes_text(endpoint.user_attributes),
    )


def _row(entry: Entry) -> tuple[Value, ...]:
    stamps = _stamps_text(entry.stamps)
    return (entry.endpoint_id, entry.at_ms, stamps, *entry.facts, entry.address_hash)


def _time_row(entry: Entry) -> tuple[Value, ...]:
    return (entry.at_ms, _stamps_text(entry.stamps), entry.endpoint_id)


def _facts_row(entry: Entry) -> tuple[Value, ...]:
    stamps = _stamps_text(entry.stamps)
    return (entry.at_ms, stamps, *entry.facts[REACH:], entry.endpoint_id)


def _reach_row(entry: Entry) -> tuple[Value, ...]:
    return (*entry.facts[:REACH], entry.address_hash, entry.endpoint_id)


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _attributes_text(attributes: Attributes | None) -> str | None:
    if attributes is None:
        return None
    return msgspec.json.encode(dict(attributes), order="sorted").decode()


def _stamps_text(stamps: Mapping[str, int]) -> str | None:
    return msgspec.json.encode(stamps, order="sorted").decode() if stamps else None


def _stamps(text: str | None) -> Mapping[str, int]:
    return {} if text is None else msgspec.json.decode(text, type=dict[str, int])
