"""What one step of the ladder may look at: one user, one rule, one instant. Pure.

The facts a guard asks for (does the rule match, who can be reached, what is the text) are worked
out when first asked for, once per situation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from worker.model import (
    DAY_MS,
    Action,
    Channel,
    Claim,
    ClaimState,
    Decision,
    Endpoint,
    Episode,
    EpisodeOutcome,
    Message,
    PastSend,
    Pause,
    Reason,
    UserView,
    address_hash_of,
)
from worker.rules.facts import match_facts, render_context
from worker.rules.ruleset import Rule, RuleSet, Stage, TemplateProblem

HOLD_MAX_MS = 30 * DAY_MS
"""A due stage that could not go out for this long closes its episode as `expired`."""

HOLDS = frozenset(
    {
        Reason.QUIET_HOURS,
        Reason.CAP,
        Reason.MIN_GAP,
        Reason.PROVIDER_THROTTLED,
        Reason.TEMPORARY_FAILURE,
        Reason.CHANNEL_PAUSED,
        Reason.TEMPLATE_ERROR,
    }
)
"""Reasons for which a due stage waits."""


def undeliverable(endpoint: Endpoint) -> Reason | None:
    """Why nothing may be sent to an endpoint (P5); None when it is live."""
    if not endpoint.address:
        return Reason.NO_ADDRESS
    if endpoint.channel is Channel.SMS and not endpoint.address.startswith("+"):
        return Reason.INVALID_ADDRESS
    if endpoint.opted_out:
        return Reason.OPTED_OUT
    if endpoint.active is False:
        return Reason.INACTIVE_ADDRESS
    if endpoint.suppressed is not None:
        return Reason.SUPPRESSED
    return None


@dataclass(frozen=True, kw_only=True)
class Situation:
    """Everything one step may look at."""

    view: UserView
    rules: RuleSet
    rule: Rule
    now_ms: int
    """The present of the stream, by which stages fall due (P4)."""
    wall_ms: int
    """The present of the world, by which it is night (P6)."""
    episode: Episode | None
    sends: tuple[PastSend, ...]
    paused: Mapping[str, Pause]
    """By channel type."""

    @property
    def last_active_ms(self) -> int:
        """When the user was last here; asked only once a guard has seen that it is known."""
        assert self.view.last_active_ms is not None
        return self.view.last_active_ms

    @cached_property
    def previous(self) -> Episode | None:
        """The latest closed episode of this user under this rule."""
        closed = [
            episode
            for episode in self.view.episodes
            if episode.rule == self.rule.name and episode.closed_ms is not None
        ]
        return max(
            closed, key=lambda episode: (episode.silence_since_ms, episode.opened_ms), default=None
        )

    @cached_property
    def matched(self) -> bool:
        """Do the rule's matchers fit the user?"""
        facts = match_facts(self.view)
        return all(matcher.matches(facts) for matcher in self.rule.matchers)

    @cached_property
    def all_opted_out(self) -> bool:
        """Has the user opted out on every address the ladder could use?"""
        channels = {stage.channel for stage in self.rule.stages}
        reachable = [e for e in self.view.endpoints if e.channel in channels and e.address]
        return bool(reachable) and all(e.opted_out or e.suppressed for e in reachable)

    @cached_property
    def stage(self) -> Stage | None:
        """The stage the open episode stands before."""
        if self.episode is None or self.episode.stage is None:
            return None
        return self.rule.stage_named(self.episode.stage)

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The claims already made for that stage of that episode."""
        assert self.episode is not None
        return tuple(
            claim
            for claim in self.view.claims
            if claim.episode_id == self.episode.episode_id and claim.stage == self.episode.stage
        )

    @cached_property
    def targets(self) -> tuple[Endpoint, ...]:
        """The endpoints this stage would go to: live, one per address, and not yet answered for.

        Once a stage has claims it goes only to addresses whose claim may be retried: an address
        that appears later belongs to the next stage.
        """
        assert self.stage is not None
        retry = {claim.address_hash for claim in self.claims if claim.state is ClaimState.RETRY}
        chosen: dict[str, Endpoint] = {}
        for endpoint in self.view.endpoints:
            if endpoint.channel is not self.stage.channel or undeliverable(endpoint):
                continue
            assert endpoint.address is not None
            if not self.claims or address_hash_of(endpoint.address) in retry:
                chosen[endpoint.address] = endpoint
        return tuple(chosen.values())

    @cached_property
    def open_targets(self) -> tuple[Endpoint, ...]:
        """The targets whose channel type is not paused."""
        return tuple(endpoint for endpoint in self.targets if not self.pause_of(endpoint))

    def pause_of(self, endpoint: Endpoint) -> Pause | None:
        """The pause its channel type is in."""
        pause = self.paused.get(endpoint.channel_type or "")
        return pause if pause is not None and pause.until_ms > self.now_ms else None

    @cached_property
    def message(self) -> Message | TemplateProblem:
        """The stage's text for this user, or why there is none."""
        assert self.stage is not None
        try:
            return self.stage.template.render(render_context(self.view))
        except TemplateProblem as problem:
            return problem

    def decide(
        self,
        action: Action,
        reason: Reason,
        *,
        until_ms: int | None = None,
        outcome: EpisodeOutcome | None = None,
    ) -> Decision:
        """A decision about this situation. Everything but waiting is notable, and so is the first
        time a due stage is held for a reason."""
        episode = self.episode
        begins_hold = episode is not None and reason in HOLDS and episode.hold is not reason
        return Decision(
            rule=self.rule.name,
            action=action,
            reason=reason,
            at_ms=self.now_ms,
            stage=episode.stage if episode else None,
            episode_id=episode.episode_id if episode else None,
            until_ms=until_ms,
            outcome=outcome,
            notable=action is not Action.WAIT or begins_hold,
        )

    def wait(self, reason: Reason, until_ms: int | None = None) -> Decision:
        """Nothing now; look again at `until_ms`, or when something about the user changes. A held
        stage is looked at again at the latest when its hold has lasted too long."""
        if self.episode is not None and reason in HOLDS:
            held_ms = self.now_ms if self.episode.held_ms is None else self.episode.held_ms
            expires_ms = held_ms + HOLD_MAX_MS
            until_ms = expires_ms if until_ms is None else min(until_ms, expires_ms)
        return self.decide(Action.WAIT, reason, until_ms=until_ms)
