"""What is known of users, read in bulk: the `UserView`s a sweep and `explain` look at.

Reads only, inside the caller's transaction; some statements whatever the number of users. Many a
user who falls due was here meanwhile, and of those only that need be known.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any

from worker.drafts import changed, quick
from worker.model import (
    Arm,
    Channel,
    Claim,
    ClaimState,
    Endpoint,
    Episode,
    EpisodeOutcome,
    PastSend,
    Reason,
    ReceiptStatus,
    UserView,
)
from worker.store import statements
from worker.store.connection import want
from worker.store.endpoint_rows import endpoint_of
from worker.store.rulesets import read_restored

_new_view = quick(UserView)
_new_episode = quick(Episode)
_new_claim = quick(Claim)
_new_send = quick(PastSend)
_by_age = itemgetter(2, 1)
"""Of a row of ENDPOINTS_OF_OWNERS."""

VIEWS_AT_ONCE = 100
"""Users whose views a sweep reads together: as many as a call has room for."""

NOT_FORCED: Mapping[str, str] = MappingProxyType({})
NONE_ENDED: Mapping[str, int] = MappingProxyType({})


def read_views(
    connection: sqlite3.Connection, user_ids: Sequence[str], *, sends_since_ms: int
) -> dict[str, UserView]:
    """The views of these users, by user id, also of those nothing is known of."""
    want(connection, user_ids)
    recency = dict(connection.execute(statements.RECENCY_WANTED).fetchall())
    episodes, ended = _episodes(connection)
    facts = _Facts(connection, sends_since_ms)
    facts.read_wanted(has_open=_has_open(episodes.values()))
    restored = read_restored(connection)
    return {
        user_id: _view(
            user_id,
            recency.get(user_id),
            episodes.get(user_id, ()),
            ended.get(user_id, NONE_ENDED),
            restored,
            facts,
        )
        for user_id in user_ids
    }


def due_views(
    connection: sqlite3.Connection,
    recency: Mapping[str, int],
    *,
    sends_since_ms: int,
    silent_since_ms: int | None,
) -> Iterator[UserView]:
    """The views of these users (user id to when they were last active), in their order; read in
    parts, for whoever has calls for a few of them only.

    Who is on no ladder and was active after `silent_since_ms` is not looked at closely by any rule:
    of them nothing else is read unless a look asks for it. None: so it is with everybody.
    """
    restored = read_restored(connection)
    everybody = list(recency)
    for first in range(0, len(everybody), VIEWS_AT_ONCE):
        part = everybody[first : first + VIEWS_AT_ONCE]
        want(connection, part)
        episodes, ended = _episodes(connection)
        closely = part
        if silent_since_ms is None or max(recency[name] for name in part) > silent_since_ms:
            closely = [
                name
                for name in part
                if name in episodes
                or (silent_since_ms is not None and recency[name] <= silent_since_ms)
            ]
            want(connection, closely)
        facts = _Facts(connection, sends_since_ms)
        if closely:
            facts.read_wanted(has_open=_has_open(episodes.values()))
        known = frozenset(closely)
        for name in part:
            make = _view if name in known else _glance
            over = ended.get(name, NONE_ENDED)
            yield make(name, recency[name], episodes.get(name, ()), over, restored, facts)


class _Facts:
    """What is known of some users beside their recency and episodes."""

    def __init__(self, connection: sqlite3.Connection, sends_since_ms: int) -> None:
        self._connection = connection
        self._sends_since_ms = sends_since_ms
        self._endpoints: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._claims: dict[str, list[Claim]] = defaultdict(list)
        self._sends: dict[str, list[PastSend]] = defaultdict(list)

    def read_wanted(self, *, has_open: bool) -> None:
        """Reads them for the keys of `wanted`, once for each. `has_open`: some of them are on a
        ladder."""
        for row in self._connection.execute(statements.ENDPOINTS_OF_OWNERS):
            self._endpoints[row[0]].append(row)
        if has_open:
            for row in self._connection.execute(statements.CLAIMS_OF_OPEN_EPISODES):
                self._claims[row[1]].append(_claim_told_of(row))
        for row in self._connection.execute(statements.SENDS_SINCE, (self._sends_since_ms,)):
            self._sends[row[0]].append(_send_of(row))

    def read(self, user_id: str) -> None:
        """Reads them for one user who is on no ladder."""
        want(self._connection, (user_id,))
        self.read_wanted(has_open=False)

    def endpoints(self, user_id: str) -> tuple[Endpoint, ...]:
        """The user's endpoints, newest last."""
        rows = self._endpoints.get(user_id, ())
        if len(rows) > 1:
            rows = sorted(rows, key=_by_age)
        return tuple(map(endpoint_of, rows))

    def claims(self, user_id: str) -> tuple[Claim, ...]:
        """The claims of the user's open episodes."""
        return tuple(self._claims.get(user_id, ()))

    def sends(self, user_id: str) -> tuple[PastSend, ...]:
        """What went out to the user."""
        return tuple(self._sends.get(user_id, ()))


