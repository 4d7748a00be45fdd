"""The ladder: what to do about one user, now. Pure; the heart of the product.

A *step* is one decision with one reason about one (user, rule, instant); `guards.py` has the
tables. A *look* takes steps, rule by rule, until every rule waits. A store calls `look` inside the
transaction that read the user and that will write the claims, so a return that is in the state
cannot be overlooked (P3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from worker.drafts import changed, quick
from worker.guards import step
from worker.holds import HOLDS
from worker.model import (
    Action,
    Arm,
    Channel,
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
    PutOff,
    Reason,
    UserView,
    address_hash_of,
    episode_id_of,
    send_id_of,
)
from worker.moment import Moment
from worker.money import Purse
from worker.pace import Pace
from worker.rules.ruleset import OnUncertain, Rule, RuleSet
from worker.shares import is_in
from worker.silences import Standing
from worker.situation import Situation

NOTHING_PAUSED: Mapping[str, Pause] = {}

_new_claim = quick(Claim)
_new_decision = quick(Decision)
_new_delivery = quick(Delivery)
_new_episode = quick(Episode)
_new_look = quick(Look)
_new_put_off = quick(PutOff)
_new_send = quick(PastSend)


def look(
    view: UserView,
    rules: RuleSet,
    now_ms: int,
    *,
    wall_ms: int | None = None,
    paused: Mapping[str, Pause] = NOTHING_PAUSED,
    silences: Sequence[Standing] = (),
    purse: Purse | None = None,
    pace: Pace | None = None,
) -> Look:
    """Takes steps for every rule until each waits, and says when to look at this user again.

    `now_ms` is stream time; `wall_ms`, when it is later, says where on the clock a message would
    arrive. `paused` is by channel type. `purse` and `pace` are read; who writes the look's claims
    takes them out. None: nothing was spent, nothing was sent.

    Rules are asked in the order of the set, by priority; a stage that one of them sends counts in
    the caps and budgets of the next.
    """
    moment = Moment(
        now_ms=now_ms,
        wall_ms=now_ms if wall_ms is None else max(now_ms, wall_ms),
        paused=paused,
        silences=silences,
        purse=purse or Purse(),
        pace=pace or Pace(),
    )
    return look_at(view, rules, moment)


def look_at(view: UserView, rules: RuleSet, moment: Moment) -> Look:
    """`look`, for who looks at many users in one moment."""
    walk = _walked(view, rules, moment, quick=True)
    for decision, episode in _given_up(view, rules, moment.now_ms):
        walk.decisions.append(decision)
        walk.changed[episode.episode_id] = episode
    return _new_look(
        user_id=view.user_id,
        due_ms=min(walk.due, default=None),
        decisions=tuple(walk.decisions),
        episodes=tuple(walk.changed.values()),
        deliveries=tuple(walk.deliveries),
        put_off=tuple(walk.put_off),
    )


def steps_of(
    view: UserView, rules: RuleSet, moment: Moment
) -> tuple[tuple[Situation, Decision], ...]:
    """Every step of a look with the situation it answers, for who tells people why. Episodes that
    go on with no ladder are in none of them."""
    walk = _walked(view, rules, moment, quick=False)
    return tuple(zip(walk.situations, walk.decisions, strict=True))


def _walked(view: UserView, rules: RuleSet, moment: Moment, *, quick: bool) -> _Walk:
    """Goes through the rules one after the other. An open episode that goes on with no ladder is in
    none of its steps."""
    walk = _Walk(view)
    open_episodes = {e.rule: e for e in view.episodes if e.closed_ms is None}
    for rule in rules.rules:
        episode = open_episodes.get(rule.name)
        if quick and episode is None and walk.is_too_soon(rule, moment.now_ms):
            continue
        ladder = rule if episode is None else rules.rule_of(episode)
        if ladder is not None:
            walk.through(
                Situation(
                    view=view,
                    rules=rules,
                    rule=ladder,
                    moment=moment,
                    episode=episode,
                    sends=walk.sends,
                    spending=walk.spending,
                    starting=walk.starting,
                )
            )
    return walk


class _Walk:
    """What has come of a look so far; lives as long as the look."""

    def __init__(self, view: UserView) -> None:
        self.view = view
        self._gone_out: tuple[PastSend, ...] = ()
        self.spending: dict[Channel, int] = {}
        self.starting: dict[Channel, int] = {}
        self.situations: list[Situation] = []
        self.decisions: list[Decision] = []
        self.changed: dict[str, Episode] = {}
        self.deliveries: list[Delivery] = []
        self.put_off: list[PutOff] = []
        self.due: list[int] = []

    @property
    def sends(self) -> tuple[PastSend, ...]:
        """The user's past sends, and those of this look."""
        return (*self.view.sends, *self._gone_out) if self._gone_out else self.view.sends

    def is_too_soon(self, rule: Rule, now_ms: int) -> bool:
        """Waits at once under a rule whose silence is not over: the most frequent answer by far,
        and the same as the guards would give."""
        if self.view.last_active_ms is None:
            return False
        due_ms = self.view.last_active_ms + rule.inactive_for_ms
        if due_ms <= now_ms:
            return False
        self.due.append(due_ms)
        self.decisions.append(
            _new_decision(
                rule=rule.name,
                action=Action.WAIT,
                reason=Reason.NOT_YET_DUE,
                at_ms=now_ms,
                until_ms=due_ms,
            )
        )
        return True

    def through(self, situation: Situation) -> None:
        """Takes steps under one rule until it waits or sends."""
        for _ in range(_steps_max(situation)):
            decision = step(situation)
            self.situations.append(situation)
            self.decisions.append(decision)
            episode = _after(situation, decision)
            if episode is not None and episode != situation.episode:
                self.changed[episode.episode_id] = episode
            if decision.action is Action.SEND:
                self._send(situation)
            if decision.reason is Reason.RATE_WAIT and situation.stage is not None:
                waiting = _new_put_off(
                    channel=situation.stage.channel,
                    sends=len(situation.recipients),
                    had_slot=situation.had_slot,
                )
                self.put_off.append(waiting)
            if decision.action in (Action.WAIT, Action.SEND):
                self.due += [decision.until_ms] if decision.until_ms is not None else []
                return
            situation = _next_situation(situation, episode)
        raise AssertionError(f"rule {situation.rule.name} does not come to rest")

    def _send(self, situation: Situation) -> None:
        deliveries = _deliveries(situation)
        self.deliveries += deliveries
        self._gone_out = (*self._gone_out, _past_send(situation))
        for delivery in deliveries:
            channel, micros = delivery.claim.channel, delivery.claim.cost_micros
            self.spending[channel] = self.spending.get(channel, 0) + micros
            self.starting[channel] = self.starting.get(channel, 0) + 1


