"""Folds what one batch says into what it changes: who was active when, which endpoints are how.

Pure. An ordinary event is read by `event_plain.py`, any other by `events.py`. Order and repetition
inside a batch do not matter for the result, so neither a producer's retry nor a re-read after a
restart can move anybody's recency back or forward. The effect goes to `Store.apply`, in one
transaction with the batch's position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Final, TypeAlias, assert_never

from msgspec.json import encode

from worker.event_meanings import Meaning, meanings_of
from worker.event_plain import (
    NEVER_MS,
    UNUSUAL,
    Identity,
    PlainEvent,
    Sighting,
    Sightings,
    decode_plain_event,
    shown_by,
)
from worker.event_values import EndpointDraft, activity_of, conversion_of
from worker.event_wrappers import RECORD_BYTES_MAX
from worker.events import Reading, read_record
from worker.faces import Faces, Touch
from worker.model import (
    Activity,
    Batch,
    Conversion,
    DeadLetter,
    Effect,
    Endpoint,
    Receipt,
    Record,
    Stop,
)
from worker.rules.ruleset import ActivityPolicy

_Rank: TypeAlias = tuple[int, str, str]
"""(time, event type, endpoint id): the highest is the latest; of one instant it is always the same
one, whichever was read first."""

_FACTS: Final = tuple(
    field.name for field in fields(Endpoint) if field.name not in {"endpoint_id", "at_ms"}
)
_facts_of: Final = attrgetter(*_FACTS)

DEAD_LETTERS_WHOLE_MAX: Final = 1_000
"""Dead letters of one batch that keep their data; the others keep reason and sequence number, by
which the record can be read again while the stream has it."""


def fold(batch: Batch, policy: ActivityPolicy, faces: Faces | None = None) -> Effect:
    """What a batch changes. Bounded by the batch: no part is longer than its records' signals.

    `faces` are those the store knows that will apply the effect; events that show one of them
    become touches. None: whatever is told is told in full.
    """
    if faces is not None:
        faces.watch()
    folding = _Folding(batch.position.shard_id, policy, faces)
    if meanings_of(policy).is_pinpoint_first:
        folding.take(batch.records)
    else:
        folding.take_carefully(batch.records)
    return folding.effect()


class _Folding:
    """The effect of one batch while it comes about."""

    def __init__(self, shard_id: str, policy: ActivityPolicy, known: Faces | None) -> None:
        self._shard_id = shard_id
        self._policy = policy
        self._known = known
        self._meanings = meanings_of(policy)
        self._by_arrival, self._skew_ms = self._meanings.by_arrival, self._meanings.skew_ms
        self._activities: dict[Identity, _Rank] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._endpoints_again: dict[str, list[Endpoint]] = {}
        self._stops: dict[Stop, Stop] = {}
        """Without its time to the latest."""
        self._receipts: list[Receipt] = []
        self._conversions: dict[Conversion, None] = {}
        self._touches: dict[str, Touch] = {}
        self._faces: dict[str, tuple[int, ...]] = {}
        self._dead_letters: list[DeadLetter] = []

    def take(self, records: Sequence[Record]) -> None:
        """Takes ordinary events by what they show, then all others by their reading. To be called
        once."""
        unusual: set[int] = set()
        sightings = Sightings(self._known)
        meaning_of, sighting_of = self._meanings.of, sightings.of
        for record, event in self._take_known(records, unusual):
            meaning = meaning_of(event.event_type)
            refused = meaning.of_message or len(record.data) > RECORD_BYTES_MAX
            sighting = None if refused else sighting_of(shown_by(event))
            if sighting is None:
                unusual.add(id(record))
                continue
            arrival_ms, at_ms = self._times_of(event, record)
            if arrival_ms > sighting.at_ms:
                sighting.at_ms = arrival_ms
            if meaning.active and at_ms >= sighting.active_ms:
                if at_ms > sighting.active_ms or event.event_type > sighting.active_type:
                    sighting.active_type = event.event_type
                sighting.active_ms = at_ms
            if meaning.goals:
                self._convert(meaning, at_ms, sighting)
        for sighting in sightings.found:
            self._settle(sighting)
        if unusual:
            self.take_carefully([record for record in records if id(record) in unusual])

    def _take_known(
        self, records: Iterable[Record], unusual: set[int]
    ) -> list[tuple[Record, PlainEvent]]:
        """Takes ordinary events that show a known face and mean nothing besides; returns the other
        ordinary ones. What is no ordinary event goes to `unusual`, by its `id`."""
        others: list[tuple[Record, PlainEvent]] = []
        meaning_of, touches = self._meanings.of, self._touches
        knows = self._known.knows if self._known is not None else None
        for record in records:
            data = record.data
            try:
                event = decode_plain_event(data)
            except UNUSUAL:
                unusual.add(id(record))
                continue
            client_id, app_id, source = shown_by(event)
            meaning = meaning_of(event.event_type)
            # The client is a part of the print: one without id is in none.
            if (
                knows is None
                or not knows(client_id or "", app_id, source)
                or client_id is None
                or meaning.is_about_more
                or len(data) > RECORD_BYTES_MAX
            ):
                others.append((record, event))
                continue
            seen_ms, active_ms = self._times_of(event, record)
            if source is None:
                seen_ms = NEVER_MS  # it says nothing of how the endpoint looks
            if not meaning.active:
                active_ms = NEVER_MS
            known = touches.get(client_id)
            if known is not None:
                seen_ms, active_ms = max(known[0], seen_ms), max(known[1], active_ms)
            touches[client_id] = (seen_ms, active_ms)
        return others

    def _times_of(self, event: PlainEvent, record: Record) -> tuple[int, int]:
        """When an event arrived, and when what it tells of happened: what `arrival_of` and its
        clamp say, for times that are known to be usable."""
        stated, kinesis_ms = event.arrival_timestamp, record.arrival_ms
        latest_ms = (stated if stated < kinesis_ms else kinesis_ms) + self._skew_ms
        arrival_ms = stated if stated < latest_ms else latest_ms
        if self._by_arrival:
            return arrival_ms, arrival_ms
        at_ms = event.event_timestamp
        return arrival_ms, at_ms if at_ms < latest_ms else latest_ms

    def _settle(self, sighting: Sighting) -> None:
        endpoint_id = sighting.endpoint_id
        if sighting.faces and endpoint_id is not None and self._known is not None:
            face, said = sighting.faces
            if self._known.has(endpoint_id, said) or self._known.has(endpoint_id, face):
                self._known.learn(endpoint_id, face)
                seen_ms = NEVER_MS if sighting.source is None else sighting.at_ms
                known = self._touches.get(endpoint_id, (NEVER_MS, NEVER_MS))
                touch = max(known[0], seen_ms), max(known[1], sighting.active_ms)
                self._touches[endpoint_id] = touch
                return
            self._faces[endpoint_id] = (*self._faces.get(endpoint_id, ()), face, said)
        endpoint = sighting.endpoint()
        if endpoint is not None:
            self._enter(endpoint)
        if sighting.active_ms != NEVER_MS:
            rank = (sighting.active_ms, sighting.active_type, endpoint_id or "")
            self._activate(sighting.identity, rank)

    def _convert(self, meaning: Meaning, at_ms: int, who: Sighting) -> None:
        for met in meaning.goals:
            within_ms = met.goal.within_ms
            found = conversion_of(at_ms, met.rule, within_ms, who.user_id, who.endpoint_id)
            self._conversions[found] = None

    def take_carefully(self, records: Iterable[Record]) -> None:
        """Takes records by their reading, whatever they hold."""
        for record in records:
            self._take_reading(read_record(record, shard_id=self._shard_id, policy=self._policy))

    def _take_reading(self, reading: Reading) -> None:
        for letter in reading.dead_letters:
            kept = len(self._dead_letters) < DEAD_LETTERS_WHOLE_MAX
            self._dead_letters.append(letter if kept else replace(letter, data=b""))
        for signal in reading.signals:
            match signal:
                case Activity():
                    rank = (signal.at_ms, signal.event_type, signal.endpoint_id or "")
                    self._activate(_identity(signal), rank)
                case Endpoint():
                    self._enter(signal)
                case Receipt():
                    self._receipts.append(signal)
                case Conversion():
                    self._conversions[signal] = None
                case Stop():
                    key = replace(signal, at_ms=0)
                    known = self._stops.get(key)
                    if known is None or signal.at_ms > known.at_ms:
                        self._stops[key] = signal
                case _:
                    assert_never(signal)

    def effect(self) -> Effect:
        """What all that was taken changes."""
        for endpoint_id, same in self._endpoints_again.items():
            self._endpoints[endpoint_id] = merge_endpoints(same)
            # It looked different from event to event.
            self._faces.pop(endpoint_id, None)
        return Effect(
            activities=tuple(
                [_activity(identity, rank) for identity, rank in self._activities.items()]
            ),
            endpoints=tuple(self._endpoints.values()),
            stops=tuple(self._stops.values()),
            receipts=tuple(self._receipts),
            conversions=tuple(self._conversions),
            dead_letters=tuple(self._dead_letters),
            touches=self._touches,
            faces=self._faces,
        )

    def _activate(self, identity: Identity, rank: _Rank) -> None:
        known = self._activities.get(identity)
        if known is None or rank > known:
            self._activities[identity] = rank

    def _enter(self, endpoint: Endpoint) -> None:
        first = self._endpoints.setdefault(endpoint.endpoint_id, endpoint)
        if first is not endpoint:
            self._endpoints_again.setdefault(endpoint.endpoint_id, [first]).append(endpoint)


def merge_endpoints(same: Iterable[Endpoint]) -> Endpoint:
    """One value from several of the same endpoint (at least one): per fact the newest that is
    known, so None never hides anything. Stores merge what they hold with what comes by it."""
    ordered = list(same)
    if len(ordered) == 1:
        return ordered[0]
    ordered.sort(key=attrgetter("at_ms"), reverse=True)
    newest = ordered[0]
    assert all(endpoint.endpoint_id == newest.endpoint_id for endpoint in ordered)
    alone = len({endpoint.at_ms for endpoint in ordered}) == len(ordered)
    draft: Any = EndpointDraft()
    draft.endpoint_id, draft.at_ms = newest.endpoint_id, newest.at_ms
    times = [endpoint.at_ms for endpoint in ordered]
    for name, *values in zip(_FACTS, *map(_facts_of, ordered), strict=True):
        if alone:
            fact = next((value for value in values if value is not None), None)
        else:
            fact = _newest_fact(times, values)
        setattr(draft, name, fact)
    draft.__class__ = Endpoint
    made: Endpoint = draft
    return made


def _newest_fact(times: Sequence[int], values: Sequence[Any]) -> Any:
    """The newest value that is known; two of one instant have no order but that of their text."""
    known = [pair for pair in zip(times, values, strict=True) if pair[1] is not None]
    ranked = max(known, key=lambda pair: (pair[0], fact_text(pair[1])), default=None)
    return None if ranked is None else ranked[1]


def fact_text(value: object) -> str:
    """Gives two facts of one instant an order, which is the same wherever they meet: within a batch
    or in the state, which keeps flags as 0 and 1 and attributes as JSON."""
    if isinstance(value, str):
        return value
    return encode(value, order="sorted").decode()


def _identity(activity: Activity) -> Identity:
    if activity.user_id is not None:
        return activity.user_id
    if activity.endpoint_id is not None:
        return (activity.endpoint_id, None, None)
    return (None, activity.message_id, activity.address)


def _activity(identity: Identity, rank: _Rank) -> Activity:
    at_ms, event_type, endpoint_id = rank
    if isinstance(identity, str):
        return activity_of(at_ms, event_type, identity, endpoint_id or None)
    endpoint_id_alone, message_id, address = identity
    return activity_of(at_ms, event_type, None, endpoint_id_alone, message_id, address)
