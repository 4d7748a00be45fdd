"""The quick way through the most ordinary record: a known endpoint as it was, its user still here.

Most events of a stream say nothing new about an endpoint and only that a user, who is on no ladder,
is active. Such a record is taken in without a fold and without an effect. Everything else is
refused, and nothing of it was done; `Play.read` is the definition of right, and what is taken here
must come out the same (a test plays histories both ways).
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct
from msgspec.json import Decoder

from worker.event_endpoints import FullText, PlainEndpointShape, endpoint_of, who_of
from worker.event_meanings import Meaning, meanings_of
from worker.event_plain import UNUSUAL, PlainContextShape, TimeMs, decode_plain_event
from worker.event_shapes import (
    ApplicationShape,
    ClientShape,
    EventAttributesShape,
    FacetsShape,
    Text,
)
from worker.event_wrappers import RECORD_BYTES_MAX
from worker.model import Record
from worker.rehearsal.book import facts_of
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Entry, Facts, Life, Person
from worker.rules.ruleset import ActivityPolicy

SEEN_MAX: Final = 100_000
"""Clients of whom the last endpoint is remembered, 200 bytes each; beyond it all begin anew."""

_NONE: Final = Raw(b"")
"""No attributes; nothing that is told is so short."""


class _User(Struct, rename="pascal", gc=False):
    user_id: Text | None = None
    user_attributes: Raw = _NONE


class _Demographic(Struct, rename="pascal", gc=False, frozen=True):
    timezone: Text | None = None
    locale: Text | None = None
    platform: Text | None = None


class _Location(Struct, rename="pascal", gc=False, frozen=True):
    region: Text | None = None
    country: Text | None = None


class _Endpoint(Struct, rename="pascal", gc=False):
    """`PlainEndpointShape` with the attributes unread."""

    id: Text | None = None
    address: Text | None = None
    channel_type: Text | None = None
    endpoint_status: Text | None = None
    opt_out: Text | None = None
    user: _User | None = None
    demographic: _Demographic | None = None
    location: _Location | None = None
    attributes: Raw = _NONE
    application_id: Text | None = None


class _Event(Struct, gc=False):
    """`PlainEvent` with the endpoint read, but for its attributes."""

    event_type: FullText
    event_timestamp: TimeMs
    arrival_timestamp: TimeMs
    endpoint: _Endpoint
    client: ClientShape
    application: ApplicationShape | None = None
    attributes: EventAttributesShape | None = None
    client_context: PlainContextShape | None = None
    facets: FacetsShape | None = None


_decode: Final = Decoder(_Event).decode
_decode_endpoint: Final = Decoder(PlainEndpointShape).decode


class Swift:
    """Reads into a memory, by one activity policy."""

    def __init__(self, memory: Memory, policy: ActivityPolicy) -> None:
        self._memory = memory
        meanings = meanings_of(policy)
        self._meaning_of = meanings.of
        self._is_pinpoint_first = meanings.is_pinpoint_first
        self._by_arrival = meanings.by_arrival
        self._skew_ms = meanings.skew_ms
        self._seen: dict[str, tuple[int, Entry, Facts]] = {}
        """Client to a digest of the endpoint it showed last, and to what that says."""

    def take(self, record: Record, now_ms: int) -> bool:
        """Takes a record in at `now_ms`, when everybody due before it was looked at. False: it is
        not one of the most ordinary ones, and was not taken."""
        data = record.data
        if not self._is_pinpoint_first:
            return False
        try:
            event = _decode(data)
        except UNUSUAL:
            return False
        client_id, meaning = event.client.client_id, self._meaning_of(event.event_type)
        if client_id is None or meaning.of_message or len(data) > RECORD_BYTES_MAX:
            return False
        application = event.application
        app_id = None if application is None else application.app_id
        digest = _digest(event.endpoint, app_id)
        seen = self._seen.get(client_id)
        if seen is not None and seen[0] == digest and seen[1].told is seen[2]:
            entry: Entry | None = seen[1]
        else:
            entry = self._learnt(client_id, event.endpoint.id, data, app_id, digest)
        if entry is None:
            return False
        # What arrival_of and its clamp do, for times that are known to be usable.
        stated, kinesis_ms = event.arrival_timestamp, record.arrival_ms
        latest_ms = (stated if stated < kinesis_ms else kinesis_ms) + self._skew_ms
        arrival_ms = stated if stated < latest_ms else latest_ms
        at_ms = event.event_timestamp
        if self._by_arrival:
            at_ms = arrival_ms
        elif at_ms > latest_ms:
            at_ms = latest_ms
        person = entry.person
        if person.life is not None and _concerns(person.life, meaning, at_ms):
            return False
        if meaning.active and not self._moves(person, at_ms, now_ms):
            return False
        if arrival_ms > entry.at_ms:
            entry.at_ms = arrival_ms
            person.endpoints = None
        return True

    def _moves(self, person: Person, at_ms: int, now_ms: int) -> bool:
        """The user was here; False when that may make somebody due at once, and was not noted."""
        known_ms, rearm_ms = person.last_active_ms, self._memory.rearm_after_ms
        if known_ms is None or (rearm_ms is not None and at_ms + rearm_ms <= now_ms):
            return False
        if at_ms > known_ms:
            self._memory.move_recency(person, at_ms)
        return True

    def _learnt(
        self, client_id: str, stated_id: str | None, data: bytes, app_id: str | None, digest: int
    ) -> Entry | None:
        """The endpoint an event shows, when it is known to be just so, which is remembered; else
        None."""
        entry = self._memory.book.entries.get((stated_id or client_id).lower())
        if entry is None or entry.told is None:
            return None
        try:
            shape = _decode_endpoint(decode_plain_event(data).endpoint)
        except UNUSUAL:
            return None
        user_id, endpoint_id = who_of(shape, client_id)
        if endpoint_id != entry.endpoint_id:
            return None
        if facts_of(endpoint_of(shape, endpoint_id, user_id, app_id, entry.at_ms)) != entry.told:
            return None
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen[client_id] = (digest, entry, entry.told)
        return entry


def _digest(endpoint: _Endpoint, app_id: str | None) -> int:
    """The same for everything that is read of an endpoint, so that what was found out about one
    holds for the other. Attributes by their bytes."""
    user = endpoint.user
    return hash(
        (
            app_id,
            endpoint.id,
            endpoint.address,
            endpoint.channel_type,
            endpoint.endpoint_status,
            endpoint.opt_out,
            endpoint.application_id,
            endpoint.demographic,
            endpoint.location,
            bytes(endpoint.attributes),
            None if user is None else (user.user_id, bytes(user.user_attributes)),
        )
    )


def _concerns(life: Life, meaning: Meaning, at_ms: int) -> bool:
    """Can an event of that meaning change an episode? May say yes when it cannot."""
    if life.open:
        return meaning.active or bool(meaning.goals)
    if not meaning.goals:
        return False
    since_ms = at_ms - max(met.goal.within_ms for met in meaning.goals)
    return any(
        episode.last_sent_ms is not None and episode.last_sent_ms >= since_ms
        for episode in life.latest.values()
    )
