"""What becomes of the stage an open episode stands before: its guards. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from worker.caps import hold_by_limits
from worker.holds import HOLD_MAX_MS
from worker.lifetimes import NEEDED_MS
from worker.model import (
    Action,
    Arm,
    ClaimState,
    Decision,
    EpisodeOutcome,
    PastSend,
    Reason,
    address_hash_of,
)
from worker.money import hold_by_budget
from worker.quiet import Held, held_in, zone_of
from worker.rules.limits import OnHit
from worker.rules.ruleset import ExitOn, Mode, OnUndeliverable, TemplateProblem
from worker.rules.zones import UTC_MIDDAY
from worker.silences import REASONS, silenced
from worker.situation import Check, Situation, undeliverable


def _returned(s: Situation) -> Decision | None:
    assert s.episode is not None
    if s.last_active_ms <= s.episode.silence_since_ms:
        return None
    return s.decide(Action.CLOSE, Reason.ACTIVE_AGAIN, outcome=EpisodeOutcome.RETURNED)


def _match_lost(s: Situation) -> Decision | None:
    if ExitOn.MATCH_LOST not in s.rule.exit_on or s.matched:
        return None
    return s.decide(Action.CLOSE, Reason.MATCH_LOST, outcome=EpisodeOutcome.CANCELLED)


def _stopped(s: Situation) -> Decision | None:
    if ExitOn.OPT_OUT_ALL not in s.rule.exit_on or not s.all_opted_out:
        return None
    return s.decide(Action.CLOSE, Reason.ALL_OPTED_OUT, outcome=EpisodeOutcome.STOPPED)


def _user_deleted(s: Situation) -> Decision | None:
    if ExitOn.USER_DELETED not in s.rule.exit_on or not s.deleted:
        return None
    return s.decide(Action.CLOSE, Reason.USER_DELETED, outcome=EpisodeOutcome.STOPPED)


def _rule_ended(s: Situation) -> Decision | None:
    end_ms = s.rule.enabled_until_ms
    if end_ms is None or s.now_ms < end_ms:
        return None
    return s.decide(Action.CLOSE, Reason.NOT_ENABLED, outcome=EpisodeOutcome.CANCELLED)


def _ladder_done(s: Situation) -> Decision | None:
    assert s.episode is not None
    if s.episode.stage is not None:
        return None
    claims = [c for c in s.view.claims if c.episode_id == s.episode.episode_id]
    in_vain = bool(claims) and not any(claim.may_have_gone_out for claim in claims)
    done = s.episode.last_stage is not None and not in_vain
    reason = Reason.LADDER_DONE if done else Reason.UNDELIVERABLE
    return s.decide(Action.CLOSE, reason, outcome=EpisodeOutcome.EXHAUSTED)


def _stage_gone(s: Situation) -> Decision | None:
    if s.stage is not None:
        return None
    return s.decide(Action.CLOSE, Reason.RULE_CHANGED, outcome=EpisodeOutcome.CANCELLED)


def _in_flight(s: Situation) -> Decision | None:
    flying = s.claims and any(claim.state is ClaimState.CLAIMED for claim in s.claims)
    return s.wait(Reason.IN_FLIGHT) if flying else None


def _answered(s: Situation) -> Decision | None:
    """Every address of the stage has its last answer. One that only waits for a paused channel type
    does not hold up a user who was reached elsewhere."""
    if not s.claims:
        return None
    states = {s.result_of(claim) for claim in s.claims}
    if not states - {ClaimState.RETRY}:
        return None
    reached = states & {ClaimState.SENT, ClaimState.UNCERTAIN}
    if s.open_targets or (s.targets and not reached):
        return None
    if s.went_out:
        return s.decide(Action.ADVANCE, s.went_out)
    tired = any(claim.reason == Reason.ATTEMPTS_EXHAUSTED for claim in s.claims)
    return _undeliverable(s, Reason.ATTEMPTS_EXHAUSTED if tired else Reason.PERMANENT_FAILURE)


def _undeliverable(s: Situation, reason: Reason) -> Decision:
    """The stage cannot be delivered on its channel; the rule says what then. One that went out to
    another address has been delivered."""
    assert s.stage is not None
    if s.went_out:
        return s.decide(Action.ADVANCE, s.went_out)
    match s.stage.on_undeliverable:
        case OnUndeliverable.NEXT_STAGE:
            return s.decide(Action.SKIP, reason, at_once=True)
        case OnUndeliverable.WAIT:
            return _held_too_long(s) or s.wait(reason)
        case OnUndeliverable.END:
            return s.decide(Action.CLOSE, reason, outcome=EpisodeOutcome.EXHAUSTED)


def _on_hit(s: Situation, reason: Reason, on_hit: OnHit, until_ms: int) -> Decision:
    """The stage meets closed hours or an empty purse, which says what then."""
    if on_hit is OnHit.DEFER:
        return s.wait(reason, until_ms)
    if s.went_out:
        return s.decide(Action.ADVANCE, s.went_out)
    return s.decide(Action.SKIP, reason, at_once=on_hit is OnHit.NEXT_STAGE)


def _stage_not_due(s: Situation) -> Decision | None:
    assert s.episode is not None
    due_ms = s.episode.stage_due_ms
    if due_ms <= s.now_ms:
        return None
    if s.is_early:
        return s.decide(Action.HASTEN, Reason.NOT_DELIVERED)
    return s.wait(Reason.NOT_YET_DUE, due_ms)


def _held_too_long(s: Situation) -> Decision | None:
    assert s.episode is not None
    if s.episode.hold is None or s.episode.held_ms is None:
        return None
    if s.now_ms < s.episode.held_ms + HOLD_MAX_MS:
        return None
    if s.stage is not None and s.went_out:
        return s.decide(Action.ADVANCE, s.went_out)
    return s.decide(Action.CLOSE, s.episode.hold, outcome=EpisodeOutcome.EXPIRED)


def _silenced(s: Situation) -> Decision | None:
    if not s.moment.silences:
        return None
    silence = silenced(s.moment.silences, s.silence_facts, s.moment.wall_ms)
    return None if silence is None else s.wait(REASONS[silence.kind], silence.ends_ms)


def _not_for_this_user(s: Situation) -> Decision | None:
    assert s.stage is not None
    if s.claims or all(matcher.matches(s.stage_facts) for matcher in s.stage.only_if):
        return None
    return s.decide(Action.SKIP, Reason.ONLY_IF)


def _no_live_address(s: Situation) -> Decision | None:
    if s.targets:
        return None
    assert s.stage is not None
    reasons = [undeliverable(e) for e in s.view.endpoints if e.channel is s.stage.channel]
    known = [reason for reason in reasons if reason not in (None, Reason.NO_ADDRESS)]
    return _undeliverable(s, known[-1] if known and known[-1] else Reason.NO_ADDRESS)


def _channel_paused(s: Situation) -> Decision | None:
    if s.open_targets:
        return None
    pauses = [pause for endpoint in s.targets if (pause := s.pause_of(endpoint))]
    first = min(pauses, key=lambda pause: pause.until_ms)
    return s.wait(first.reason, first.until_ms)


def _backing_off(s: Situation) -> Decision | None:
    if not s.claims:
        return None
    hashes = {address_hash_of(endpoint.address or "") for endpoint in s.open_targets}
    waiting = [
        claim
        for claim in s.claims
        if claim.address_hash in hashes and (claim.retry_ms or 0) > s.now_ms
    ]
    if not waiting:
        return None
    latest = max(waiting, key=lambda claim: claim.retry_ms or 0)
    # A call nobody saw the end of is told in other words than a provider's answer.
    reason = next((known for known in Reason if known == latest.reason), Reason.UNCERTAIN)
    return s.wait(reason, latest.retry_ms)


def _quiet_hours(s: Situation) -> Decision | None:
    held = _held_at(s, s.moment.wall_ms)
    if held is None:
        # Too little time is left for a call and the shortest life of a message.
        closes_ms = s.closes_ms
        if closes_ms is None or closes_ms - s.moment.wall_ms >= NEEDED_MS:
            return None
        held = _held_at(s, closes_ms)
        assert held is not None, "what closes is closed"
    reason = Reason.LAW_WINDOW if held.window.is_law else Reason.QUIET_HOURS
    return _on_hit(s, reason, held.window.on_hit, held.until_ms)


def _held_at(s: Situation, at_ms: int) -> Held | None:
    return held_in(s.hours, at_ms) if s.hours else None


def _capped(s: Situation) -> Decision | None:
    if not s.sends:
        return None
    hold = _hold_by_limits(s, s.sends)
    if hold is None:
        return None
    # It is another rule's send of this very look that takes the slot.
    lost = len(s.sends) > len(s.view.sends) and _hold_by_limits(s, s.view.sends) is None
    reason, until_ms = hold
    return s.wait(Reason.PRIORITY_LOST if lost else reason, until_ms)


def _hold_by_limits(s: Situation, sends: Sequence[PastSend]) -> tuple[Reason, int] | None:
    assert s.episode is not None
    others = [
        send
        for send in sends
        if (send.episode_id, send.stage) != (s.episode.episode_id, s.episode.stage)
    ]
    zone = zone_of(s.view, otherwise=s.rules.timezone or UTC_MIDDAY)
    return hold_by_limits(s.rules.limits, others, s.moment.wall_ms, zone)


def _no_text(s: Situation) -> Decision | None:
    return s.wait(Reason.TEMPLATE_ERROR) if isinstance(s.message, TemplateProblem) else None


def _too_dear(s: Situation) -> Decision | None:
    return None if s.recipients else _undeliverable(s, Reason.MAX_PRICE)


def _over_budget(s: Situation) -> Decision | None:
    assert s.stage is not None
    channel = s.stage.channel
    budgets = [one for one in s.rules.limits.budgets if one.channel in (None, channel)]
    if not budgets:
        return None
    hold = hold_by_budget(
        budgets,
        s.moment.purse,
        s.spending,
        channel,
        sum(s.costs[endpoint.address or ""] for endpoint in s.recipients),
        s.moment.wall_ms,
    )
    return _on_hit(s, Reason.BUDGET, hold.on_exhausted, hold.until_ms) if hold else None


def _holdout(s: Situation) -> Decision | None:
    assert s.episode is not None
    held_out = s.episode.arm is Arm.HOLDOUT
    return s.decide(Action.ADVANCE, Reason.HOLDOUT) if held_out else None


def _shadow(s: Situation) -> Decision | None:
    if s.rule.mode is Mode.LIVE:
        return None
    return s.decide(Action.ADVANCE, Reason.WOULD_SEND)


def _too_fast(s: Situation) -> Decision | None:
    assert s.stage is not None
    wall_ms = s.moment.wall_ms
    free_ms = s.moment.pace.free_ms(
        s.stage.channel, len(s.recipients), wall_ms, had_slot=s.had_slot, beside=s.starting
    )
    return s.wait(Reason.RATE_WAIT, s.now_ms + free_ms - wall_ms) if free_ms > wall_ms else None


def _send(s: Situation) -> Decision | None:
    return s.decide(Action.SEND, Reason.CLAIMED)


STAGE: tuple[Check, ...] = (
    Check("the user has not come back", _returned),
    Check("match still fits the user", _match_lost),
    Check("the user still exists", _user_deleted),
    Check("the user has not opted out of everything", _stopped),
    Check("the rule is still enabled", _rule_ended),
    Check("there is a stage left", _ladder_done),
    Check("the rule still has that stage", _stage_gone),
    Check("no call is under way", _in_flight),
    Check("the stage has not been answered for", _answered),
    Check("the stage is due", _stage_not_due),
    Check("it was not held for too long", _held_too_long),
    Check("nobody has silenced, paused or stopped it", _silenced),
    Check("only_if fits the user", _not_for_this_user),
    Check("there is a live address on the channel", _no_live_address),
    Check("the provider takes messages on the channel", _channel_paused),
    Check("no call is to be repeated later", _backing_off),
    Check("quiet hours and legal windows are open", _quiet_hours),
    Check("the user's caps leave a slot", _capped),
    Check("the text can be written", _no_text),
    Check("it costs no more than max_price", _too_dear),
    Check("the budget has money left", _over_budget),
    Check("the user is not held out", _holdout),
    Check("the rule is live", _shadow),
    Check("the pace leaves room", _too_fast),
    Check("the stage is sent", _send),
)
