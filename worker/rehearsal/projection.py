"""One user's future under a rule set, if nobody comes back and nothing else happens. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.model import (
    DAY_MS,
    Action,
    ClaimState,
    Decision,
    Reason,
    Silence,
    Spend,
    UserView,
)
from worker.rehearsal.memory import Memory
from worker.rehearsal.play import Observer, Play
from worker.rehearsal.upkeep import load
from worker.rules.ruleset import RuleSet

HORIZON_MS = 400 * DAY_MS
"""How far a user is played; longer than any ladder people write."""
STEPS_TOLD_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What will happen, in the order of time, and the user as it leaves them."""

    steps: tuple[Decision, ...]
    """Without the calls themselves: a stage that goes out is one ADVANCE. At most
    `STEPS_TOLD_MAX`."""
    view: UserView
    spends: tuple[Spend, ...]


def project(
    rules: RuleSet,
    view: UserView,
    *,
    now_ms: int,
    until_ms: int | None = None,
    spends: Sequence[Spend] = (),
    silences: Sequence[Silence] = (),
) -> Projection:
    """Plays the user from `now_ms` through `until_ms` (None: as far as anything can happen, at most
    `HORIZON_MS`). Calls under way, and those to come, are taken for accepted."""
    noted = _Noted()
    memory = Memory()
    load(memory, settled(view), due_ms=None)
    play = Play(rules, memory, observer=noted, start_ms=now_ms, spends=spends, silences=silences)
    end_ms = now_ms + HORIZON_MS if until_ms is None else until_ms
    play.until(end_ms)
    return Projection(
        steps=tuple(noted.steps),
        view=memory.view(memory.people[view.user_id], end_ms),
        spends=tuple(memory.spends(now_ms)) + tuple(spends),
    )


def settled(view: UserView) -> UserView:
    """The user with the calls under way answered: nobody else will, in a rehearsal."""
    if all(claim.state is not ClaimState.CLAIMED for claim in view.claims):
        return view
    claims = tuple(
        replace(claim, state=ClaimState.SENT) if claim.state is ClaimState.CLAIMED else claim
        for claim in view.claims
    )
    return replace(view, claims=claims)


class _Noted(Observer):
    """Keeps what moves a ladder, and when it begins to wait for something other than its time."""

    def __init__(self) -> None:
        self.steps: list[Decision] = []

    def decided(self, user_id: str, decision: Decision) -> None:  # noqa: ARG002 there is but one
        told = decision.notable and decision.action is not Action.SEND
        if told and decision.reason is not Reason.RATE_WAIT and len(self.steps) < STEPS_TOLD_MAX:
            self.steps.append(decision)
