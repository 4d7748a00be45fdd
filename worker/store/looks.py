"""Looks at due users and writes what the ladder answers; writes what became of the sends.

Both run inside one transaction of the caller. In a sweep the users are read, decided on and their
claims written in that same transaction, so an activity that is in the state cannot be overlooked
between the look and the claim (P3). The assertions here are the last line of P1.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from worker.errors import place_of
from worker.model import (
    HOUR_MS,
    MINUTE_MS,
    STREAM_BEHIND_MS_MAX,
    Action,
    Channel,
    Claim,
    ClaimState,
    Decision,
    Delivery,
    Episode,
    Look,
    Rejected,
    Retry,
    Sent,
    Settlement,
    StopReason,
    Swept,
    Uncertain,
    UserView,
    address_hash_of,
)
from worker.ports import Admits, Decide
from worker.retry import TEMPORARY_ATTEMPTS_MAX
from worker.store import statements
from worker.store.addressbook import replace_token, suppress
from worker.store.connection import want
from worker.store.intake import Incident
from worker.store.journal import (
    STOPPED_MID_CALL,
    JournalEntry,
    Row,
    failed_row,
    row_of,
    tell,
    tell_rows,
)
from worker.store.receipts import tell_early
from worker.store.rulesets import read_in_force
from worker.store.spends import add_spends, give_back
from worker.store.touches import Touches
from worker.store.views import due_views

LOOK_FAILED_AGAIN_MS = HOUR_MS
"""A user whose look failed, which is a bug, is looked at again after this long."""

LOOK_FAILED_LINES_MAX = 5
"""Log lines a minute about looks that failed; each says of how many users it speaks."""

LOOK_FAILED_KINDS_MAX = 100
"""Different errors and places kept for a line; more are only in the metric."""

DETAIL_CHARACTERS_MAX = 500
"""Of a provider's own words, kept with the claim."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Written:
    """What the looks of one sweep are about to write."""

    due: list[tuple[int | None, str]] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    journal: list[Row] = field(default_factory=list)
    moved: list[Episode] = field(default_factory=list)
    """Episodes of which only the stage has changed."""

    def add(self, look: Look, view: UserView) -> None:
        self.due.append((look.due_ms, look.user_id))
        for episode in look.episodes:
            (self.moved if _only_moved(episode, view) else self.episodes).append(episode)
        self.deliveries += look.deliveries
        self.decisions += look.decisions
        for decision in look.decisions:
            if decision.notable:
                self.journal.append(row_of(look.user_id, decision))

    def add_failure(self, user_id: str, now_ms: int) -> None:
        again_ms = now_ms + LOOK_FAILED_AGAIN_MS
        self.due.append((again_ms, user_id))
        self.journal.append(failed_row(user_id, now_ms, again_ms))


