"""The address book of a rehearsal: endpoints folded fact by fact, who holds which address, stops.

The same meaning as the store's (`worker/store/addressbook.py`), in dicts: every fact keeps the time
of the event that told it, so the order in which late and repeated events come does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from worker.addresses import normalise_address
from worker.model import CHANNEL_OF_TYPE, Channel, Endpoint, StopReason, address_hash_of
from worker.recency import fact_text
from worker.rehearsal.person import NO_STAMPS, Entry, Facts
from worker.rehearsal.sharing import Sharing

FACTS: Final = tuple(
    field.name
    for field in fields(Endpoint)
    if field.name not in {"endpoint_id", "at_ms", "suppressed"}
)
USER_ID, CHANNEL_TYPE, ADDRESS, ACTIVE = 0, 1, 2, 3
COUNTRY: Final = FACTS.index("country")

assert FACTS[:4] == ("user_id", "channel_type", "address", "active")

facts_of = attrgetter(*FACTS)


class Book:
    """Endpoints by id, by address; the addresses that must get nothing more."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.holders: dict[str, list[Entry]] = {}
        """Address digest to the endpoints that have the address."""
        self.suppressions: dict[str, tuple[StopReason, int]] = {}
        """Address digest to why nothing may be sent there, and since when."""
        self._sharing = Sharing(own=frozenset({USER_ID, ADDRESS}))

    def fold(self, entry: Entry, told: Endpoint) -> bool:
        """Takes a signal in; True when a fact changed. A new entry has no facts yet."""
        said: Facts = facts_of(told)
        if said == entry.told:
            entry.at_ms = max(entry.at_ms, told.at_ms)
            return False
        said = self._sharing.facts(said, entry)
        facts = _spelt(said)
        if not entry.facts:
            entry.at_ms, entry.facts, entry.told = told.at_ms, facts, said
            return True
        if told.at_ms > entry.at_ms and facts == entry.facts:
            entry.at_ms, entry.stamps, entry.told = told.at_ms, NO_STAMPS, said
            return False
        before = entry.facts
        entry.at_ms, entry.stamps, entry.facts = _merged(entry, facts, told.at_ms)
        exact = not entry.stamps and entry.facts == facts
        entry.told = said if exact else None
        return entry.facts != before

    def house(self, entry: Entry) -> list[Entry]:
        """Puts the entry under the address it now has; returns the others that hold that address or
        held the former one with it, for they may look different now."""
        others: list[Entry] = []
        address = entry.facts[ADDRESS]
        address_hash = None if address is None else address_hash_of(address)
        if entry.address_hash != address_hash:
            if entry.address_hash is not None:
                left = self.holders[entry.address_hash]
                left.remove(entry)
                others += left
                if not left:
                    del self.holders[entry.address_hash]
            entry.address_hash = address_hash
            if address_hash is not None:
                self.holders.setdefault(address_hash, []).append(entry)
        if address_hash is not None:
            others += [other for other in self.holders[address_hash] if other is not entry]
        return others

    def suppress(self, address_hash: str, reason: StopReason, at_ms: int) -> Sequence[Entry]:
        """Nothing goes to that address from now on; returns the endpoints that have it."""
        known = self.suppressions.get(address_hash)
        if known is None or (at_ms, reason) > (known[1], known[0]):
            self.suppressions[address_hash] = (reason, at_ms)
        return self.holders.get(address_hash, ())

    def endpoints_of(self, entries: Sequence[Entry]) -> tuple[tuple[Endpoint, ...], bool]:
        """The entries as the ladder sees them, newest last; and whether they stay so for as long as
        nothing is told of these very entries: not when somebody else shares an address."""
        lasting = True
        found: list[Endpoint] = []
        for entry in entries:
            shared = entry.address_hash is not None and len(self.holders[entry.address_hash]) > 1
            lasting = lasting and not shared
            found.append(self._seen(entry, shared=shared))
        if len(found) > 1:
            found.sort(key=lambda endpoint: (endpoint.at_ms, endpoint.endpoint_id))
        return tuple(found), lasting

    def _seen(self, entry: Entry, *, shared: bool) -> Endpoint:
        stop = self.suppressions.get(entry.address_hash) if entry.address_hash else None
        values = dict(zip(FACTS, entry.facts, strict=True))
        if shared and self._is_displaced(entry):
            values["active"] = False
        return Endpoint(
            endpoint_id=entry.endpoint_id,
            at_ms=entry.at_ms,
            suppressed=None if stop is None else stop[0],
            **values,
        )

    def _is_displaced(self, entry: Entry) -> bool:
        """Did another user's endpoint show this push token later? Then the device changed hands."""
        if CHANNEL_OF_TYPE.get(entry.facts[CHANNEL_TYPE] or "") is not Channel.PUSH:
            return False
        assert entry.address_hash is not None
        return any(
            other.at_ms > entry.at_ms
            and other.person is not entry.person
            and other.facts[ACTIVE] is not False
            for other in self.holders[entry.address_hash]
        )


def _spelt(said: Facts) -> Facts:
    """The facts with the address in its one spelling; a blank address is none."""
    address = said[ADDRESS]
    spelt = normalise_address(said[CHANNEL_TYPE], address or "", said[COUNTRY]) or None
    if spelt == address:
        return said
    return (*said[:ADDRESS], spelt, *said[ADDRESS + 1 :])


def _merged(entry: Entry, facts: Facts, at_ms: int) -> tuple[int, Mapping[str, int], Facts]:
    """Time, stamps and facts of the entry after a signal: per fact the newest that is known; of two
    told for the same instant always the same one."""
    latest_ms = max(entry.at_ms, at_ms)
    stamps: dict[str, int] = {}
    merged: list[Any] = []
    for name, before, after in zip(FACTS, entry.facts, facts, strict=True):
        stamp, value = entry.stamps.get(name, entry.at_ms), before
        if after is not None and (
            before is None
            or at_ms > stamp
            or (at_ms == stamp and after != before and fact_text(after) > fact_text(before))
        ):
            stamp, value = at_ms, after
        if value is not None and stamp != latest_ms:
            stamps[name] = stamp
        merged.append(value)
    return latest_ms, stamps or NO_STAMPS, tuple(merged)
