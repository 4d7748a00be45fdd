"""P4, never on stale news.

Demanded: when a call is made, every record that reached the stream more than `max_staleness`
before has been given to a worker.

Forgiven: records that left the stream before anybody got them, records from before the very first
start where it begins at the end of the stream, and as much time as the worker's clock was made
wrong by.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulator.checkers.ledger import Ledger
from tests.simulator.checkers.violation import SLACK_MS, Violation


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls made while an old record was still unread."""
    for call in ledger.calls:
        record = ledger.unread_at(call)
        if record is None:
            continue
        age_ms = call.at_ms - record.put.at_ms
        allowed_ms = ledger.max_staleness_ms + ledger.wobble_ms(call.at_ms) + SLACK_MS
        if age_ms > allowed_ms:
            yield Violation(
                promise="P4",
                at_ms=call.at_ms,
                user=call.user,
                address=call.fact.address,
                calls=(call.fact.call,),
                records=(record.put.record,),
                says=(
                    f"a message was sent while a record of {age_ms / 60_000:.1f} min before was"
                    f" unread; {ledger.max_staleness_ms / 60_000:.1f} min are allowed"
                ),
            )
