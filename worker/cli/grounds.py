"""What stands behind a decision, in values: which window, which cap, whose silence.

Never an address or a token (P11), and of an attribute only whether it is there: its value may be
anything a user ever typed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from worker.caps import limit_in_the_way
from worker.cli.words import moment, relative, sentence_of, span
from worker.model import Arm, Decision, Reason
from worker.quiet import Zone, ZoneSource, hold_until, local_day_end_ms, local_day_start_ms, zone_of
from worker.rules.durations import written
from worker.rules.facts import BUILT_IN, match_facts
from worker.rules.keytree import money
from worker.rules.limits import Budget, Cap, Window
from worker.rules.ruleset import Matcher, TemplateProblem
from worker.rules.zones import UTC_MIDDAY
from worker.silences import silenced
from worker.situation import Situation, undeliverable

SENDS_SHOWN_MAX = 5
OWN_FACTS = frozenset({*BUILT_IN, "rule", "stage"})
"""Facts whose values are no secrets: they say where a user is and what the look is about."""


def ground_of(s: Situation, decision: Decision) -> str:
    """One line; empty when the reason says it all."""
    tell = _GROUNDS.get(decision.reason)
    return tell(s) if tell else sentence_of(decision.reason)


def unmet(matchers: Sequence[Matcher], facts: Mapping[str, Sequence[str]]) -> str:
    """The first matcher that does not fit, and why."""
    matcher = next((m for m in matchers if not m.matches(facts)), None)
    if matcher is None:
        return ""
    values = facts.get(matcher.name)
    if not values:
        return f"{matcher} does not fit: the user has no {matcher.name}"
    if matcher.name in OWN_FACTS:
        return f"{matcher} does not fit: {matcher.name} is {', '.join(values)}"
    return f"{matcher} does not fit the user's {matcher.name}"


def _silent(s: Situation) -> str:
    if s.episode is not None:
        return f"stage {s.episode.stage} is due {_at(s, s.episode.stage_due_ms)}"
    active = s.last_active_ms
    return f"last active {_at(s, active)}, inactive_for is {written(s.rule.inactive_for_ms)}"


def _tried(s: Situation) -> str:
    before = s.previous
    if before is None or before.closed_ms is None:
        return ""
    return f"its ladder ended {_at(s, before.closed_ms)} as {before.outcome}"


def _too_long(s: Situation) -> str:
    gone = span(s.now_ms - s.last_active_ms)
    return f"silent for {gone}, max_inactive is {written(s.rule.max_inactive_ms or 0)}"


def _cooling(s: Situation) -> str:
    return f"{_tried(s)}, cooldown is {written(s.rule.cooldown_ms)}"


def _enabled(s: Situation) -> str:
    begin, end = s.rule.enabled_from_ms, s.rule.enabled_until_ms
    told = [
        f"enabled_from is {moment(begin)}" if begin is not None else "",
        f"enabled_until is {moment(end)}" if end is not None else "",
    ]
    return ", ".join(filter(None, told))


def _matched(s: Situation) -> str:
    return unmet(s.rule.matchers, match_facts(s.view))


def _rollout(s: Situation) -> str:
    percent = s.rule.rollout.percent if s.rule.rollout else 0
    return f"the rule is rolled out to {percent:g} % of users, and this is not one of them"


def _only_if(s: Situation) -> str:
    return unmet(s.stage.only_if, s.stage_facts) if s.stage else ""


def _by_hand(s: Situation) -> str:
    found = silenced(s.moment.silences, s.silence_facts, s.moment.wall_ms)
    if found is None:
        return ""
    fits = " ".join(found.matchers) or "everything"
    comment = f': "{found.comment}"' if found.comment else ""
    return (
        f"{found.kind} {found.silence_id} on {fits}, by {found.author or 'nobody named'} at "
        f"{moment(found.begins_ms)}{comment}"
    )


def _addresses(s: Situation) -> str:
    assert s.stage is not None
    states = Counter(
        str(undeliverable(e)) for e in s.view.endpoints if e.channel is s.stage.channel
    )
    if not states:
        return f"the user has no {s.stage.channel} endpoint"
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{s.stage.channel} endpoints: {told}"


def _calls(s: Situation) -> str:
    told = [
        f"{claim.state} at {moment(claim.claimed_ms)}"
        + (f" ({claim.reason})" if claim.reason else "")
        + (f", attempt {claim.attempt}" if claim.attempt > 1 else "")
        for claim in s.claims[:SENDS_SHOWN_MAX]
    ]
    return "; ".join(told)


def _quiet(s: Situation) -> str:
    assert s.stage is not None
    rules = s.rules
    held = hold_until(
        s.view, s.stage.channel, s.moment.wall_ms, rules.quiet_hours, timezone=rules.timezone
    )
    if held is None:
        return ""
    window = held.window
    zone = zone_of(s.view, window.assume, rules.timezone or window.otherwise)
    kind = "legal window" if window.is_law else "quiet hours"
    return f"{kind} {window.name}, {zone_told(zone)}; open {_at(s, held.until_ms)}"


def zone_told(zone: Zone) -> str:
    """`zone Europe/Paris (told by the app)`."""
    source = {
        ZoneSource.TIMEZONE: "told by the app",
        ZoneSource.COUNTRY: "taken from the country",
        ZoneSource.PHONE_PREFIX: "taken from the phone number",
        ZoneSource.OTHERWISE: "nothing tells it, the rules say so",
    }[zone.source]
    if not zone.names:
        return "zone unknown, so noon in UTC is waited for"
    more = f" and {len(zone.names) - 3} more" if len(zone.names) > 3 else ""
    many = "zones" if len(zone.names) > 1 else "zone"
    return f"{many} {', '.join(zone.names[:3])}{more} ({source})"


def _capped(s: Situation) -> str:
    assert s.episode is not None
    others = [
        send
        for send in s.sends
        if (send.episode_id, send.stage) != (s.episode.episode_id, s.episode.stage)
    ]
    zone = zone_of(s.view, otherwise=s.rules.timezone or UTC_MIDDAY)
    hold = limit_in_the_way(s.rules.limits, others, s.moment.wall_ms, zone)
    if hold is None:
        return ""
    limit = _cap_told(hold.cap) if hold.cap else f"min_gap {written(s.rules.limits.min_gap_ms)}"
    shown = hold.sends[-SENDS_SHOWN_MAX:]
    sends = ", ".join(f"{send.stage} of {send.rule} at {moment(send.at_ms)}" for send in shown)
    return f"{limit}, filled by {sends}"


def _cap_told(cap: Cap) -> str:
    calendar = " of the user's calendar" if cap.window is Window.CALENDAR else ""
    return f"at most {cap.max} in {written(cap.per_ms)}{calendar}"


def _text(s: Situation) -> str:
    return str(s.message) if isinstance(s.message, TemplateProblem) else ""


def _price(s: Situation) -> str:
    assert s.stage is not None
    currency = s.rules.prices.currency
    costs = sorted(set(s.costs.values()))
    told = ", ".join(f"{money(cost)} {currency}" for cost in costs)
    return f"it would cost {told}, max_price is {money(s.stage.max_price_micros or 0)} {currency}"


def _budget(s: Situation) -> str:
    assert s.stage is not None
    cost = sum(s.costs[endpoint.address or ""] for endpoint in s.recipients)
    told = [
        _budget_told(s, budget, spent, cost)
        for budget in s.rules.limits.budgets
        if budget.channel in (None, s.stage.channel)
        and (spent := _spent(s, budget)) + cost > budget.max_micros
    ]
    return "; ".join(told)


def _spent(s: Situation, budget: Budget) -> int:
    """On the budget's day of the world's clock, and by this look, as the guard counts it."""
    zone, wall_ms = Zone((budget.timezone,), ZoneSource.TIMEZONE), s.moment.wall_ms
    begin_ms, end_ms = local_day_start_ms(zone, wall_ms), local_day_end_ms(zone, wall_ms)
    spent = s.moment.purse.spent_micros(budget.channel, begin_ms, end_ms)
    here = (m for name, m in s.spending.items() if budget.channel in (None, name))
    return spent + sum(here)


def _budget_told(s: Situation, budget: Budget, spent: int, cost: int) -> str:
    currency = s.rules.prices.currency
    return (
        f"{budget.channel or 'all channels'}: {money(spent)} of {money(budget.max_micros)} "
        f"{currency} are spent today ({budget.timezone}), this costs {money(cost)}"
    )


def _arm(s: Situation) -> str:
    percent = s.rule.holdout.percent if s.rule.holdout else 0
    held_out = s.episode is not None and s.episode.arm is Arm.HOLDOUT
    return f"one of the {percent:g} % of users who get nothing" if held_out else ""


def _mode(s: Situation) -> str:
    return f"the rule is in mode: {s.rule.mode}"


def _at(s: Situation, at_ms: int) -> str:
    return f"{moment(at_ms)} ({relative(at_ms, s.now_ms)})"


_GROUNDS: Mapping[Reason, Callable[[Situation], str]] = {
    Reason.NOT_YET_DUE: _silent,
    Reason.ONCE_PER_SILENCE: _tried,
    Reason.MAX_INACTIVE: _too_long,
    Reason.COOLDOWN: _cooling,
    Reason.NOT_ENABLED: _enabled,
    Reason.NOT_MATCHED: _matched,
    Reason.MATCH_LOST: _matched,
    Reason.NOT_IN_ROLLOUT: _rollout,
    Reason.ONLY_IF: _only_if,
    Reason.SILENCED: _by_hand,
    Reason.PAUSED: _by_hand,
    Reason.KILL_SWITCH: _by_hand,
    Reason.NO_ADDRESS: _addresses,
    Reason.INVALID_ADDRESS: _addresses,
    Reason.OPTED_OUT: _addresses,
    Reason.INACTIVE_ADDRESS: _addresses,
    Reason.SUPPRESSED: _addresses,
    Reason.IN_FLIGHT: _calls,
    Reason.SENT: _calls,
    Reason.UNCERTAIN: _calls,
    Reason.PROVIDER_THROTTLED: _calls,
    Reason.TEMPORARY_FAILURE: _calls,
    Reason.PERMANENT_FAILURE: _calls,
    Reason.ATTEMPTS_EXHAUSTED: _calls,
    Reason.QUIET_HOURS: _quiet,
    Reason.LAW_WINDOW: _quiet,
    Reason.CAP: _capped,
    Reason.MIN_GAP: _capped,
    Reason.PRIORITY_LOST: _capped,
    Reason.TEMPLATE_ERROR: _text,
    Reason.MAX_PRICE: _price,
    Reason.BUDGET: _budget,
    Reason.HOLDOUT: _arm,
    Reason.WOULD_SEND: _mode,
}
