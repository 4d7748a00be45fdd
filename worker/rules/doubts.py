"""What a rules folder may say and probably does not mean: the warnings of `comeback check`. Pure.

Nothing here keeps a set from being taken into force. A warning is only given for what is certain
from the files alone; whether users exist whom a rule fits is looked at in `unknown_names.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from worker.holds import HOLD_MAX_MS
from worker.model import DAY_MS, Channel
from worker.rules.checks_limits import common
from worker.rules.document import Node
from worker.rules.durations import written
from worker.rules.event_names import unknown_events
from worker.rules.exclusive import choices_of, clashing, disjoint, exclude, fixed_facts, implied
from worker.rules.instants import instant
from worker.rules.limits import Cap, Window
from worker.rules.problems import Place, Problem, quoted
from worker.rules.ruleset import Mode, QuietHours, Rule, RuleSet, Stage

OVERLAPS_MAX = 100
"""Pairs of rules that are named; a folder with more has been written that way."""


class Written(Protocol):
    """A rule file as written."""

    @property
    def root(self) -> Node: ...


def doubts(sources: Sequence[Written], rule_set: RuleSet) -> tuple[Problem, ...]:
    """Every warning about a set, sorted by file and line."""
    nodes = {
        rule.get_text("rule"): rule for source in sources for rule in source.root.get_items("rules")
    }
    found: list[Problem] = []
    for rule in rule_set.rules:
        node = nodes[rule.name]
        stages = list(zip(rule.stages, node.get_items("stages"), strict=True))
        found += _of_rule(rule, rule_set, node)
        found += _never_on_time(rule, rule_set, [stage for _, stage in stages])
        for stage, written_as in stages:
            found += _of_stage(rule, stage, rule_set, written_as)
    for source in sources:
        found += unknown_events(source.root)
    found += _overlaps(rule_set.rules, {name: node.place for name, node in nodes.items() if name})
    return tuple(sorted(set(found)))


def unused_template(file: str) -> Problem:
    """A file of `templates/` that no stage names: a slip in a stage, or a left-over."""
    told = "no stage names this template; name it in a stage, or remove the file"
    return Problem(file, 1, 1, told)


def _of_rule(rule: Rule, rule_set: RuleSet, node: Node) -> Iterator[Problem]:
    clash = clashing(rule.matchers)
    if clash is not None:
        told = (
            f"rule {quoted(rule.name)} is for nobody: its match wants {clash[0]} and {clash[1]}, "
            "and all matchers must hold; remove one, or choose from several values with =~"
        )
        yield Problem(*node.key_place("match"), told)
    if rule.rollout and rule.holdout and rule.rollout.salt == rule.holdout.salt:
        told = (
            f"rollout and holdout of rule {quoted(rule.name)} have one salt, so they pick the same "
            "users and most of those who may enter are held out; give them salts of their own"
        )
        yield Problem(*node.key_place("holdout"), told)
    if rule.mode is not Mode.LIVE:
        return
    place = node.value_place("mode")
    if rule.max_inactive_ms is None:
        told = (
            f"rule {quoted(rule.name)} is live without max_inactive: on an old stream it writes to "
            "everybody who ever left; state one, such as max_inactive: 60d"
        )
        yield Problem(*place, told)
    if all(stage.channel is not Channel.SMS for stage in rule.stages):
        return
    facts = {**fixed_facts(rule.matchers), "channel": (Channel.SMS.value,)}
    windows = [window for window in rule_set.quiet_hours if not window.is_law]
    if not any(_may_hold(window, facts) for window in windows):
        told = (
            f"rule {quoted(rule.name)} sends SMS live and no quiet_hours hold for SMS: people get "
            "them at night; state some, such as from 21:00 to 08:00"
        )
        yield Problem(*place, told)
    if not rule_set.limits.caps:
        told = (
            f"rule {quoted(rule.name)} sends SMS live and nothing caps what one user gets; state "
            "limits, such as user: [{max: 1, per: 1d, window: calendar}]"
        )
        yield Problem(*place, told)


def _may_hold(window: QuietHours, facts: dict[str, tuple[str, ...]]) -> bool:
    return all(m.name not in facts or m.matches(facts) for m in window.matchers)


# --- stages that are never reached -------------------------------------------------------------


def _of_stage(rule: Rule, stage: Stage, rule_set: RuleSet, node: Node) -> Iterator[Problem]:
    named = f"stage {quoted(stage.name)} of rule {quoted(rule.name)}"
    facts = {**fixed_facts(rule.matchers), **fixed_facts(stage.only_if)}
    facts["channel"] = (stage.channel.value,)
    closing = [window for window in rule_set.quiet_hours if implied(window.matchers, facts)]
    if not any(common(window.open_week for window in closing)):
        names = ", ".join(window.name for window in closing)
        told = f"{named} is never sent: {names} leave no minute of the week open on {stage.channel}"
        yield Problem(*node.place, f"{told}; shorten one of them")
    # Of a match that is for nobody the rule is told.
    if (exclude(rule.matchers, stage.only_if) and not clashing(rule.matchers)) or exclude(
        stage.only_if, stage.only_if
    ):
        told = (
            f"{named} is never sent: its only_if excludes the match of the rule; mend one of them"
        )
        yield Problem(*node.key_place("only_if"), told)
    cheapest = _cheapest(rule_set, stage.channel, facts.get("country"))
    if stage.max_price_micros is not None and stage.max_price_micros < cheapest:
        told = (
            f"{named} is never sent: the cheapest price of {stage.channel} is above its max_price; "
            "raise it, or remove the stage"
        )
        yield Problem(*node.key_place("max_price"), told)
    for budget in rule_set.limits.budgets:
        if budget.channel in (None, stage.channel) and budget.max_micros < cheapest:
            told = (
                f"{named} is never sent: one message costs more than limits.budget has for a day; "
                "raise the budget, or remove the stage"
            )
            yield Problem(*node.place, told)
    weights = [variant.weight for variant in stage.variants]
    stated = any(variant.get("weight") for variant in node.get_items("variants"))
    if stated and sum(weights) != 100:
        told = (
            f"the weights of {named} sum to {sum(weights)}, not to 100; users are spread in "
            "proportion, and the parts are no percentages"
        )
        yield Problem(*node.key_place("variants"), told)


def _cheapest(rule_set: RuleSet, channel: Channel, country: tuple[str, ...] | None) -> int:
    prices = rule_set.prices
    if country:
        return prices.micros(channel, country[0])
    return min([prices.otherwise.get(channel, 0), *prices.by_country.get(channel, {}).values()])


def _never_on_time(rule: Rule, rule_set: RuleSet, nodes: Sequence[Node]) -> Iterator[Problem]:
    """The first stage that comes too late for users who got every stage before it."""
    limits = rule_set.limits
    window_ms = (
        rule.enabled_until_ms - rule.enabled_from_ms
        if rule.enabled_from_ms is not None and rule.enabled_until_ms is not None
        else None
    )
    at_ms = 0
    sent: list[int] = []
    for stage, node in zip(rule.stages, nodes, strict=True):
        at_ms += stage.after_ms
        named = f"stage {quoted(stage.name)} of rule {quoted(rule.name)} is not reached by users"
        if window_ms is not None and at_ms >= window_ms:
            assert rule.enabled_until_ms is not None
            told = (
                f"{named} who get the stages before it: it comes {written(at_ms)} after the first, "
                f"and the rule is enabled for {written(window_ms)}, until "
                f"{instant(rule.enabled_until_ms)}; move enabled_until, or shorten the waits"
            )
            yield Problem(*node.place, told)
            return
        gap_ms = sent[-1] + limits.min_gap_ms if sent else at_ms
        free_ms = max([at_ms, gap_ms, *(_free_ms(cap, sent) for cap in limits.caps)])
        if free_ms - at_ms > HOLD_MAX_MS:
            told = (
                f"{named} who get the stages before it: limits.user hold it for "
                f"{written(free_ms - at_ms)} at least, and a stage waits {written(HOLD_MAX_MS)} at "
                "most; loosen the limit, or let the stage wait longer"
            )
            yield Problem(*node.place, told)
            return
        at_ms = free_ms
        sent.append(at_ms)


def _free_ms(cap: Cap, sent: Sequence[int]) -> int:
    """The earliest time a cap can let another stage through."""
    if len(sent) < cap.max:
        return 0
    # A calendar day that counts may be nearly over.
    over_ms = DAY_MS if cap.window is Window.CALENDAR else 0
    return sent[-cap.max] + cap.per_ms - over_ms


# --- rules that meet ---------------------------------------------------------------------------


def _overlaps(rules: Sequence[Rule], places: dict[str, Place]) -> Iterator[Problem]:
    """Pairs of rules that may want the same user on the same channel, and of which nobody said
    which goes first. One in shadow takes nothing from one that is live. Rules are by precedence."""
    channels = [frozenset(stage.channel for stage in rule.stages) for rule in rules]
    choices = [choices_of(rule.matchers) for rule in rules]
    found = 0
    for later, second in enumerate(rules):
        for earlier, first in enumerate(rules[:later]):
            if first.priority != second.priority or first.mode is not second.mode:
                continue
            # The cheap question first: a folder of 1,000 rules has half a million pairs.
            if disjoint(choices[earlier], choices[later]):
                continue
            shared = channels[earlier] & channels[later]
            if not shared or _apart(first, second) or exclude(first.matchers, second.matchers):
                continue
            if found == OVERLAPS_MAX:
                return
            found += 1
            yield Problem(*places[second.name], _both(first, second, shared))


def _apart(first: Rule, second: Rule) -> bool:
    """True when the two are never enabled at the same time."""
    return any(
        one.enabled_until_ms is not None
        and other.enabled_from_ms is not None
        and one.enabled_until_ms <= other.enabled_from_ms
        for one, other in ((first, second), (second, first))
    )


def _both(first: Rule, second: Rule, shared: frozenset[Channel]) -> str:
    channels = ", ".join(channel for channel in Channel if channel in shared)
    return (
        f"rule {quoted(second.name)} and rule {quoted(first.name)} ({first.file}:{first.line}) may "
        f"both want a user on {channels}; when both are due {quoted(first.name)} goes first, "
        f"because it stands first and both have priority {first.priority}; give them different "
        "priorities, or let their match exclude one another"
    )
