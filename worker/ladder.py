"""The ladder: what to do about one user, now. Pure; the heart of the product.

A *step* is one decision with one reason about one (user, rule, instant); `guards.py` has the
tables. A *look* takes steps, rule by rule, until every rule waits. A store calls `look` inside the
transaction that read the user and that will write the claims, so a return that is in the state
cannot be overlooked (P3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from worker.guards import step
from worker.model import (
    Action,
    Claim,
    ClaimState,
    Decision,
    Delivery,
    Episode,
    EpisodeOutcome,
    Look,
    Message,
    PastSend,
    Pause,
    Reason,
    UserView,
    address_hash_of,
    episode_id_of,
    send_id_of,
)
from worker.rules.ruleset import Rule, RuleSet
from worker.situation import HOLDS, Situation

NOTHING_PAUSED: Mapping[str, Pause] = {}


def look(
    view: UserView,
    rules: RuleSet,
    now_ms: int,
    *,
    wall_ms: int | None = None,
    paused: Mapping[str, Pause] = NOTHING_PAUSED,
) -> Look:
    """Takes steps for every rule until each waits, and says when to look at this user again.

    `now_ms` is stream time; `wall_ms`, when it is later, says where on the clock a message would
    arrive. `paused` is by channel type.

    Rules are asked in the order of the set; a stage that one of them sends counts in the caps of
    the next.
    """
    walk = _Walk(view)
    for rule in rules.rules:
        open_episode = next((e for e in view.episodes if e.rule == rule.name and e.is_open), None)
        walk.through(
            Situation(
                view=view,
                rules=rules,
                rule=rule,
                now_ms=now_ms,
                wall_ms=now_ms if wall_ms is None else wall_ms,
                episode=open_episode,
                sends=walk.sends,
                paused=paused,
            )
        )
    for decision, episode in _orphans(view, rules, now_ms):
        walk.decisions.append(decision)
        walk.changed[episode.episode_id] = episode
    return Look(
        user_id=view.user_id,
        due_ms=min(walk.due, default=None),
        decisions=tuple(walk.decisions),
        episodes=tuple(walk.changed.values()),
        deliveries=tuple(walk.deliveries),
    )


class _Walk:
    """What has come of a look so far; lives as long as the look."""

    def __init__(self, view: UserView) -> None:
        self.sends = view.sends
        self.decisions: list[Decision] = []
        self.changed: dict[str, Episode] = {}
        self.deliveries: list[Delivery] = []
        self.due: list[int] = []

    def through(self, situation: Situation) -> None:
        """Takes steps under one rule until it waits or sends."""
        for _ in range(_steps_max(situation.rule)):
            decision = step(situation)
            self.decisions.append(decision)
            episode = _after(situation, decision)
            if episode is not None and episode != situation.episode:
                self.changed[episode.episode_id] = episode
            if decision.action is Action.SEND:
                self.deliveries += _deliveries(situation)
                self.sends = (*self.sends, _past_send(situation))
            if decision.action in (Action.WAIT, Action.SEND):
                self.due += [decision.until_ms] if decision.until_ms is not None else []
                return
            situation = _next_situation(situation, episode)
        raise AssertionError(f"rule {situation.rule.name} does not come to rest")


def _steps_max(rule: Rule) -> int:
    """Close the old episode, open one, pass every stage, close it, wait."""
    return len(rule.stages) + 4


def _after(s: Situation, decision: Decision) -> Episode | None:
    """The episode as the decision leaves it; None when there is none."""
    match decision.action:
        case Action.OPEN:
            return _opened(s)
        case Action.WAIT:
            return _waiting(s, decision.reason) if s.episode else None
        case Action.SEND:
            assert s.episode is not None
            return replace(s.episode, hold=None, held_ms=None)
        case Action.ADVANCE | Action.SKIP:
            return _advanced(s, sent=decision.action is Action.ADVANCE)
        case Action.CLOSE:
            assert s.episode is not None
            return replace(
                s.episode, hold=None, held_ms=None, closed_ms=s.now_ms, outcome=decision.outcome
            )


def _waiting(s: Situation, reason: Reason) -> Episode:
    """The hold a stage is in begins with its first reason and lasts through others."""
    assert s.episode is not None
    if reason not in HOLDS:
        return replace(s.episode, hold=None, held_ms=None)
    held_ms = s.now_ms if s.episode.held_ms is None else s.episode.held_ms
    return replace(s.episode, hold=reason, held_ms=held_ms)


def _next_situation(s: Situation, episode: Episode | None) -> Situation:
    if episode is None or episode.is_open:
        return replace(s, episode=episode)
    others = tuple(e for e in s.view.episodes if e.episode_id != episode.episode_id)
    return replace(s, view=replace(s.view, episodes=(*others, episode)), episode=None)


def _opened(s: Situation) -> Episode:
    since_ms = s.last_active_ms
    first = s.rule.stages[0]
    return Episode(
        episode_id=episode_id_of(s.view.user_id, s.rule.name, since_ms),
        user_id=s.view.user_id,
        rule=s.rule.name,
        revision=s.rule.revision,
        silence_since_ms=since_ms,
        opened_ms=s.now_ms,
        stage=first.name,
        stage_due_ms=s.now_ms + first.after_ms,
    )


def _advanced(s: Situation, *, sent: bool) -> Episode:
    """The episode one stage further. The next wait counts from the send, or from now when the
    stage was skipped; a stage that could not be delivered makes the next one due at once."""
    assert s.episode is not None
    assert s.stage is not None
    following = s.rule.stage_after(s.stage.name)
    gone_ms = max((claim.claimed_ms for claim in s.claims), default=s.now_ms)
    due_ms = gone_ms + following.after_ms if following and sent else s.now_ms
    return replace(
        s.episode,
        stage=following.name if following else None,
        stage_due_ms=due_ms,
        hold=None,
        held_ms=None,
        last_stage=s.stage.name if sent else s.episode.last_stage,
    )


def _deliveries(s: Situation) -> list[Delivery]:
    assert s.episode is not None
    assert s.stage is not None
    assert isinstance(s.message, Message)
    earlier = {claim.address_hash: claim for claim in s.claims}
    deliveries = []
    for endpoint in s.open_targets:
        assert endpoint.address is not None
        assert endpoint.channel_type is not None
        address_hash = address_hash_of(endpoint.address)
        before = earlier.get(address_hash)
        assert before is None or before.state is ClaimState.RETRY, "a claim is made once"
        claim = Claim(
            send_id=send_id_of(s.episode.episode_id, s.stage.name, endpoint.address),
            user_id=s.view.user_id,
            rule=s.rule.name,
            revision=s.rule.revision,
            episode_id=s.episode.episode_id,
            stage=s.stage.name,
            channel=s.stage.channel,
            address_hash=address_hash,
            claimed_ms=s.now_ms,
            attempt=before.attempt + 1 if before else 1,
        )
        deliveries.append(
            Delivery(
                claim=claim,
                channel_type=endpoint.channel_type,
                address=endpoint.address,
                message=s.message,
            )
        )
    return deliveries


def _past_send(s: Situation) -> PastSend:
    assert s.episode is not None
    assert s.stage is not None
    return PastSend(
        at_ms=s.now_ms,
        rule=s.rule.name,
        stage=s.stage.name,
        episode_id=s.episode.episode_id,
        channel=s.stage.channel,
    )


def _orphans(view: UserView, rules: RuleSet, now_ms: int) -> Iterable[tuple[Decision, Episode]]:
    """Open episodes whose rule is no longer in the set."""
    closed = []
    for episode in view.episodes:
        if episode.is_open and rules.rule_named(episode.rule) is None:
            decision = Decision(
                rule=episode.rule,
                action=Action.CLOSE,
                reason=Reason.RULE_CHANGED,
                at_ms=now_ms,
                stage=episode.stage,
                episode_id=episode.episode_id,
                outcome=EpisodeOutcome.CANCELLED,
                notable=True,
            )
            outcome = EpisodeOutcome.CANCELLED
            closed.append((decision, replace(episode, closed_ms=now_ms, outcome=outcome)))
    return closed
