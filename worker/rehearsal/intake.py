"""What one effect changes in the state of a rehearsal: `Store.apply` without the position. Pure.

The same order and meaning as the store's (`worker/store/intake.py`): endpoints and stops, then who
was active, strangers who now have a name, returns, recency, receipts, who must be looked at again,
and last conversions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from worker.model import (
    Activity,
    Applied,
    Channel,
    Conversion,
    Effect,
    Endpoint,
    Episode,
    EpisodeOutcome,
    Reason,
    anonymous_user_of,
)
from worker.receipts import whose_message
from worker.rehearsal.book import USER_ID
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Life, Person
from worker.rehearsal.receipts import stop_messages, tell_receipts


def apply_effect(memory: Memory, effect: Effect, *, now_ms: int) -> Applied:
    """Takes in what was said by `now_ms`; see ports.Store.apply. Dead letters are not kept."""
    changed: set[str] = set()
    named: dict[str, str] = {}
    for told in effect.endpoints:
        _tell(memory, told, changed, named)
    for stop in effect.stops:
        if stop.address is not None:
            changed |= memory.suppress_at(stop.channel, stop.address, stop.reason, stop.at_ms)
    changed |= stop_messages(memory, effect.stops)
    seen, unknown = _resolve(memory, effect.activities)
    if named:
        _merge(memory, named, seen, now_ms)
    new = active = returned = 0
    for user_id, at_ms in seen.items():
        person = memory.person(user_id)
        known_ms = person.last_active_ms
        if person.life is not None:
            returned += _close_returned(memory, person.life, at_ms, now_ms)
        if known_ms is None or at_ms > known_ms:
            new += known_ms is None
            active += 1
            memory.move_recency(person, at_ms)
    matched, concerned = tell_receipts(memory, effect.receipts)
    for user_id in changed | concerned:
        memory.look_again(memory.person(user_id), now_ms)
    conversions = sorted(effect.conversions, key=lambda conversion: conversion.at_ms)
    credited = sum(_credit(memory, conversion) for conversion in conversions)
    return Applied(
        users_active=active,
        users_new=new,
        episodes_returned=returned,
        receipts_matched=matched,
        activities_unknown=unknown,
        conversions_credited=credited,
    )


def _tell(memory: Memory, told: Endpoint, changed: set[str], named: dict[str, str]) -> None:
    """Folds one endpoint's signal. Notes users about whom a fact changed, before and after a change
    of owner, and anonymous users who now have a name."""
    endpoint_id = told.endpoint_id
    entry = memory.book.entries.get(endpoint_id)
    former: Person | None = None
    was_named = False
    if entry is None:
        entry = memory.enter(endpoint_id, told.user_id)
    else:
        former = entry.person
        was_named = entry.facts[USER_ID] is not None
    if not memory.tell(entry, told):
        return
    user_id = entry.facts[USER_ID]
    if former is not None:
        changed.add(former.user_id)
        memory.give(entry, user_id)
    changed.add(entry.person.user_id)
    if user_id is not None and not was_named:
        named[anonymous_user_of(endpoint_id)] = user_id


# --- who was active ----------------------------------------------------------------------------


def _resolve(memory: Memory, activities: Sequence[Activity]) -> tuple[dict[str, int], int]:
    """User to the time of the latest activity, and how many activities nobody is known for."""
    seen: dict[str, int] = {}
    unknown = 0
    for activity in activities:
        at_ms = activity.at_ms
        if activity.user_id is not None:
            users: Collection[str] = (activity.user_id,)
        else:
            users = users_of(memory, activity)
            unknown += not users
        for user_id in users:
            if at_ms > seen.get(user_id, at_ms - 1):
                seen[user_id] = at_ms
    return seen, unknown


def users_of(memory: Memory, activity: Activity) -> Collection[str]:
    """Whom an activity is about that names no user; everybody behind a shared address."""
    if activity.endpoint_id is not None:
        entry = memory.book.entries.get(activity.endpoint_id)
        if entry is not None:
            return (entry.person.user_id,)
    if activity.message_id is not None and (rows := memory.messages.get(activity.message_id)):
        return whose_message([(r.claim.user_id, r.claim.address_hash) for r in rows], activity)
    if activity.address and (users := memory.users_at(Channel.EMAIL, activity.address)):
        return users
    if activity.endpoint_id is not None:
        return (anonymous_user_of(activity.endpoint_id),)
    return ()


def _close_returned(memory: Memory, life: Life, at_ms: int, now_ms: int) -> int:
    """Closes the episodes whose silence an activity ends; returns how many."""
    ended = [episode for episode in life.open.values() if at_ms > episode.silence_since_ms]
    for episode in ended:
        close(memory, life, episode, EpisodeOutcome.RETURNED, Reason.ACTIVE_AGAIN, now_ms)
    return len(ended)


def close(
    memory: Memory,
    life: Life,
    episode: Episode,
    outcome: EpisodeOutcome,
    reason: Reason,
    now_ms: int,
) -> None:
    """Ends an episode outside a look."""
    closed = replace(episode, hold=None, held_ms=None, closed_ms=now_ms, outcome=outcome)
    life.put(closed)
    memory.witness.closed(closed, reason)


# --- strangers who now have a name -------------------------------------------------------------


def _merge(memory: Memory, named: dict[str, str], seen: dict[str, int], now_ms: int) -> None:
    """Anonymous users who now have a name become that user: recency, ladders and sends move over.
    Adds to `seen`. A stranger of whom no activity is known has no story."""
    for stranger, user_id in sorted(named.items()):
        gone = memory.people.get(stranger)
        if gone is None or gone.last_active_ms is None:
            continue
        seen[user_id] = max(seen.get(user_id, gone.last_active_ms), gone.last_active_ms)
        gone.last_active_ms = None
        memory.set_due(gone, None)
        if gone.life is not None:
            _merge_lives(memory, gone.life, memory.person(user_id), now_ms)


def _merge_lives(memory: Memory, told: Life, person: Person, now_ms: int) -> None:
    """A ladder the user is on already is not walked twice, and one silence has one episode."""
    life = person.lives()
    silences = {episode.silence_since_ms for episode in told.open.values()}
    taken = {
        episode.rule
        for episode in life.episodes.values()
        if episode.is_open or episode.silence_since_ms in silences
    }
    for episode in list(told.open.values()):
        if episode.rule in taken:
            close(memory, told, episode, EpisodeOutcome.CANCELLED, Reason.MERGED, now_ms)
    lived = {(episode.rule, episode.silence_since_ms) for episode in life.episodes.values()}
    for episode in list(told.episodes.values()):
        if (episode.rule, episode.silence_since_ms) not in lived:
            told.drop(episode.episode_id)
            life.put(replace(episode, user_id=person.user_id))
    for row in told.rows:
        row.claim = replace(row.claim, user_id=person.user_id)
        life.rows.append(row)
    told.rows = []
    life.past += told.past
    told.past = ()


# --- conversions -------------------------------------------------------------------------------


def _credit(memory: Memory, conversion: Conversion) -> bool:
    """Credits a conversion to the episode whose send came last before it; True when that is the
    episode's first. An episode converts once, at its earliest conversion."""
    user_id = conversion.user_id
    if user_id is None and conversion.endpoint_id is not None:
        entry = memory.book.entries.get(conversion.endpoint_id)
        user_id = entry.person.user_id if entry else anonymous_user_of(conversion.endpoint_id)
    person = memory.people.get(user_id or "")
    if person is None or person.life is None:
        return False
    episode = _episode_to_credit(person.life, conversion)
    if episode is None:
        return False
    before_ms = episode.converted_ms
    if before_ms is not None and before_ms <= conversion.at_ms:
        return False
    credited = replace(episode, converted_ms=conversion.at_ms, converted_stage=episode.last_stage)
    person.life.put(credited)
    if before_ms is None:
        memory.witness.converted(credited)
    return before_ms is None


def _episode_to_credit(life: Life, conversion: Conversion) -> Episode | None:
    fits = [
        (episode.last_sent_ms, episode.silence_since_ms, episode)
        for episode in (*life.open.values(), *life.latest.values())
        if episode.rule == conversion.rule
        and episode.last_sent_ms is not None
        and episode.last_sent_ms <= conversion.at_ms
        and episode.last_sent_ms >= conversion.at_ms - conversion.within_ms
    ]
    return max(fits, key=lambda fit: fit[:2])[2] if fits else None