class FailedLooks:
    """Tells the log of looks that failed: how many and where, and not every single one. A bug that
    hits everybody takes as many lines as one that hits one user."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], tuple[int, str]] = {}
        """(error, place) to how many users since the last line, and the hash of the first."""
        self._lines: deque[int] = deque(maxlen=LOOK_FAILED_LINES_MAX)
        """When the last lines were written, in stream time."""

    def add(self, user_id: str, error: Exception) -> None:
        """The look at a user failed."""
        key = type(error).__name__, place_of(error)
        users, first = self._users.get(key, (0, address_hash_of(user_id)))
        if key in self._users or len(self._users) < LOOK_FAILED_KINDS_MAX:
            self._users[key] = users + 1, first

    def tell(self, now_ms: int) -> None:
        """Logs what was added, as far as the minute has lines left; the rest waits."""
        for key in list(self._users):
            full = len(self._lines) == LOOK_FAILED_LINES_MAX
            if full and self._lines[0] <= now_ms < self._lines[0] + MINUTE_MS:
                return
            users, first = self._users.pop(key)
            self._lines.append(now_ms)
            log.error("look_failed", error=key[0], at=key[1], users=users, user_hash=first)


def sweep_due(
    connection: sqlite3.Connection,
    *,
    now_ms: int,
    decide: Decide,
    admits: Admits,
    users_max: int,
    sends_for_ms: int,
    count: Callable[[Incident, int], None],
    failures: FailedLooks,
    touches: Touches,
) -> Swept:
    """Looks at the users due at `now_ms`, oldest first; see `ports.Store.sweep`.

    A `decide` that raises harms only its user (P8): the failure is counted, journalled, and told
    to the log by `failures`.
    """
    due = (now_ms, users_max)
    recency = dict(connection.execute(statements.DUE_USERS, due).fetchall())
    if touches.catch_up_users(connection, list(recency)):
        recency = dict(connection.execute(statements.DUE_USERS, due).fetchall())
    in_force = read_in_force(connection)
    rearm_after_ms = in_force.rearm_after_ms if in_force else None
    views = due_views(
        connection,
        recency,
        sends_since_ms=now_ms - sends_for_ms - STREAM_BEHIND_MS_MAX,
        silent_since_ms=None if rearm_after_ms is None else now_ms - rearm_after_ms,
    )
    written = _Written()
    for view in views:
        look = _look(view, decide, failures)
        if look is None:
            count(Incident.LOOK_FAILED, 1)
            written.add_failure(view.user_id, now_ms)
        elif look.deliveries and not admits(look.deliveries):
            break
        else:
            written.add(look, view)
    failures.tell(now_ms)
    connection.executemany(statements.SET_DUE, written.due)
    put_episodes(connection, written.episodes)
    move_episodes(connection, written.moved)
    put_claims(connection, [delivery.claim for delivery in written.deliveries])
    tell_rows(connection, written.journal)
    return Swept(
        users=len(written.due),
        deliveries=tuple(written.deliveries),
        decisions=tuple(written.decisions),
        more=bool(connection.execute(statements.ANYBODY_DUE, (now_ms,)).fetchone()[0]),
    )


def _look(view: UserView, decide: Decide, failures: FailedLooks) -> Look | None:
    try:
        look = decide(view)
        assert look.user_id == view.user_id, "a look is about the user it was given"
        assert all(d.claim.user_id == view.user_id for d in look.deliveries)
    except sqlite3.Error:
        raise
    except Exception as error:  # noqa: BLE001  one user's bug must not stop the others (P8)
        failures.add(view.user_id, error)
        return None
    return look


def put_episodes(connection: sqlite3.Connection, episodes: Sequence[Episode]) -> None:
    """Writes episodes as they now are. One that is closed is never opened or changed again."""
    put = connection.executemany(statements.PUT_EPISODE, map(_episode_row, episodes)).rowcount
    assert not episodes or put == len(episodes), "a closed episode was written again"


def move_episodes(connection: sqlite3.Connection, episodes: Sequence[Episode]) -> None:
    """Writes the stages of open episodes that are otherwise as they were; touches no index."""
    rows = [(e.stage, e.stage_due_ms, e.last_stage, e.last_sent_ms, e.episode_id) for e in episodes]
    put = connection.executemany(statements.MOVE_EPISODE, rows).rowcount
    assert not episodes or put == len(episodes), "a closed episode was written again"


def _only_moved(episode: Episode, view: UserView) -> bool:
    """Has the user an open episode that differs from this only in where on the ladder it is?"""
    for known in view.episodes:
        if known.episode_id == episode.episode_id:
            if episode.closed_ms is not None or known.closed_ms is not None:
                return False
            same = (episode.revision, episode.hold, episode.held_ms, episode.arm)
            return same == (known.revision, known.hold, known.held_ms, known.arm)
    return False


def _episode_row(episode: Episode) -> tuple[int | str | None, ...]:
    """EPISODE_COLUMNS."""
    return (
        episode.episode_id,
        episode.user_id,
        episode.rule,
        episode.revision,
        episode.silence_since_ms,
        episode.opened_ms,
        episode.stage,
        episode.stage_due_ms,
        None if episode.hold is None else episode.hold.value,
        episode.held_ms,
        episode.closed_ms,
        None if episode.outcome is None else episode.outcome.value,
        episode.last_stage,
        episode.last_sent_ms,
        episode.arm.value,
        episode.converted_ms,
        episode.converted_stage,
    )


def put_claims(connection: sqlite3.Connection, claims: Sequence[Claim]) -> None:
    """Writes claims and what they cost: new ones, or the next attempt of one that is in RETRY.
    Anything else would be a second call for one send (P1)."""
    assert all(claim.state is ClaimState.CLAIMED for claim in claims)
    put = connection.executemany(statements.PUT_CLAIM, map(_claim_row, claims)).rowcount
    assert not claims or put == len(claims), "a send was claimed twice"
    add_spends(connection, claims)


def _claim_row(claim: Claim) -> tuple[int | str | None, ...]:
    """CLAIM_COLUMNS."""
    return (
        claim.send_id,
        claim.user_id,
        claim.rule,
        claim.revision,
        claim.episode_id,
        claim.stage,
        claim.channel.value,
        claim.address_hash,
        claim.claimed_ms,
        claim.attempt,
        claim.state.value,
        claim.reason,
        claim.retry_ms,
        claim.variant,
        claim.cost_micros,
        claim.resend,
        claim.maybe_sent,
        claim.wall_ms,
    )


def settle_claims(
    connection: sqlite3.Connection,
    settlements: Sequence[Settlement],
    touches: Touches,
    *,
    now_ms: int,
) -> None:
    """Writes outcomes; see `ports.Store.settle`. Every claim must be in CLAIMED."""
    by_send_id = {settlement.outcome.send_id: settlement for settlement in settlements}
    assert len(by_send_id) == len(settlements), "a send has one outcome"
    want(connection, by_send_id)
    users: set[str] = set()
    stops: list[tuple[str, Channel, StopReason, int]] = []
    tokens: list[tuple[str, str, str]] = []
    unsent: list[tuple[int, str, int]] = []
    rows = connection.execute(statements.CLAIMS_WANTED).fetchall()
    for send_id, user_id, channel, address_hash, state, at_ms, cost_micros, taken, maybe in rows:
        assert state == ClaimState.CLAIMED, f"send {send_id} is {state}, its outcome is known"
        users.add(user_id)
        if cost_micros and not maybe and _was_not_sent(by_send_id[send_id], taken=bool(taken)):
            unsent.append((at_ms, channel, cost_micros))
        match by_send_id[send_id].outcome:
            case Rejected(stop=StopReason() as stop):
                stops.append((address_hash, Channel(channel), stop, now_ms))
            case Sent(updated_token=str(token)) if channel == Channel.PUSH:
                tokens.append((user_id, address_hash, token))
            case _:
                pass
    assert len(rows) == len(settlements), "only a claimed send has an outcome"
    settled = connection.executemany(
        statements.SETTLE, (_settled(settlement, now_ms) for settlement in settlements)
    ).rowcount
    assert not settlements or settled == len(settlements)
    give_back(connection, unsent)
    suppress(connection, stops)
    answers = (s.outcome for s in settlements)
    tell_early(connection, (a.message_id for a in answers if isinstance(a, Sent) and a.message_id))
    for user_id, address_hash, token in tokens:
        replace_token(
            connection,
            touches,
            user_id=user_id,
            address_hash=address_hash,
            token=token,
            at_ms=now_ms,
        )
    _due_now(connection, users, now_ms)


def _was_not_sent(settlement: Settlement, *, taken: bool) -> bool:
    """Certainly not: an uncertain call that is repeated may have been. What a receipt calls
    taken was, unless the provider says that it never will be."""
    if isinstance(settlement.outcome, Retry) and settlement.state is ClaimState.RETRY:
        return not taken
    return isinstance(settlement.outcome, Retry | Rejected)


def _settled(settlement: Settlement, now_ms: int) -> dict[str, str | int | None]:
    outcome = settlement.outcome
    message_id = outcome.message_id if isinstance(outcome, Sent) else None
    detail = outcome.detail if isinstance(outcome, Retry | Uncertain | Rejected) else None
    return {
        "send_id": outcome.send_id,
        "state": settlement.state,
        "reason": settlement.reason,
        "retry_ms": settlement.retry_ms,
        "detail": None if detail is None else detail[:DETAIL_CHARACTERS_MAX],
        "message_id": message_id,
        "maybe_sent": isinstance(outcome, Uncertain),
        "now_ms": now_ms,
    }


def recover_claims(connection: sqlite3.Connection, *, now_ms: int) -> int:
    """Claims nobody saw the end of become uncertain, or, where the rule says `on_uncertain: resend`
    and attempts are left, are tried again; returns how many. One that already has a receipt was
    sent."""
    moments = {"now_ms": now_ms, "attempts_max": TEMPORARY_ATTEMPTS_MAX}
    rows = connection.execute(statements.RECOVER, moments).fetchall()
    tell(
        connection,
        (
            JournalEntry(
                at_ms=now_ms,
                user_id=user_id,
                action=Action.SEND,
                reason=STOPPED_MID_CALL,
                rule=rule,
                episode_id=episode_id,
                stage=stage,
            )
            for user_id, rule, episode_id, stage, _ in rows
        ),
    )
    tell_early(connection, ())
    _due_now(connection, {row[0] for row in rows}, now_ms)
    return sum(row[4] != ClaimState.SENT for row in rows)


def _due_now(connection: sqlite3.Connection, user_ids: set[str], now_ms: int) -> None:
    want(connection, user_ids)
    connection.execute(statements.DUE_NOW, {"now_ms": now_ms})
