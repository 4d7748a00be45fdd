"""What is known of users, read in bulk: the `UserView`s a sweep and `explain` look at.

Reads only, inside the caller's transaction; seven statements whatever the number of users.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from worker.drafts import changed
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
from worker.store.addressbook import endpoint_of
from worker.store.connection import want
from worker.store.rulesets import read_restored


def read_views(
    connection: sqlite3.Connection, user_ids: Sequence[str], *, sends_since_ms: int
) -> dict[str, UserView]:
    """The views of these users, by user id, also of those nothing is known of."""
    want(connection, user_ids)
    recency = dict(connection.execute(statements.RECENCY_WANTED).fetchall())
    endpoints: dict[str, list[Endpoint]] = defaultdict(list)
    for row in connection.execute(statements.ENDPOINTS_OF_OWNERS):
        endpoints[row[0]].append(endpoint_of(row))
    episodes: dict[str, list[Episode]] = defaultdict(list)
    for statement in (statements.LATEST_CLOSED_EPISODES, statements.OPEN_EPISODES):
        for row in connection.execute(statement):
            episodes[row[1]].append(episode_of(row))
    claims: dict[str, list[Claim]] = defaultdict(list)
    for row in connection.execute(statements.CLAIMS_OF_OPEN_EPISODES):
        claims[row[1]].append(_claim_told_of(row))
    sends: dict[str, list[PastSend]] = defaultdict(list)
    for row in connection.execute(statements.SENDS_SINCE, (sends_since_ms,)):
        sends[row[0]].append(_send_of(row))
    restored = read_restored(connection)
    return {
        user_id: UserView(
            user_id=user_id,
            last_active_ms=recency.get(user_id),
            endpoints=tuple(endpoints.get(user_id, ())),
            episodes=tuple(episodes.get(user_id, ())),
            claims=tuple(claims.get(user_id, ())),
            sends=tuple(sends.get(user_id, ())),
            restored=restored,
        )
        for user_id in user_ids
    }


def episode_of(row: Sequence[Any]) -> Episode:
    """A row of EPISODE_COLUMNS."""
    return Episode(
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
    return Claim(
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
    return PastSend(
        at_ms=row[1], rule=row[2], stage=row[3], episode_id=row[4], channel=Channel(row[5])
    )