def _steps_max(situation: Situation) -> int:
    """Pass every stage of an old ladder, one of them before its time, close it, open the new one,
    pass its stages, close it, wait."""
    new = situation.rules.rule_named(situation.rule.name)
    return len(situation.rule.stages) + (len(new.stages) if new else 0) + 5


def _after(s: Situation, decision: Decision) -> Episode | None:
    """The episode as the decision leaves it; None when there is none."""
    match decision.action:
        case Action.OPEN:
            return _opened(s)
        case Action.WAIT:
            return _waiting(s, decision.reason) if s.episode else None
        case Action.SEND:
            return _sent(s)
        case Action.ADVANCE | Action.SKIP:
            return _advanced(s, decision)
        case Action.HASTEN:
            assert s.episode is not None
            return changed(s.episode, stage_due_ms=s.now_ms)
        case Action.CLOSE:
            assert s.episode is not None
            return changed(
                s.episode, hold=None, held_ms=None, closed_ms=s.now_ms, outcome=decision.outcome
            )


def _waiting(s: Situation, reason: Reason) -> Episode:
    """The hold a stage is in begins with its first reason and lasts through others."""
    assert s.episode is not None
    if reason not in HOLDS:
        return _unheld(s)
    if s.episode.hold is reason:
        return s.episode
    held_ms = s.now_ms if s.episode.held_ms is None else s.episode.held_ms
    return changed(s.episode, hold=reason, held_ms=held_ms)


def _sent(s: Situation) -> Episode:
    """Whoever is tried is counted among those who were, so that a rule's arms compare."""
    assert s.episode is not None
    return changed(
        s.episode, hold=None, held_ms=None, last_stage=s.episode.stage, last_sent_ms=s.now_ms
    )


def _unheld(s: Situation) -> Episode:
    assert s.episode is not None
    return s.episode if s.episode.hold is None else changed(s.episode, hold=None, held_ms=None)


