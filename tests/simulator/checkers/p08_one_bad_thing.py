"""P8, one bad thing stays one bad thing.

Demanded:
- nothing happens that only a mistake of the program can cause (`bugs` in the story's settings);
- no process ends by itself, other than where the world made it (a broken folder of rules at its
  start, a stream that was made anew, a disk that is full when the state is opened);
- when a call is refused as a whole, each of its addresses is asked for again in parts, down to a
  call of its own: nobody pays for another's address.
That rubbish on the stream and failing addresses keep nobody else's messages back is part of P2.

Forgiven: parts that were not tried because the process ended, and those that may have been tried
while the provider could not be reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.simulator.checkers.ledger import TAKEN_APART_MS, Call, Ledger
from tests.simulator.checkers.violation import Violation
from tests.simulator.story import Ended

UNREACHABLE = "provider_unreachable"
"""The fault after which a call was tried, but never reached the provider."""

EXCUSED = ("StreamRecreated", "RulesError")
"""`Ended.where` of processes that the world made end."""

FULL = "StateUnwritable"
"""That of one that found the disk full when it opened its state."""


def check(ledger: Ledger) -> Iterator[Violation]:
    """Deaths, and addresses that shared another's fate."""
    for bug in ledger.story.settings.get("bugs", ()):
        yield Violation(promise="P8", at_ms=ledger.end_ms, says=f"a bug showed: {bug}")
    for fact in ledger.story.facts:
        if not isinstance(fact, Ended) or fact.how != "failed":
            continue
        full = FULL in fact.where and fact.at_ms in ledger.fault_times["disk_full"]
        if not full and not any(word in fact.where for word in EXCUSED):
            yield Violation(
                promise="P8",
                at_ms=fact.at_ms,
                says=f"the process ended by itself: {fact.where or 'nobody knows why'}",
            )
    yield from _punished_together(ledger)


def _punished_together(ledger: Ledger) -> Iterator[Violation]:
    refused: dict[int, list[Call]] = defaultdict(list)
    for call in ledger.calls:
        if call.fact.answer == "bad_request":
            refused[call.fact.call].append(call)
    for calls in refused.values():
        first = calls[0]
        alive = first.run is not None and first.run.ended_ms > first.at_ms + TAKEN_APART_MS
        cut_off = any(
            first.at_ms <= at_ms <= first.at_ms + TAKEN_APART_MS
            for at_ms in ledger.fault_times[UNREACHABLE]
        )
        if len(calls) == 1 or not alive or cut_off:
            continue
        for call in calls:
            again = any(
                other.index > call.index
                and other.fact.address == call.fact.address
                and other.fact.text == call.fact.text
                and other.at_ms <= call.at_ms + TAKEN_APART_MS
                for other in ledger.calls_of[call.user]
            )
            if not again:
                yield Violation(
                    promise="P8",
                    at_ms=call.at_ms,
                    user=call.user,
                    address=call.fact.address,
                    calls=(call.fact.call,),
                    says="a call was refused as a whole, and this address was not tried alone",
                )
