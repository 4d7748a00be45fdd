"""What one step of the ladder may look at: one user, one rule, one instant. Pure.

The facts a guard asks for (does the rule match, who can be reached, what is the text) are worked
out when first asked for, once per situation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from worker.drafts import quick
from worker.holds import HOLD_MAX_MS, HOLDS
from worker.lazily import lazy
from worker.lifetimes import ttl_until
from worker.model import (
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
from worker.moment import Moment
from worker.quiet import Hours, closes_in, hours_of
from worker.receipts import did_not_arrive
from worker.rules.facts import LazyContext, match_facts
from worker.rules.messages import decorated
from worker.rules.ruleset import (
    OnFailed,
    OnUncertain,
    OnUndeliverable,
    Rule,
    RuleSet,
    Stage,
    TemplateProblem,
    Variant,
)
from worker.rules.sms import parts
from worker.rules.zones import country_of_phone
from worker.shares import variant_for

DOLLAR = "USD"

_new_decision = quick(Decision)

_OF_THE_USER = ("matched", "all_opted_out", "deleted", "previous")
"""What is the same in every step of a look under one rule."""

_GIVEN = ("view", "rules", "rule", "moment", "sends", "spending", "starting")
_KEPT = (*_GIVEN, *_OF_THE_USER)
_blank = object.__new__


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
    """The rule with the ladder the open episode goes on with."""
    moment: Moment
    episode: Episode | None
    sends: tuple[PastSend, ...]
    """The user's past sends, and those of this look."""
    spending: Mapping[Channel, int]
    """What this look is about to spend, in millionths of the currency."""
    starting: Mapping[Channel, int]
    """How many sends this look is about to start."""

    def before(self, episode: Episode | None) -> Situation:
        """The same, with the episode as a step left it."""
        following = _blank(Situation)
        known, facts = self.__dict__, following.__dict__
        for name in _KEPT:
            if name in known:
                facts[name] = known[name]
        facts["episode"] = episode
        return following

    @property
    def now_ms(self) -> int:
        """The present of the stream."""
        return self.moment.now_ms

    @property
    def last_active_ms(self) -> int:
        """When the user was last here; asked only once a guard has seen that it is known."""
        assert self.view.last_active_ms is not None
        return self.view.last_active_ms

    @lazy
    def previous(self) -> Episode | None:
        """The latest closed episode of this user under this rule."""
        if not self.view.episodes:
            return None
        closed = [
            episode
            for episode in self.view.episodes
            if episode.rule == self.rule.name and episode.closed_ms is not None
        ]
        return max(
            closed, key=lambda episode: (episode.silence_since_ms, episode.opened_ms), default=None
        )

    @lazy
    def matched(self) -> bool:
        """Do the rule's matchers fit the user?"""
        if not self.rule.matchers:
            return True
        facts = match_facts(self.view)
        return all(matcher.matches(facts) for matcher in self.rule.matchers)

    @lazy
    def all_opted_out(self) -> bool:
        """Has the user opted out on every address the ladder could use?"""
        channels = {stage.channel for stage in self.rule.stages}
        reachable = [e for e in self.view.endpoints if e.address and e.channel in channels]
        return bool(reachable) and all(e.opted_out or e.suppressed for e in reachable)

    @lazy
    def deleted(self) -> bool:
        """Is every endpoint of the user inactive?"""
        endpoints = self.view.endpoints
        return bool(endpoints) and all(endpoint.active is False for endpoint in endpoints)

    @lazy
    def stage(self) -> Stage | None:
        """The stage the open episode stands before."""
        if self.episode is None or self.episode.stage is None:
            return None
        return self.rule.stage_named(self.episode.stage)

    @lazy
    def claims(self) -> tuple[Claim, ...]:
        """The claims already made for that stage of that episode."""
        assert self.episode is not None
        if not self.view.claims:
            return ()
        return tuple(
            claim
            for claim in self.view.claims
            if claim.episode_id == self.episode.episode_id and claim.stage == self.episode.stage
        )

    @lazy
    def stage_facts(self) -> Mapping[str, Sequence[str]]:
        """What matchers of `only_if` and of legal texts see."""
        assert self.stage is not None
        return match_facts(self.view, self.stage.channel)

    @lazy
    def silence_facts(self) -> Mapping[str, Sequence[str]]:
        """What matchers of silences see: the same, and which rule and stage it is."""
        assert self.stage is not None
        own = {"rule": self.rule.name, "stage": self.stage.name}
        return match_facts(self.view, self.stage.channel, own)

    def result_of(self, claim: Claim) -> ClaimState:
        """What the ladder takes a claim of this stage for. One that may have gone out is no less
        than uncertain, unless the stage says that it is to be repeated."""
        assert self.stage is not None
        again = claim.state is ClaimState.RETRY and self.stage.on_uncertain is OnUncertain.RESEND
        unsent = claim.state in (ClaimState.RETRY, ClaimState.REJECTED)
        return ClaimState.UNCERTAIN if claim.maybe_sent and unsent and not again else claim.state

    @lazy
    def went_out(self) -> Reason | None:
        """SENT or UNCERTAIN when the stage went out, or may have, to one address at least."""
        results = {self.result_of(claim) for claim in self.claims}
        if ClaimState.SENT in results:
            return Reason.SENT
        return Reason.UNCERTAIN if any(c.may_have_gone_out for c in self.claims) else None

    @lazy
    def is_early(self) -> bool:
        """Is the stage due before its time, because the one before it did not arrive? Only for as
        long as the episode stands before the very next one."""
        assert self.episode is not None
        if self.episode.last_stage is None:
            return False
        before = self.rule.stage_named(self.episode.last_stage)
        if before is None or before.on_failed is not OnFailed.NEXT_STAGE:
            return False
        following = self.rule.stage_after(before.name)
        if following is None or following.name != self.episode.stage:
            return False
        claims = [
            claim
            for claim in self.view.claims
            if claim.episode_id == self.episode.episode_id and claim.stage == before.name
        ]
        return did_not_arrive(claims, before.soft_bounces or 1)

    @lazy
    def targets(self) -> tuple[Endpoint, ...]:
        """The endpoints this stage would go to: live, one per address, and not yet answered for.

        Once a stage has claims it goes only to addresses whose claim may be retried: an address
        that appears later belongs to the next stage. (It is welcome to a stage that waits for one.)
        """
        assert self.stage is not None
        states = {claim.address_hash: self.result_of(claim) for claim in self.claims}
        waits = self.stage.on_undeliverable is OnUndeliverable.WAIT
        is_open = not states or (waits and set(states.values()) == {ClaimState.REJECTED})
        chosen: dict[str, Endpoint] = {}
        for endpoint in self.view.endpoints:
            if endpoint.channel is not self.stage.channel or undeliverable(endpoint):
                continue
            assert endpoint.address is not None
            state = states.get(address_hash_of(endpoint.address)) if states else None
            if state is ClaimState.RETRY or (state is None and is_open):
                chosen[endpoint.address] = endpoint
        return tuple(chosen.values())

    @lazy
    def open_targets(self) -> tuple[Endpoint, ...]:
        """The targets whose channel type is not paused."""
        return tuple(endpoint for endpoint in self.targets if not self.pause_of(endpoint))

    @property
    def had_slot(self) -> bool:
        """Did the stage wait for the pace before?"""
        return self.episode is not None and self.episode.hold is Reason.RATE_WAIT

    def pause_of(self, endpoint: Endpoint) -> Pause | None:
        """The pause its channel type is in."""
        pause = self.moment.paused.get(endpoint.channel_type or "")
        return pause if pause is not None and pause.until_ms > self.now_ms else None

    @lazy
    def variant(self) -> Variant:
        """Which text of the stage the user gets; a retry keeps the text of the first call."""
        assert self.stage is not None
        if len(self.stage.variants) == 1:
            return self.stage.variants[0]
        known = {variant.name: variant for variant in self.stage.variants}
        forced = self.view.variants.get(self.stage.name)
        before = self.claims[0].variant if self.claims else forced
        if before in known:
            return known[before]
        salt = f"{self.rule.name}/{self.stage.name}"
        return variant_for(self.stage.variants, salt, self.view.user_id)

    @lazy
    def message(self) -> Message | TemplateProblem:
        """The stage's text for this user with what the law wants around it, or why there is
        none."""
        assert self.stage is not None
        legal = [
            text
            for text in self.rules.legal_texts
            if all(matcher.matches(self.stage_facts) for matcher in text.matchers)
        ]
        try:
            message = self.variant.template.render(LazyContext(self.view))
            return decorated(message, self.stage.channel, legal) if legal else message
        except TemplateProblem as problem:
            return problem

    @lazy
    def hours(self) -> Hours | None:
        """The windows that hold for the stage, with where the user may be; None: none does."""
        assert self.stage is not None
        return hours_of(
            self.view, self.stage.channel, self.rules.quiet_hours, timezone=self.rules.timezone
        )

    @lazy
    def closes_ms(self) -> int | None:
        """When quiet hours begin for the stage that may go out now, by the wall clock; None: not
        for a week."""
        return closes_in(self.hours, self.moment.wall_ms) if self.hours else None

    @property
    def ttl_ms(self) -> int | None:
        """How long the provider may try."""
        assert self.stage is not None
        return ttl_until(self.closes_ms, self.moment.wall_ms, most_ms=self.stage.ttl_ms)

    @property
    def max_price_micros(self) -> int | None:
        """What the provider may charge, in millionths of a US dollar, in which alone it can be
        told."""
        assert self.stage is not None
        told = self.rules.prices.currency == DOLLAR
        return self.stage.max_price_micros if told else None

    @lazy
    def costs(self) -> Mapping[str, int]:
        """What a send to each open target is expected to cost, by address."""
        assert self.stage is not None
        channel, prices = self.stage.channel, self.rules.prices
        if channel not in prices.otherwise:
            return {endpoint.address or "": 0 for endpoint in self.open_targets}
        is_sms = channel is Channel.SMS and isinstance(self.message, Message)
        times = parts(self.message.body) if is_sms and isinstance(self.message, Message) else 1
        return {
            endpoint.address or "": times * prices.micros(channel, _country_of(endpoint))
            for endpoint in self.open_targets
        }

    @lazy
    def recipients(self) -> tuple[Endpoint, ...]:
        """The open targets that are not too dear for the stage."""
        assert self.stage is not None
        most = self.stage.max_price_micros
        if most is None:
            return self.open_targets
        return tuple(e for e in self.open_targets if self.costs[e.address or ""] <= most)

    def decide(
        self,
        action: Action,
        reason: Reason,
        *,
        until_ms: int | None = None,
        outcome: EpisodeOutcome | None = None,
        at_once: bool = False,
    ) -> Decision:
        """A decision about this situation. Everything but waiting is notable, and so is the first
        time a due stage is held for a reason, other than for some seconds of pace."""
        episode = self.episode
        begins_hold = (
            episode is not None
            and reason in HOLDS
            and episode.hold is not reason
            and reason is not Reason.RATE_WAIT
        )
        return _new_decision(
            rule=self.rule.name,
            action=action,
            reason=reason,
            at_ms=self.now_ms,
            stage=episode.stage if episode else None,
            episode_id=episode.episode_id if episode else None,
            until_ms=until_ms,
            outcome=outcome,
            at_once=at_once,
            notable=action is not Action.WAIT or begins_hold,
        )

    def wait(self, reason: Reason, until_ms: int | None = None) -> Decision:
        """Nothing now; look again at `until_ms`, or when something about the user changes. A held
        stage is looked at again at the latest when its hold has lasted too long."""
        if self.episode is not None and self.rule.enabled_until_ms is not None:
            end_ms = max(self.rule.enabled_until_ms, self.now_ms + 1)
            until_ms = end_ms if until_ms is None else min(until_ms, end_ms)
        if self.episode is not None and reason in HOLDS:
            held_ms = self.now_ms if self.episode.held_ms is None else self.episode.held_ms
            expires_ms = held_ms + HOLD_MAX_MS
            until_ms = expires_ms if until_ms is None else min(until_ms, expires_ms)
        return self.decide(Action.WAIT, reason, until_ms=until_ms)


def _country_of(endpoint: Endpoint) -> str | None:
    """Where a send to the endpoint is charged: an SMS by its number, else by what the app says."""
    by_number = (
        country_of_phone(endpoint.address or "") if endpoint.channel is Channel.SMS else None
    )
    return by_number or endpoint.country


Guard: TypeAlias = Callable[[Situation], Decision | None]
"""None: nothing to say, ask the next one."""


class Check(NamedTuple):
    """A guard, and what has to hold for it to have nothing to say."""

    holds: str
    guard: Guard