def _next_situation(s: Situation, episode: Episode | None) -> Situation:
    if episode is None or episode.is_open:
        return s.before(episode)
    # What comes next is decided by the rule as it is now, whatever ladder the episode had.
    rule = s.rules.rule_named(s.rule.name)
    assert rule is not None
    others = tuple(e for e in s.view.episodes if e.episode_id != episode.episode_id)
    view = replace(s.view, episodes=(*others, episode))
    return replace(s, rule=rule, view=view, episode=None)


def _opened(s: Situation) -> Episode:
    since_ms = s.last_active_ms
    first = s.rule.stages[0]
    return _new_episode(
        episode_id=episode_id_of(s.view.user_id, s.rule.name, since_ms),
        user_id=s.view.user_id,
        rule=s.rule.name,
        revision=s.rule.revision,
        silence_since_ms=since_ms,
        opened_ms=s.now_ms,
        stage=first.name,
        stage_due_ms=s.now_ms + first.after_ms,
        arm=_arm(s),
    )


def _arm(s: Situation) -> Arm:
    if s.rule.holdout is None:
        return Arm.TREATED
    forced = s.view.holdout
    held_out = is_in(s.rule.holdout, s.view.user_id) if forced is None else forced
    return Arm.HOLDOUT if held_out else Arm.TREATED


def _advanced(s: Situation, decision: Decision) -> Episode:
    """The episode one stage further. The next wait counts from the send, or from now when the
    stage was left out; after a stage that could not be delivered the next one is due at once."""
    assert s.episode is not None
    assert s.stage is not None
    sent = decision.action is Action.ADVANCE
    following = s.rule.stage_after(s.stage.name)
    gone_ms = max((claim.claimed_ms for claim in s.claims), default=s.now_ms) if sent else s.now_ms
    wait_ms = following.after_ms if following and not decision.at_once else 0
    return changed(
        s.episode,
        revision=s.rule.revision,
        stage=following.name if following else None,
        stage_due_ms=gone_ms + wait_ms if following else s.now_ms,
        hold=None,
        held_ms=None,
        last_stage=s.stage.name if sent else s.episode.last_stage,
        last_sent_ms=gone_ms if sent else s.episode.last_sent_ms,
    )


def _deliveries(s: Situation) -> list[Delivery]:
    assert s.episode is not None
    assert s.stage is not None
    assert isinstance(s.message, Message)
    earlier = {claim.address_hash: claim for claim in s.claims}
    deliveries = []
    for endpoint in s.recipients:
        assert endpoint.address is not None
        assert endpoint.channel_type is not None
        address_hash = address_hash_of(endpoint.address)
        before = earlier.get(address_hash)
        assert before is None or before.state is ClaimState.RETRY, "a claim is made once"
        claim = _new_claim(
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
            variant=s.variant.name,
            cost_micros=s.costs[endpoint.address],
            resend=s.stage.on_uncertain is OnUncertain.RESEND,
            maybe_sent=before is not None and before.maybe_sent,
            wall_ms=s.moment.wall_ms if s.moment.wall_ms != s.now_ms else None,
        )
        deliveries.append(
            _new_delivery(
                claim=claim,
                channel_type=endpoint.channel_type,
                address=endpoint.address,
                message=s.message,
                ttl_ms=s.ttl_ms,
                max_price_micros=s.max_price_micros,
            )
        )
    return deliveries


def _past_send(s: Situation) -> PastSend:
    assert s.episode is not None
    assert s.stage is not None
    return _new_send(
        at_ms=s.moment.wall_ms,
        rule=s.rule.name,
        stage=s.stage.name,
        episode_id=s.episode.episode_id,
        channel=s.stage.channel,
    )


def _given_up(view: UserView, rules: RuleSet, now_ms: int) -> Iterator[tuple[Decision, Episode]]:
    """Open episodes that go on with no ladder: their rule is no longer in the set, or was edited
    and says `on_edit: cancel`."""
    for episode in view.episodes:
        if not episode.is_open or rules.rule_of(episode) is not None:
            continue
        outcome = EpisodeOutcome.CANCELLED
        decision = _new_decision(
            rule=episode.rule,
            action=Action.CLOSE,
            reason=Reason.RULE_CHANGED,
            at_ms=now_ms,
            stage=episode.stage,
            episode_id=episode.episode_id,
            outcome=outcome,
            notable=True,
        )
        closed = replace(episode, hold=None, held_ms=None, closed_ms=now_ms, outcome=outcome)
        yield decision, closed
