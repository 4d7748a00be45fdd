"""P3, never after a return; and of P4 that stages fall due in the stream's time.

Demanded of every call: there is a present of the stream at which the user had been silent for the
rule's `inactive_for`. No present lies behind a record that is still unread, whosesoever it is.
Counted is every activity that reached the stream before that present, every
one that was given to a worker and written, and every one older than the stream may be while
anything is sent. So a return that reached the stream before a stage fell due always wins.
Where an earlier stage was sent in the same silence, its successor also waits its own time from
that send, in the stream's time.

Forgiven: what left the stream unread; events nobody can have seen yet; as much time as the
worker's clock was made wrong by; edits of the rule, as long as either edition may be in force;
wrong waits of users whose ladder was edited on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tests.simulator.checkers.ledger import Call, Ledger, Sight
from tests.simulator.checkers.violation import SLACK_MS, Violation


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls to somebody who was here, and calls that came too early."""
    for call in ledger.calls:
        yield from _was_here(ledger, call)
        yield from _waited(ledger, call)


def _was_here(ledger: Ledger, call: Call) -> Iterator[Violation]:
    silences = [
        rule.inactive_for_ms
        for book in ledger.books_until(call.at_ms)
        for rule in book.rules
        if rule.name == call.rule
    ]
    if not silences:
        return  # a rule nobody wrote: P7 tells
    sights = [s for s in ledger.sights.get(call.user, ()) if s.put_ms <= call.at_ms]
    known = [sight for sight in sights if ledger.knows_all(sight, call)]
    unknown = [s for s in sights if s not in known and not s.is_gone]
    wobble_ms = ledger.wobble_ms(call.at_ms) + SLACK_MS
    perhaps = [s for s in sights if s.is_gone and s not in known]
    need_ms = min(silences) - SLACK_MS
    for present_ms in _presents(ledger, call, unknown, wobble_ms):
        counted = known + [s for s in unknown if s.put_ms <= present_ms - wobble_ms]
        certain = [present_ms - sight.effective_ms >= need_ms for sight in counted]
        if all(certain) and (
            certain or any(present_ms - sight.effective_ms >= need_ms for sight in perhaps)
        ):
            return
    last = max(known + unknown, key=lambda sight: sight.effective_ms, default=None)
    yield Violation(
        promise="P3",
        at_ms=call.at_ms,
        user=call.user,
        address=call.fact.address,
        calls=(call.fact.call,),
        records=() if last is None else (last.record.put.record,),
        says=(
            f"stage {call.stage} of rule {call.rule} went to somebody who was not silent for"
            f" {min(silences) / 3_600_000:g} h at any present of the stream"
        ),
    )


def _presents(ledger: Ledger, call: Call, unknown: list[Sight], wobble_ms: int) -> Iterator[float]:
    """The presents worth a try: the latest there can be, and those just before an activity."""
    unread = ledger.unread_at(call)
    read_through_ms = inf if unread is None else unread.put.at_ms
    latest = min(max(call.at_ms, call.fact.worker_ms), read_through_ms) + wobble_ms
    yield latest
    for sight in unknown:
        before = sight.put_ms + wobble_ms - 1
        if call.at_ms - ledger.max_staleness_ms - wobble_ms <= before < latest:
            yield before


def _waited(ledger: Ledger, call: Call) -> Iterator[Violation]:
    rule = ledger.ladder_of(call)
    editions = {
        (other.name, other.edition)
        for book in ledger.books_until(call.at_ms)
        for other in book.rules
        if other.name == call.rule
    }
    if rule is None or len(editions) > 1:
        return
    index = [stage.name for stage in rule.stages].index(call.stage)
    if index == 0:
        return
    before = rule.stages[index - 1]
    silence = ledger.silence_of(call)
    earlier = [
        other
        for other in ledger.calls_of[call.user]
        if other.index < call.index
        and (other.rule, other.stage) == (call.rule, before.name)
        and other.may_arrive
        and ledger.silence_of(other) == silence
    ]
    if not earlier:
        return
    sent_ms = max(other.at_ms for other in earlier)
    stage = rule.stages[index]
    slack_ms = ledger.max_staleness_ms + ledger.wobble_ms(call.at_ms) + SLACK_MS
    slack_ms += ledger.wobble_ms(sent_ms)
    if call.at_ms < sent_ms + stage.after_ms - slack_ms:
        yield Violation(
            promise="P4",
            at_ms=call.at_ms,
            user=call.user,
            address=call.fact.address,
            calls=(earlier[-1].fact.call, call.fact.call),
            says=(
                f"stage {stage.name} of rule {rule.name} waits {stage.after_ms / 3_600_000:g} h"
                f" after the one before it was sent, but came"
                f" {(call.at_ms - sent_ms) / 3_600_000:.2f} h after"
            ),
        )
