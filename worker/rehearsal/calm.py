"""Which effects may be applied as a whole, although they were said at different instants. Pure.

Records are folded many at a time, because that costs less than one at a time. The fold forgets when
what was said between the first record and the last. That is exact as long as nobody the effect is
about can be looked at, or have an episode closed, in between; such an effect is calm. Of everybody
else the looks in between may be taken before or after it, for they cannot see it.

What is not calm is taken record by record, which is always exact.
"""

from __future__ import annotations

from worker.model import Activity, Conversion, Effect, Endpoint, anonymous_user_of
from worker.rehearsal.book import ADDRESS, CHANNEL_TYPE, COUNTRY, USER_ID
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Person
from worker.rehearsal.receipts import rows_of


def is_calm(memory: Memory, effect: Effect, until_ms: int) -> bool:
    """Is it the same whether this is applied signal by signal, as each was said, or at once, at any
    of these instants, the last of which is `until_ms`? May say no when it is."""
    if effect.stops or memory.rearm_after_ms is None:
        return False
    steady_since_ms = until_ms - memory.rearm_after_ms
    return (
        all(_is_known(memory, told, steady_since_ms) for told in effect.endpoints)
        and all(_is_steady(_who(memory, said), steady_since_ms) for said in effect.activities)
        and not any(_may_credit(memory, told, steady_since_ms) for told in effect.conversions)
        and not any(rows_of(memory, receipt) for receipt in effect.receipts)
    )


def _is_steady(person: Person | None, steady_since_ms: int) -> bool:
    """Nothing can happen to this user before the silence that is being waited for: there is no open
    episode, and a timer that fires sooner finds that it is too soon.

    A user nobody has seen before is not steady: the fold kept the last activity, and an older one,
    told late and before it, might have made the user due at once.
    """
    return (
        person is not None
        and person.last_active_ms is not None
        and person.last_active_ms >= steady_since_ms
        and not (person.life is not None and person.life.open)
    )


def _is_known(memory: Memory, told: Endpoint, steady_since_ms: int) -> bool:
    """Does the signal change nobody but the endpoint's user, who is steady?"""
    entry = memory.book.entries.get(told.endpoint_id)
    if entry is None or not _is_steady(entry.person, steady_since_ms):
        return False
    known = entry.told or entry.facts
    return (
        (told.user_id is None or told.user_id == known[USER_ID])
        and (told.address is None or told.address == known[ADDRESS])
        and (told.channel_type is None or told.channel_type == known[CHANNEL_TYPE])
        and (told.country is None or told.country == known[COUNTRY])
        and (entry.address_hash is None or len(memory.book.holders[entry.address_hash]) == 1)
    )


def _who(memory: Memory, said: Activity | Conversion) -> Person | None:
    """The user somebody's activity or conversion is; None when there is none yet, or when that is
    not plain. (An effect that brings a new endpoint is never calm.)"""
    if said.user_id is not None:
        return memory.people.get(said.user_id)
    if said.endpoint_id is None:
        return None
    entry = memory.book.entries.get(said.endpoint_id)
    if entry is not None:
        return entry.person
    return memory.people.get(anonymous_user_of(said.endpoint_id))


def _may_credit(memory: Memory, told: Conversion, steady_since_ms: int) -> bool:
    """Is there an episode to credit, or can there be one before the goal is met?"""
    person = _who(memory, told)
    return person is not None and (
        person.life is not None or not _is_steady(person, steady_since_ms)
    )
