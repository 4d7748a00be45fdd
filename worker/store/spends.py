"""What claims have cost, per channel and span of time, so that a budget survives a restart (P7).

A claim's expected cost is added when it is made, again at every further attempt, and given back
when the provider certainly did not take the message. A call nobody knows the end of has cost it.
Works inside the transaction of its caller.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence

from worker.model import DAY_MS, SPEND_SPAN_MS, Channel, Claim, Spend
from worker.store import policy_statements

SPENDS_KEPT_MS = 8 * DAY_MS
"""A budget counts one calendar day; the rest is for a look."""


def add_spends(connection: sqlite3.Connection, claims: Iterable[Claim]) -> None:
    """Adds what these claims are expected to cost."""
    spent: Counter[tuple[int, Channel]] = Counter()
    for claim in claims:
        if claim.cost_micros:
            spent[_span_of(claim.sent_at_ms), claim.channel] += claim.cost_micros
    if spent:
        rows = [(*key, micros) for key, micros in spent.items()]
        connection.executemany(policy_statements.ADD_SPEND, rows)


def give_back(connection: sqlite3.Connection, unsent: Iterable[tuple[int, str, int]]) -> None:
    """Takes back the cost of claims that certainly were not sent: (claimed_ms, channel, micros).
    Of a span that is no longer kept nothing is taken."""
    rows = [(micros, _span_of(claimed_ms), channel) for claimed_ms, channel, micros in unsent]
    connection.executemany(policy_statements.GIVE_BACK, rows)


def read_spends(connection: sqlite3.Connection, since_ms: int) -> Sequence[Spend]:
    """The spans that end after `since_ms` and in which something was spent, oldest first."""
    rows = connection.execute(policy_statements.SPENDS, (since_ms - SPEND_SPAN_MS,))
    return tuple(Spend(channel=Channel(row[0]), at_ms=row[1], micros=row[2]) for row in rows)


def prune_spends(connection: sqlite3.Connection, now_ms: int) -> int:
    """Forgets old spans; returns how many."""
    before = (now_ms - SPENDS_KEPT_MS,)
    return connection.execute(policy_statements.PRUNE_SPENDS, before).rowcount


def _span_of(claimed_ms: int) -> int:
    return claimed_ms - claimed_ms % SPEND_SPAN_MS
