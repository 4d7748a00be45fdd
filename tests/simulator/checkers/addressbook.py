"""What the stream told of endpoints, and what of it a worker certainly or possibly knew.

Per fact of an endpoint the newest telling holds, by the arrival its producer stated. A fact that is
None was not told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulator.checkers.ledger import ANONYMOUS, Call, Ledger, Record


@dataclass(frozen=True, slots=True)
class Telling:
    """One record that tells of an endpoint."""

    record: Record
    told_ms: int
    facts: Mapping[str, Any]


class AddressBook:
    """Every telling of a story, by endpoint and by address."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.tellings: dict[str, list[Telling]] = defaultdict(list)
        self.endpoints_of_address: dict[str, set[str]] = defaultdict(set)
        self.endpoints_of_user: dict[str, set[str]] = defaultdict(set)
        self.stops: dict[str, list[Record]] = defaultdict(list)
        for record in ledger.records.values():
            self._take(record)

    def _take(self, record: Record) -> None:
        put = record.put
        if put.kind == "stop" and put.address is not None:
            self.stops[put.address].append(record)
        endpoint = put.facts.get("endpoint")
        if endpoint is None or "active" not in put.facts:
            return  # an event that only names an endpoint tells nothing of it
        told_ms = int(put.facts.get("told_ms", put.at_ms))
        facts = {**put.facts, "address": put.address, "channel": put.channel}
        self.tellings[endpoint].append(Telling(record, told_ms, facts))
        if facts["address"] is not None:
            self.endpoints_of_address[facts["address"]].add(endpoint)
        self.endpoints_of_user[facts.get("user") or ANONYMOUS + endpoint].add(endpoint)

    # --- two views of one moment -----------------------------------------------------------------

    def known_at(self, call: Call) -> Callable[[Record], bool]:
        """The records that were certainly in the state when a call was decided on."""
        return lambda record: self._ledger.knows(record, call)

    def given_at(self, call: Call) -> Callable[[Record], bool]:
        """The records that may have been in it."""
        return lambda record: self._ledger.given_before(record, call.index)

    def fact(self, endpoint: str, name: str, seen: Callable[[Record], bool]) -> tuple[int, Any]:
        """The newest telling of one fact among the records seen: (when, what); (-1, None) when none
        tells it."""
        told = [
            (telling.told_ms, telling.facts[name])
            for telling in self.tellings.get(endpoint, ())
            if telling.facts.get(name) is not None and seen(telling.record)
        ]
        return max(told, key=lambda pair: (pair[0], str(pair[1])), default=(-1, None))

    def owner(self, endpoint: str, seen: Callable[[Record], bool]) -> str:
        """Whose it is."""
        return self.fact(endpoint, "user", seen)[1] or ANONYMOUS + endpoint

    def owned(self, user: str, seen: Callable[[Record], bool]) -> Sequence[str]:
        """The endpoints of a user that anything is known of, in order of their ids."""
        candidates = set(self.endpoints_of_user.get(user, ()))
        if user.startswith(ANONYMOUS):
            candidates.add(user.removeprefix(ANONYMOUS))
        return sorted(
            endpoint
            for endpoint in candidates
            if any(seen(telling.record) for telling in self.tellings.get(endpoint, ()))
            and self.owner(endpoint, seen) == user
        )

    def newest(self, endpoints: Iterable[str], name: str, seen: Callable[[Record], bool]) -> Any:
        """What the endpoint says of a fact that was heard of last; it may say nothing: then the one
        before it."""
        ranked = sorted(
            endpoints,
            key=lambda e: max(t.told_ms for t in self.tellings[e] if seen(t.record)),
            reverse=True,
        )
        values = (self.fact(endpoint, name, seen)[1] for endpoint in ranked)
        return next((value for value in values if value is not None), None)

    def is_live(self, endpoint: str, seen: Callable[[Record], bool]) -> bool:
        """Neither opted out nor inactive, and its address was not stopped, as far as is seen."""
        address = self.fact(endpoint, "address", seen)[1]
        return (
            address is not None
            and self.fact(endpoint, "opted_out", seen)[1] is not True
            and self.fact(endpoint, "active", seen)[1] is not False
            and not any(seen(stop) for stop in self.stops.get(address, ()))
        )
