"""P7, never too much: only rules that may send, only to users they are for, only when nobody has
said stop.

Demanded:
- the rule of a call is in a book that may be in force, is live there, and the text is of an edition
  the user may be on (`on_edit`);
- nobody who is held out gets anything;
- no call matches a silence, a pause or the kill switch that stands;
- a ladder begins no later than `max_inactive` after its user was last here: a process must have
  been at work between then and `inactive_for`, not before it could know of the user, and not before
  the user's last ladder had been over for `cooldown`.

Forgiven: calls already decided on when somebody said stop; a silence that had not begun, or was
over, by the worker's clock; as much time as that clock was wrong by when the last ladder was over
and when the next begins; of `max_inactive`, users of whom part of the story is that of an anonymous
user.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulator.checkers.ledger import ANONYMOUS, Call, Hold, Ledger
from tests.simulator.checkers.shares import holds_out
from tests.simulator.checkers.violation import SLACK_MS, Violation
from tests.simulator.rulebook import RuleSpec


def check(ledger: Ledger) -> Iterator[Violation]:
    """Calls that should not have been made at all."""
    for call in ledger.calls:
        rules = ledger.rules_at(call.rule, call.at_ms)
        for why in (
            _not_in_force(ledger, call, rules),
            _held_out(ledger, call, rules),
            _stopped_by_hand(ledger, call),
            _began_too_late(ledger, call),
        ):
            if why is not None:
                yield Violation(
                    promise="P7",
                    at_ms=call.at_ms,
                    user=call.user,
                    address=call.fact.address,
                    calls=(call.fact.call,),
                    says=why,
                )


def _not_in_force(ledger: Ledger, call: Call, rules: tuple[RuleSpec, ...]) -> str | None:
    if not rules:
        return f"sent by rule {call.rule}, which no book that may be in force has"
    if all(rule.mode == "shadow" for rule in rules):
        return f"sent by rule {call.rule}, which is in shadow mode"
    if ledger.ladder_of(call) is None:
        return f"sent edition {call.revision} of rule {call.rule}, which nobody wrote"
    for rule in rules:
        finishes = rule.on_edit == "finish_old" and int(call.revision) < rule.edition
        if str(rule.edition) == call.revision or finishes:
            return None
    return f"sent edition {call.revision} of rule {call.rule}, which was edited"


def _held_out(ledger: Ledger, call: Call, rules: tuple[RuleSpec, ...]) -> str | None:
    users = {call.user, *ledger.strangers_of(call.user)}
    if rules and all(holds_out(rule, user) for rule in rules for user in users):
        return f"sent to a user whom rule {call.rule} holds out"
    return None


def _stopped_by_hand(ledger: Ledger, call: Call) -> str | None:
    for hold in ledger.holds:
        if hold.begin_ms + SLACK_MS < call.at_ms < hold.over_ms and _fits(hold, call):
            if call.decided_wall_ms >= hold.until_ms:
                continue
            if hold.what == "silence" and call.decided_wall_ms <= hold.begin_ms + SLACK_MS:
                continue
            return f"sent although a {hold.what} stands"
    return None


def _fits(hold: Hold, call: Call) -> bool:
    facts = {"rule": call.rule, "stage": call.stage, "channel": call.fact.channel}
    return all(facts.get(name) == value for name, value in hold.matchers.items())


def _began_too_late(ledger: Ledger, call: Call) -> str | None:
    since_ms = ledger.silence_of(call)
    rules = [r for b in ledger.books_until(call.at_ms) for r in b.rules if r.name == call.rule]
    limits = [rule.max_inactive_ms for rule in rules]
    if since_ms < 0 or not limits or call.user.startswith(ANONYMOUS):
        return None
    earlier = [
        other.at_ms - ledger.wobble_ms(other.at_ms)
        for other in ledger.calls_of[call.user]
        if other.index < call.index
        and other.rule == call.rule
        and ledger.silence_of(other) < since_ms
    ]
    slack_ms = ledger.max_staleness_ms + 2 * ledger.wobble_ms(call.at_ms) + SLACK_MS
    rested_ms = max(earlier, default=-1) + min(rule.cooldown_ms for rule in rules)
    if earlier and call.at_ms < rested_ms - slack_ms:
        return f"rule {call.rule} began again within its cooldown"
    if None in limits or ledger.strangers_of(call.user):
        return None
    first_ms = max(
        since_ms + min(rule.inactive_for_ms for rule in rules) - slack_ms,
        ledger.first_known_ms(call.user, since_ms),
        rested_ms - slack_ms if earlier else 0,
    )
    last_ms = since_ms + max(limit for limit in limits if limit is not None) + slack_ms
    worked = any(
        max(first_ms, run.started_ms) <= min(last_ms, run.ended_ms, call.at_ms)
        for run in ledger.runs
    )
    if worked:
        return None
    return f"the ladder of rule {call.rule} began for somebody gone for longer than max_inactive"
