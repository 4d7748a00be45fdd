"""The guards of the ladder: two tables that answer any situation with one decision. Pure.

    no open episode:  ENTRY guards   -> WAIT or OPEN
    open episode:     STAGE guards   -> WAIT, SEND, ADVANCE, SKIP or CLOSE

The first guard that has something to say decides, and gives the one reason. The order is also the
order in which `comeback explain` tells why a user is not sent anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from worker.caps import hold_by_limits
from worker.model import (
    Action,
    ClaimState,
    Decision,
    EpisodeOutcome,
    Reason,
    address_hash_of,
)
from worker.quiet import hold_until, zone_of
from worker.rules.ruleset import ExitOn, Mode, TemplateProblem
from worker.situation import HOLD_MAX_MS, Situation, undeliverable

Guard: TypeAlias = Callable[[Situation], Decision | None]
"""None: nothing to say, ask the next one."""


# --- no open episode ---------------------------------------------------------------------------


def _never_active(s: Situation) -> Decision | None:
    return s.wait(Reason.NEVER_ACTIVE) if s.view.last_active_ms is None else None


def _not_inactive_yet(s: Situation) -> Decision | None:
    due_ms = s.last_active_ms + s.rule.inactive_for_ms
    return s.wait(Reason.NOT_YET_DUE, due_ms) if due_ms > s.now_ms else None


def _already_tried(s: Situation) -> Decision | None:
    tried = s.previous is not None and s.previous.silence_since_ms == s.last_active_ms
    return s.wait(Reason.ONCE_PER_SILENCE) if tried else None


def _too_long_gone(s: Situation) -> Decision | None:
    if s.rule.max_inactive_ms is None:
        return None
    gone = s.now_ms - s.last_active_ms > s.rule.max_inactive_ms
    return s.wait(Reason.MAX_INACTIVE) if gone else None


def _cooling_down(s: Situation) -> Decision | None:
    if s.previous is None:
        return None
    assert s.previous.closed_ms is not None
    until_ms = s.previous.closed_ms + s.rule.cooldown_ms
    return s.wait(Reason.COOLDOWN, until_ms) if until_ms > s.now_ms else None


def _not_matched(s: Situation) -> Decision | None:
    return None if s.matched else s.wait(Reason.NOT_MATCHED)


def _nobody_to_reach(s: Situation) -> Decision | None:
    if ExitOn.OPT_OUT_ALL in s.rule.exit_on and s.all_opted_out:
        return s.wait(Reason.ALL_OPTED_OUT)
    return None


def _open(s: Situation) -> Decision | None:
    return s.decide(Action.OPEN, Reason.INACTIVE)


ENTRY: tuple[Guard, ...] = (
    _never_active,
    _not_inactive_yet,
    _already_tried,
    _too_long_gone,
    _cooling_down,
    _not_matched,
    _nobody_to_reach,
    _open,
)


# --- an open episode ---------------------------------------------------------------------------


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


def _ladder_done(s: Situation) -> Decision | None:
    assert s.episode is not None
    if s.episode.stage is not None:
        return None
    reason = Reason.LADDER_DONE if s.episode.last_stage else Reason.UNDELIVERABLE
    return s.decide(Action.CLOSE, reason, outcome=EpisodeOutcome.EXHAUSTED)


def _stage_gone(s: Situation) -> Decision | None:
    if s.stage is not None:
        return None
    return s.decide(Action.CLOSE, Reason.RULE_CHANGED, outcome=EpisodeOutcome.CANCELLED)


def _in_flight(s: Situation) -> Decision | None:
    flying = any(claim.state is ClaimState.CLAIMED for claim in s.claims)
    return s.wait(Reason.IN_FLIGHT) if flying else None


def _answered(s: Situation) -> Decision | None:
    """Every address of the stage has its last answer. One that only waits for a paused channel type
    does not hold up a user who was reached elsewhere."""
    states = {claim.state for claim in s.claims}
    if not states - {ClaimState.RETRY}:
        return None
    reached = states & {ClaimState.SENT, ClaimState.UNCERTAIN}
    if s.open_targets or (s.targets and not reached):
        return None
    if ClaimState.SENT in states:
        return s.decide(Action.ADVANCE, Reason.SENT)
    if ClaimState.UNCERTAIN in states:
        return s.decide(Action.ADVANCE, Reason.UNCERTAIN)
    tired = any(claim.reason == Reason.ATTEMPTS_EXHAUSTED for claim in s.claims)
    return s.decide(Action.SKIP, Reason.ATTEMPTS_EXHAUSTED if tired else Reason.PERMANENT_FAILURE)


def _stage_not_due(s: Situation) -> Decision | None:
    assert s.episode is not None
    due_ms = s.episode.stage_due_ms
    return s.wait(Reason.NOT_YET_DUE, due_ms) if due_ms > s.now_ms else None


def _held_too_long(s: Situation) -> Decision | None:
    assert s.episode is not None
    if s.episode.hold is None or s.episode.held_ms is None:
        return None
    if s.now_ms < s.episode.held_ms + HOLD_MAX_MS:
        return None
    return s.decide(Action.CLOSE, s.episode.hold, outcome=EpisodeOutcome.EXPIRED)


def _no_live_address(s: Situation) -> Decision | None:
    if s.targets:
        return None
    assert s.stage is not None
    reasons = [undeliverable(e) for e in s.view.endpoints if e.channel is s.stage.channel]
    known = [reason for reason in reasons if reason not in (None, Reason.NO_ADDRESS)]
    return s.decide(Action.SKIP, known[-1] if known and known[-1] else Reason.NO_ADDRESS)


def _channel_paused(s: Situation) -> Decision | None:
    if s.open_targets:
        return None
    pauses = [pause for endpoint in s.targets if (pause := s.pause_of(endpoint))]
    first = min(pauses, key=lambda pause: pause.until_ms)
    return s.wait(first.reason, first.until_ms)


def _backing_off(s: Situation) -> Decision | None:
    hashes = {address_hash_of(endpoint.address or "") for endpoint in s.open_targets}
    waiting = [
        claim
        for claim in s.claims
        if claim.address_hash in hashes and (claim.retry_ms or 0) > s.now_ms
    ]
    if not waiting:
        return None
    latest = max(waiting, key=lambda claim: claim.retry_ms or 0)
    return s.wait(Reason(latest.reason or Reason.PROVIDER_THROTTLED), latest.retry_ms)


def _quiet_hours(s: Situation) -> Decision | None:
    assert s.stage is not None
    wall_ms = max(s.now_ms, s.wall_ms)
    until_ms = hold_until(s.view, s.stage.channel, wall_ms, s.rules.quiet_hours)
    return None if until_ms is None else s.wait(Reason.QUIET_HOURS, until_ms)


def _capped(s: Situation) -> Decision | None:
    assert s.episode is not None
    others = [
        send
        for send in s.sends
        if (send.episode_id, send.stage) != (s.episode.episode_id, s.episode.stage)
    ]
    hold = hold_by_limits(s.rules.limits, others, s.now_ms, zone_of(s.view))
    return s.wait(*hold) if hold else None


def _no_text(s: Situation) -> Decision | None:
    return s.wait(Reason.TEMPLATE_ERROR) if isinstance(s.message, TemplateProblem) else None


def _shadow(s: Situation) -> Decision | None:
    if s.rule.mode is Mode.LIVE:
        return None
    return s.decide(Action.ADVANCE, Reason.WOULD_SEND)


def _send(s: Situation) -> Decision | None:
    return s.decide(Action.SEND, Reason.CLAIMED)


STAGE: tuple[Guard, ...] = (
    _returned,
    _match_lost,
    _stopped,
    _ladder_done,
    _stage_gone,
    _in_flight,
    _answered,
    _stage_not_due,
    _held_too_long,
    _no_live_address,
    _channel_paused,
    _backing_off,
    _quiet_hours,
    _capped,
    _no_text,
    _shadow,
    _send,
)


def step(situation: Situation) -> Decision:
    """The one decision about a situation: the first guard that has something to say."""
    for guard in ENTRY if situation.episode is None else STAGE:
        decision = guard(situation)
        if decision is not None:
            return decision
    raise AssertionError("the last guard of each table always decides")
