"""Where a user stands under each rule: the conditions in the order they are asked, and the first
one that blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.cli.grounds import ground_of
from worker.cli.words import moment, relative, sentence_of
from worker.guards import ENTRY, STAGE, passed
from worker.ladder import steps_of
from worker.model import Action, Arm, Decision, EpisodeOutcome, Reason, UserView
from worker.moment import Moment
from worker.rules.ruleset import Mode, RuleSet
from worker.situation import Situation

MOVES = frozenset({Action.OPEN, Action.SEND, Action.ADVANCE})


@dataclass(frozen=True, slots=True)
class Standpoint:
    """One rule: the situation its last step is about, what was decided before it in the same
    instant, and what then."""

    situation: Situation
    decision: Decision
    before: tuple[tuple[Situation, Decision], ...]

    @property
    def rule(self) -> str:
        """Its name."""
        return self.situation.rule.name

    @property
    def holds(self) -> tuple[str, ...]:
        """The conditions that hold, in the order they are asked."""
        return tuple(passed(self.situation))

    @property
    def deciding(self) -> str:
        """The condition that decides."""
        checks = ENTRY if self.situation.episode is None else STAGE
        return checks[len(self.holds)].holds

    @property
    def ground(self) -> str:
        """What stands behind the decision, in values."""
        return ground_of(self.situation, self.decision)

    def answer(self) -> str:
        """`quiet_hours until 2026-11-08 08:00:00Z (in 2h)`."""
        until_ms = self.decision.until_ms
        until = ""
        if until_ms is not None:
            until = f" until {moment(until_ms)} ({relative(until_ms, self.decision.at_ms)})"
        return f"{self.decision.reason}{until}{_end(self.decision.outcome)}"


def standpoints(view: UserView, rules: RuleSet, moment: Moment) -> tuple[Standpoint, ...]:
    """One for every rule, in the order rules are asked. Ladders that are given up with the rule set
    are in none."""
    by_rule: dict[str, list[tuple[Situation, Decision]]] = {}
    for situation, decision in steps_of(view, rules, moment):
        by_rule.setdefault(decision.rule, []).append((situation, decision))
    return tuple(Standpoint(*steps[-1], before=tuple(steps[:-1])) for steps in by_rule.values())


def tree(point: Standpoint) -> Iterator[str]:
    """The lines of one rule."""
    yield f"{point.rule} ({_headline(point)})"
    for situation, decision in point.before:
        ground = ground_of(situation, decision) or sentence_of(decision.reason)
        told = f"{decision.reason}, {ground}{_end(decision.outcome)}"
        yield f"  ->  {decision.stage or 'the ladder'}: {told}"
    yield from (f"  ok  {condition}" for condition in point.holds)
    mark = "->" if point.decision.action in MOVES else "NO"
    yield f"  {mark}  {point.deciding}: {point.answer()}"
    if point.ground:
        yield f"      {point.ground}"


def why_not(point: Standpoint) -> Iterator[str]:
    """The same told from its end, in sentences."""
    s, decision = point.situation, point.decision
    stage = f" {s.episode.stage}" if s.episode is not None and s.episode.stage else " anything"
    if decision.action is Action.SEND:
        yield f"{point.rule} sends{stage} now."
    else:
        ground = f" ({point.ground})" if point.ground else ""
        because = sentence_of(decision.reason) or str(decision.reason).replace("_", " ")
        yield f"{point.rule} is not sending{stage} because: {because}{ground}."
    if decision.until_ms is not None:
        until = relative(decision.until_ms, decision.at_ms)
        yield f"It is asked again {moment(decision.until_ms)} ({until})."
    elif decision.action is Action.WAIT:
        yield "It is asked again when something about the user changes."
    if s.rule.mode is Mode.SHADOW and decision.reason is not Reason.WOULD_SEND:
        yield "Whatever happens, it is in mode: shadow, which sends nothing to anybody."
    if s.episode is not None and s.episode.arm is Arm.HOLDOUT:
        yield "Whatever happens, the user is held out on this ladder and gets nothing from it."


def as_document(point: Standpoint) -> dict[str, Any]:
    """For machines."""
    episode, decision = point.situation.episode, point.decision
    return {
        "rule": point.rule,
        "mode": point.situation.rule.mode,
        "revision": point.situation.rule.revision,
        "ladder": None
        if episode is None
        else {
            "stage": episode.stage,
            "opened_ms": episode.opened_ms,
            "stage_due_ms": episode.stage_due_ms,
            "hold": episode.hold,
            "arm": episode.arm,
            "converted_ms": episode.converted_ms,
        },
        "holds": list(point.holds),
        "deciding": point.deciding,
        "action": decision.action,
        "reason": decision.reason,
        "until_ms": decision.until_ms,
        "ground": point.ground,
    }


def _headline(point: Standpoint) -> str:
    s = point.situation
    told = [str(s.rule.mode)]
    now = s.rules.rule_named(s.rule.name)
    episode = s.episode
    if episode is None:
        told.append("not on its ladder")
    else:
        told.append(f"on its ladder since {moment(episode.opened_ms)}")
        if episode.stage is not None:
            told.append(f"at stage {episode.stage}")
        if now is not None and now.revision != s.rule.revision:
            told.append("which was edited since: the user finishes the one it was")
        if episode.arm is Arm.HOLDOUT:
            told.append("held out")
        if s.stage is not None and s.variant.name:
            told.append(f"variant {s.variant.name}")
        if episode.converted_ms is not None:
            told.append(f"converted {moment(episode.converted_ms)}")
    return ", ".join(told)


def _end(outcome: EpisodeOutcome | None) -> str:
    return f"; the ladder ends as {outcome}" if outcome is not None else ""