def _view(
    user_id: str,
    last_active_ms: int | None,
    episodes: tuple[Episode, ...],
    ended: Mapping[str, int],
    restored: Mapping[str, int],
    facts: _Facts,
) -> UserView:
    return _new_view(
        user_id=user_id,
        last_active_ms=last_active_ms,
        endpoints=facts.endpoints(user_id),
        episodes=episodes,
        ended=ended,
        claims=facts.claims(user_id),
        sends=facts.sends(user_id),
        variants=NOT_FORCED,
        restored=restored,
    )


class _Glance(UserView):
    """A view of which the rest is read when it is asked for."""

    __slots__ = ("_facts",)

    def __getattr__(self, name: str) -> Any:
        if name not in ("endpoints", "claims", "sends"):
            raise AttributeError(name)
        facts: _Facts = self._facts
        facts.read(self.user_id)
        _put(self, "endpoints", facts.endpoints(self.user_id))
        _put(self, "claims", facts.claims(self.user_id))
        _put(self, "sends", facts.sends(self.user_id))
        return getattr(self, name)

    def __eq__(self, other: object) -> bool:
        return _VALUES(self) == _VALUES(other) if isinstance(other, UserView) else NotImplemented

    __hash__ = None  # type: ignore[assignment] # as a view with mappings cannot have one


_VALUES = attrgetter(*(field.name for field in fields(UserView) if field.compare))
_put = object.__setattr__
_blank = object.__new__


def _glance(
    user_id: str,
    last_active_ms: int | None,
    episodes: tuple[Episode, ...],
    ended: Mapping[str, int],
    restored: Mapping[str, int],
    facts: _Facts,
) -> UserView:
    view = _blank(_Glance)
    _put(view, "user_id", user_id)
    _put(view, "last_active_ms", last_active_ms)
    _put(view, "episodes", episodes)
    _put(view, "ended", ended)
    _put(view, "holdout", None)
    _put(view, "variants", NOT_FORCED)
    _put(view, "restored", restored)
    _put(view, "_facts", facts)
    return view


def _episodes(
    connection: sqlite3.Connection,
) -> tuple[dict[str, tuple[Episode, ...]], dict[str, dict[str, int]]]:
    """Of the users of `wanted` who have any: the latest closed one of each rule, then the open; and
    by rule when the last ladder was over."""
    ended: dict[str, dict[str, int]] = defaultdict(dict)
    closed: dict[str, list[Episode]] = defaultdict(list)
    still_open: dict[str, list[Episode]] = defaultdict(list)
    for row in connection.execute(statements.EPISODES_WANTED):
        (still_open if row[10] is None else closed)[row[1]].append(episode_of(row))
        if row[10] is not None:
            ended[row[1]][row[2]] = row[17]
    users = closed.keys() | still_open.keys()
    found = {name: (*closed.get(name, ()), *still_open.get(name, ())) for name in users}
    return found, ended


def _has_open(episodes: Iterable[tuple[Episode, ...]]) -> bool:
    return any(episode.closed_ms is None for those in episodes for episode in those)


def episode_of(row: Sequence[Any]) -> Episode:
    """A row of EPISODE_COLUMNS."""
    return _new_episode(
        episode_id=row[0],
        user_id=row[1],
        rule=row[2],
        revision=row[3],
        silence_since_ms=row[4],
        opened_ms=row[5],
        stage=row[6],
        stage_due_ms=row[7],
        hold=None if row[8] is None else Reason(row[8]),
        held_ms=row[9],
        closed_ms=row[10],
        outcome=None if row[11] is None else EpisodeOutcome(row[11]),
        last_stage=row[12],
        last_sent_ms=row[13],
        arm=Arm(row[14]),
        converted_ms=row[15],
        converted_stage=row[16],
    )


def claim_of(row: Sequence[Any]) -> Claim:
    """A row of CLAIM_COLUMNS."""
    return _new_claim(
        send_id=row[0],
        user_id=row[1],
        rule=row[2],
        revision=row[3],
        episode_id=row[4],
        stage=row[5],
        channel=Channel(row[6]),
        address_hash=row[7],
        claimed_ms=row[8],
        attempt=row[9],
        state=ClaimState(row[10]),
        reason=row[11],
        retry_ms=row[12],
        variant=row[13],
        cost_micros=row[14],
        resend=bool(row[15]),
        maybe_sent=bool(row[16]),
        wall_ms=row[17],
    )


def _claim_told_of(row: Sequence[Any]) -> Claim:
    """A row of CLAIMS_OF_OPEN_EPISODES."""
    claim, (receipt, soft_bounces) = claim_of(row), row[-2:]
    if receipt is None:
        return claim
    return changed(claim, receipt=ReceiptStatus(receipt), soft_bounces=soft_bounces)


def _send_of(row: Sequence[Any]) -> PastSend:
    return _new_send(
        at_ms=row[1], rule=row[2], stage=row[3], episode_id=row[4], channel=Channel(row[5])
    )
