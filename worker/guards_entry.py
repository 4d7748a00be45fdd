"""Whether a ladder begins: the guards for a user who is on none under a rule. Pure."""

from __future__ import annotations

from worker.model import (
    Action,
    Decision,
    Reason,
)
from worker.rules.ruleset import ExitOn
from worker.shares import is_in
from worker.situation import Check, Situation


def _never_active(s: Situation) -> Decision | None:
    return s.wait(Reason.NEVER_ACTIVE) if s.view.last_active_ms is None else None


def _not_inactive_yet(s: Situation) -> Decision | None:
    due_ms = s.last_active_ms + s.rule.inactive_for_ms
    return s.wait(Reason.NOT_YET_DUE, due_ms) if due_ms > s.now_ms else None


def _already_tried(s: Situation) -> Decision | None:
    tried = s.previous is not None and s.previous.silence_since_ms == s.last_active_ms
    return s.wait(Reason.ONCE_PER_SILENCE) if tried else None


def _may_have_been_tried(s: Situation) -> Decision | None:
    """The ladder would have begun in a time the state knows nothing of (P1)."""
    until_ms = s.view.restored.get(s.rule.name)
    if until_ms is None or s.last_active_ms + s.rule.inactive_for_ms > until_ms:
        return None
    return s.wait(Reason.RESTORED)


def _too_long_gone(s: Situation) -> Decision | None:
    if s.rule.max_inactive_ms is None:
        return None
    gone = s.now_ms - s.last_active_ms > s.rule.max_inactive_ms
    return s.wait(Reason.MAX_INACTIVE) if gone else None


def _cooling_down(s: Situation) -> Decision | None:
    if s.previous is None:
        return None
    assert s.previous.closed_ms is not None
    ended_ms = max(s.previous.closed_ms, s.view.ended.get(s.rule.name, 0))
    until_ms = ended_ms + s.rule.cooldown_ms
    return s.wait(Reason.COOLDOWN, until_ms) if until_ms > s.now_ms else None


def _not_enabled(s: Situation) -> Decision | None:
    begin_ms, end_ms = s.rule.enabled_from_ms, s.rule.enabled_until_ms
    if begin_ms is not None and s.now_ms < begin_ms:
        return s.wait(Reason.NOT_ENABLED, begin_ms)
    over = end_ms is not None and s.now_ms >= end_ms
    return s.wait(Reason.NOT_ENABLED) if over else None


def _not_matched(s: Situation) -> Decision | None:
    return None if s.matched else s.wait(Reason.NOT_MATCHED)


def _not_in_rollout(s: Situation) -> Decision | None:
    share = s.rule.rollout
    left_out = share is not None and not is_in(share, s.view.user_id)
    return s.wait(Reason.NOT_IN_ROLLOUT) if left_out else None


def _nobody_to_reach(s: Situation) -> Decision | None:
    if ExitOn.USER_DELETED in s.rule.exit_on and s.deleted:
        return s.wait(Reason.USER_DELETED)
    if ExitOn.OPT_OUT_ALL in s.rule.exit_on and s.all_opted_out:
        return s.wait(Reason.ALL_OPTED_OUT)
    return None


def _open(s: Situation) -> Decision | None:
    return s.decide(Action.OPEN, Reason.INACTIVE)


ENTRY: tuple[Check, ...] = (
    Check("the user was ever active", _never_active),
    Check("silent for inactive_for", _not_inactive_yet),
    Check("no ladder yet in this silence", _already_tried),
    Check("no ladder that a restored state forgot", _may_have_been_tried),
    Check("silent for no longer than max_inactive", _too_long_gone),
    Check("cooldown is over", _cooling_down),
    Check("the rule is enabled", _not_enabled),
    Check("match fits the user", _not_matched),
    Check("the user is in the rollout", _not_in_rollout),
    Check("somebody can be reached", _nobody_to_reach),
    Check("the ladder begins", _open),
)
