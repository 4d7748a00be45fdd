"""The quick way through the most ordinary record: a known endpoint as it was, its user still here.

Most events of a stream say nothing new about an endpoint and only that a user, who is on no ladder,
is active. Such a record is taken in without a fold and without an effect. Everything else is
refused, and nothing of it was done; `Play.read` is the definition of right, and what is taken here
must come out the same (a test plays histories both ways).
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw
from msgspec.json import Decoder

from worker.event_endpoints import PlainEndpointShape, endpoint_of, who_of
from worker.event_meanings import Meaning, meanings_of
from worker.event_plain import UNUSUAL, decode_plain_event
from worker.event_wrappers import RECORD_BYTES_MAX
from worker.model import Record
from worker.rehearsal.book import facts_of
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Entry, Facts, Life
from worker.rules.ruleset import ActivityPolicy

SEEN_MAX: Final = 100_000
"""Clients of whom the last endpoint is remembered, 200 bytes each; beyond it all begin anew."""

_decode_endpoint: Final = Decoder(PlainEndpointShape).decode


class Swift:
    """Reads into a memory, by one activity policy."""

    def __init__(self, memory: Memory, policy: ActivityPolicy) -> None:
        self._memory = memory
        meanings = meanings_of(policy)
        self._meaning_of = meanings.of
        self._by_arrival = meanings.by_arrival
        self._skew_ms = meanings.skew_ms
        self._seen: dict[str, tuple[int, Entry, Facts]] = {}
        """Client to a digest of the endpoint it showed last, and to what that says."""

    def take(self, record: Record, now_ms: int) -> bool:
        """Takes a record in at `now_ms`, when everybody due before it was looked at. False: it is
        not one of the most ordinary ones, and was not taken."""
        try:
            event = decode_plain_event(record.data)
        except UNUSUAL:
            return False
        meaning, client = self._meaning_of(event.event_type), event.client
        if meaning.of_message or client is None or client.client_id is None:
            return False
        app_id = event.application.app_id if event.application is not None else None
        # What arrival_of and its clamp do, for times that are known to be usable.
        stated, kinesis_ms, skew_ms = event.arrival_timestamp, record.arrival_ms, self._skew_ms
        latest_ms = (stated if stated < kinesis_ms else kinesis_ms) + skew_ms
        arrival_ms = stated if stated < latest_ms else latest_ms
        entry = self._entry(client.client_id, app_id, event.endpoint, arrival_ms)
        if entry is None or len(record.data) > RECORD_BYTES_MAX:
            return False
        at_ms = event.event_timestamp
        if self._by_arrival:
            at_ms = arrival_ms
        elif at_ms > latest_ms:
            at_ms = latest_ms
        person = entry.person
        if person.life is not None and _concerns(person.life, meaning, at_ms):
            return False
        if meaning.active:
            known_ms, rearm_ms = person.last_active_ms, self._memory.rearm_after_ms
            if known_ms is None or (rearm_ms is not None and at_ms + rearm_ms <= now_ms):
                return False
            if at_ms > known_ms:
                self._memory.move_recency(person, at_ms)
        if arrival_ms > entry.at_ms:
            entry.at_ms = arrival_ms
            person.endpoints = None
        return True

    def _entry(
        self, client_id: str, app_id: str | None, source: Raw, arrival_ms: int
    ) -> Entry | None:
        """The endpoint an event shows, when it is known to be just so; else None."""
        digest = hash((bytes(source), app_id))
        seen = self._seen.get(client_id)
        if seen is not None and seen[0] == digest and seen[1].told is seen[2]:
            return seen[1]
        try:
            shape = _decode_endpoint(source)
        except UNUSUAL:
            return None
        user_id, endpoint_id = who_of(shape, client_id)
        entry = self._memory.book.entries.get(endpoint_id or "")
        if entry is None or endpoint_id is None or entry.told is None:
            return None
        if facts_of(endpoint_of(shape, endpoint_id, user_id, app_id, arrival_ms)) != entry.told:
            return None
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen[client_id] = (digest, entry, entry.told)
        return entry


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
