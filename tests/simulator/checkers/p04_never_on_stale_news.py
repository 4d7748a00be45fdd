"""P4, never on stale news.

Demanded: when a call is made, every record that reached the stream more than `max_staleness`
before has been given to a worker.

Forgiven: records that left the stream before anybody got them, records from before the very first
start where it begins at the end of the stream, and as much time as the worker's clock was made
wrong by.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf

from tests.simulator.checkers.ledger import Ledger, Record
from tests.simulator.checkers.violation import SLACK_MS, Violation


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls made while an old record was still unread."""
    puts = sorted(ledger.owed_records(), key=lambda record: record.put.at_ms)
    unread: list[tuple[int, int, Record]] = []
    index = 0
    for call in sorted(ledger.calls, key=lambda call: call.index):
        while index < len(puts) and puts[index].put.at_ms <= call.at_ms:
            record = puts[index]
            heappush(unread, (record.put.at_ms, record.put.record, record))
            index += 1
        while unread and _first_given(unread[0][2]) < call.index:
            heappop(unread)
        if not unread:
            continue
        age_ms = call.at_ms - unread[0][0]
        allowed_ms = ledger.max_staleness_ms + ledger.wobble_ms(call.at_ms) + SLACK_MS
        if age_ms > allowed_ms:
            yield Violation(
                promise="P4",
                at_ms=call.at_ms,
                user=call.user,
                address=call.fact.address,
                calls=(call.fact.call,),
                records=(unread[0][1],),
                says=(
                    f"a message was sent while a record of {age_ms / 60_000:.1f} min before was"
                    f" unread; {ledger.max_staleness_ms / 60_000:.1f} min are allowed"
                ),
            )


def _first_given(record: Record) -> float:
    return record.given[0][1] if record.given else inf
