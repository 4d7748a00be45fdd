"""What is asked of a whole state now and then: old rules, waking, recovery, forgetting, loading.

Each function is a verb of `ports.Store` over a `Memory`, but `load`, which fills one from another
state. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from worker.model import ClaimState, Endpoint, Reason, RetiredRule, UserView
from worker.receipts import Told, state_after
from worker.rehearsal.memory import Memory
from worker.rehearsal.person import Person, Row
from worker.rehearsal.receipts import tell_early
from worker.retry import TEMPORARY_ATTEMPTS_MAX


def retired(memory: Memory, rules: Mapping[str, str]) -> Sequence[RetiredRule]:
    """The ladders open episodes began with, other than those of `rules`, rule to revision."""
    wanted = {
        (episode.rule, episode.revision)
        for person in memory.people.values()
        if person.life is not None
        for episode in person.life.open.values()
    } - set(rules.items())
    found = []
    for rule, revision in sorted(wanted):
        kept = [adopted for adopted in memory.adoptions if adopted.rules.get(rule) == revision]
        if kept and kept[-1].contents:
            found.append(RetiredRule(rule=rule, revision=revision, contents=kept[-1].contents))
    return found


def wake(memory: Memory, holds: Collection[Reason], *, now_ms: int) -> None:
    """Makes users due whose stage is held for one of these reasons."""
    for person in memory.people.values():
        if person.life is not None and any(
            episode.hold in holds for episode in person.life.open.values()
        ):
            memory.due_by(person, now_ms)


def recover(memory: Memory, *, now_ms: int) -> int:
    """Claims nobody saw the end of become uncertain, or are tried again where the rule says so;
    returns how many."""
    found = 0
    for row in memory.claims.values():
        claim = row.claim
        if claim.state is not ClaimState.CLAIMED:
            continue
        again = claim.resend and claim.attempt < TEMPORARY_ATTEMPTS_MAX
        state = state_after(ClaimState.RETRY if again else ClaimState.UNCERTAIN, row.told)
        retry_ms = now_ms if state is ClaimState.RETRY else None
        row.claim = replace(
            claim, state=state, reason="stopped_mid_call", retry_ms=retry_ms, maybe_sent=True
        )
        found += state is not ClaimState.SENT
        memory.due_by(memory.people[claim.user_id], now_ms)
    tell_early(memory, ())
    return found


def forget_closed(memory: Memory, before_ms: int) -> int:
    """Forgets closed episodes with their claims, but the latest of each user and rule; returns how
    many of both there were."""
    removed = 0
    for person in memory.people.values():
        if (life := person.life) is None:
            continue
        spent = {
            episode.episode_id
            for episode in life.episodes.values()
            if episode.closed_ms is not None
            and episode.closed_ms < before_ms
            and life.latest.get(episode.rule) is not episode
        }
        for episode_id in spent:
            life.drop(episode_id)
        rows = [row for row in life.rows if row.claim.episode_id in spent]
        for row in rows:
            life.rows.remove(row)
            del memory.claims[row.claim.send_id]
            if row.message_id is not None:
                memory.messages[row.message_id].remove(row)
        removed += len(spent) + len(rows)
    return removed


def load(memory: Memory, view: UserView, *, due_ms: int | None) -> None:
    """Takes over a user as another state shows them. Sends whose claims the view does not hold
    still count in the caps; a user nobody saw active is never due."""
    person = memory.person(view.user_id)
    assert person.last_active_ms is None, "a user is loaded once"
    person.last_active_ms = view.last_active_ms
    person.holdout, person.variants = view.holdout, view.variants
    for endpoint in view.endpoints:
        _load_endpoint(memory, person, endpoint)
    if view.episodes or view.sends:
        life = person.lives()
        for episode in view.episodes:
            life.put(episode)
        for claim in view.claims:
            row = memory.claims[claim.send_id] = Row(claim)
            row.told = Told(receipt=claim.receipt)
            life.rows.append(row)
        known = {(claim.episode_id, claim.stage) for claim in view.claims}
        life.past = tuple(s for s in view.sends if (s.episode_id, s.stage) not in known)
    if view.last_active_ms is not None:
        memory.set_due(person, due_ms)


def _load_endpoint(memory: Memory, person: Person, endpoint: Endpoint) -> None:
    assert endpoint.endpoint_id not in memory.book.entries, "an endpoint has one user"
    named = None if endpoint.user_id is None else person.user_id
    entry = memory.enter(endpoint.endpoint_id, named)
    memory.tell(entry, endpoint)
    if endpoint.suppressed is not None and entry.address_hash is not None:
        memory.suppress(entry.address_hash, endpoint.suppressed, endpoint.at_ms)
