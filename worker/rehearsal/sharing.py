"""Equal facts kept once: what keeps the address book of a rehearsal small. Pure.

Of a hundred thousand users most have one of a few zones, countries, platforms and plans, and the
endpoints of one user have the same user attributes. Every event spells them anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeVar

from worker.rehearsal.person import Entry, Facts

SHARED_MAX: Final = 65_536
"""Different values that are kept once; those that come later are kept as often as they come."""

T = TypeVar("T", bound=Hashable)


class Sharing:
    """The values that are kept once."""

    def __init__(self, own: frozenset[int]) -> None:
        """`own`: places of facts that are nearly always an endpoint's own, such as its address."""
        self._own = own
        self._known: dict[Any, Any] = {}

    def facts(self, facts: Facts, entry: Entry) -> Facts:
        """The same facts, made of values that are kept already."""
        siblings = [other.facts for other in entry.person.entries if other.facts]
        known, own = self._known, self._own
        shared = list(facts)
        for place, value in enumerate(facts):
            if value is None or value is True or value is False or place in own:
                continue
            if isinstance(value, str):
                kept = known.get(value)
                shared[place] = self._one(value) if kept is None else kept
            else:
                shared[place] = self._map(value, place, siblings)
        return tuple(shared)

    def _map(self, value: Mapping[Any, Any], place: int, siblings: list[Facts]) -> Any:
        for facts in siblings:
            if facts[place] == value:
                return facts[place]
        items = {self._one(name): self._one(values) for name, values in value.items()}
        key = tuple(items.items())
        if key not in self._known and len(self._known) < SHARED_MAX:
            self._known[key] = items
        return self._known.get(key, items)

    def _one(self, value: T) -> T:
        known: T | None = self._known.get(value)
        if known is None:
            if len(self._known) < SHARED_MAX:
                self._known[value] = value
            known = value
        return known
