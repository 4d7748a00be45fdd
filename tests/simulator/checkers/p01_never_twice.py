"""P1, never twice.

Demanded: of all calls for one stage of one silence of one user to one address, none follows one
that was taken, or whose result the worker cannot know (a timeout, a cut connection, a 5xx, an
answer that says nothing, a process that died before the answer).

Forgiven: repetition after an unknown result where the stage says `on_uncertain: resend`; never
after an answer that was heard and said "accepted", and at most `ATTEMPTS_MAX` calls in all.

Two calls are of one silence when no activity that was given to a worker between them moved the
time at which the user was last here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.simulator.checkers.ledger import Call, Ledger
from tests.simulator.checkers.violation import Violation

ATTEMPTS_MAX = 5
"""Calls of uncertain result for one send, where they may be repeated."""


def check(ledger: Ledger) -> Iterator[Violation]:
    """The calls that should not have been made again."""
    alike: dict[tuple[object, ...], list[Call]] = defaultdict(list)
    for call in ledger.calls:
        silence = ledger.silence_of(call)
        alike[call.user, call.rule, silence, call.stage, call.fact.address].append(call)
    for calls in alike.values():
        if len(calls) > 1:
            yield from _again(ledger, calls)


def _again(ledger: Ledger, calls: list[Call]) -> Iterator[Violation]:
    before: list[Call] = []
    for call in calls:
        known = [one for one in before if one.fact.answer == "ok" and ledger.was_heard(one)]
        stage = ledger.stage_of(call)
        may_resend = stage is not None and stage.on_uncertain == "resend"
        resend = may_resend and not known and len(before) < ATTEMPTS_MAX
        if before and not resend:
            first = known[0] if known else before[0]
            yield Violation(
                promise="P1",
                at_ms=call.at_ms,
                user=call.user,
                address=call.fact.address,
                calls=(first.fact.call, call.fact.call),
                says=(
                    f"stage {call.stage} of rule {call.rule} was sent again in one silence, after"
                    f" a call that was answered {first.fact.answer!r}"
                    f" ({'taken' if first.fact.accepted else 'perhaps taken'})"
                ),
            )
        if call.may_arrive:
            before.append(call)
