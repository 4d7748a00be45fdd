"""A user's life in memory: jumps from due time to due time and asks the ladder each time.

It is the smallest honest driver of `ladder.look`: it keeps what a look writes, answers deliveries
as told, and forgets nothing. Times in the tests are days since day 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.ladder import look_at
from worker.model import (
    DAY_MS,
    Channel,
    Claim,
    Decision,
    Delivery,
    Endpoint,
    Episode,
    Message,
    Outcome,
    PastSend,
    Pause,
    Sent,
    Silence,
    UserView,
)
from worker.moment import Moment
from worker.money import Purse
from worker.pace import Pace
from worker.retry import answered, settle
from worker.rules.limits import Limits
from worker.rules.ruleset import Mode, Rule, RuleSet, Stage, TemplateProblem, Variant
from worker.silences import standing

DAY_ZERO_MS = 1_793_448_000_000
"""2026-10-31T12:00:00Z."""


def day(number: float) -> int:
    """Milliseconds of a (fractional) day since day 0, noon UTC."""
    return DAY_ZERO_MS + round(number * DAY_MS)


@dataclass(frozen=True)
class Text:
    """A template that needs no values, or one that always lacks them."""

    body: str = "come back"
    broken: bool = False

    def render(self, context: Mapping[str, object]) -> Message:
        if self.broken:
            raise TemplateProblem("User.UserAttributes.name has no value")
        return Message(title="t", body=self.body)


def stage(name: str, after_days: float = 0, *, broken: bool = False, **changes: object) -> Stage:
    """A stage named after its channel; with changes."""
    values: dict[str, object] = {
        "name": name,
        "channel": Channel(name),
        "after_ms": round(after_days * DAY_MS),
        "variants": (Variant(name="", template=Text(broken=broken)),),
        **changes,
    }
    return Stage(**values)  # type: ignore[arg-type] # the changes are checked by the dataclass itself


LADDER = (stage("push"), stage("email", 2), stage("sms", 3))


def rule(name: str = "winback", **changes: object) -> Rule:
    """Push after 7 days, e-mail 2 later, SMS 3 later, live; with changes."""
    values: dict[str, object] = {
        "name": name,
        "revision": "r1",
        "mode": Mode.LIVE,
        "inactive_for_ms": 7 * DAY_MS,
        "stages": LADDER,
        **changes,
    }
    return Rule(**values)  # type: ignore[arg-type] # the changes are checked by the dataclass itself


def rule_set(*rules: Rule, limits: Limits | None = None) -> RuleSet:
    """A rule set of these rules."""
    return RuleSet(revision="s1", rules=rules or (rule(),), limits=limits or Limits())


PHONE = Endpoint(endpoint_id="e1", at_ms=0, channel_type="GCM", address="token-1", timezone="UTC")
MAIL = Endpoint(endpoint_id="e2", at_ms=0, channel_type="EMAIL", address="a@example.com")
SMS = Endpoint(endpoint_id="e3", at_ms=0, channel_type="SMS", address="+15550100")

Answer = Callable[[Delivery], Outcome]


def accept(delivery: Delivery) -> Outcome:
    """The provider takes everything."""
    return Sent(send_id=delivery.claim.send_id)


@dataclass
class Life:
    """One user under a rule set."""

    rules: RuleSet = field(default_factory=rule_set)
    endpoints: tuple[Endpoint, ...] = (PHONE, MAIL, SMS)
    answer: Answer = accept
    paused: dict[str, Pause] = field(default_factory=dict)
    last_active_ms: int | None = None
    due_ms: int | None = None
    episodes: dict[str, Episode] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    calls: list[tuple[float, str, str]] = field(default_factory=list)
    """(day, stage, address) of every provider call."""
    decisions: list[Decision] = field(default_factory=list)
    silences: tuple[Silence, ...] = ()
    purse: Purse = field(default_factory=Purse)
    pace: Pace = field(default_factory=Pace)
    user_id: str = "u1"
    texts: list[str] = field(default_factory=list)
    """The body of every call."""

    def active(self, at: float) -> None:
        """The user is here at that day; earlier due times are lived through first."""
        self.until(at)
        at_ms = day(at)
        self.last_active_ms = max(self.last_active_ms or at_ms, at_ms)
        rearm_ms = self.last_active_ms + (self.rules.rearm_after_ms or 0)
        self.due_ms = rearm_ms if self.due_ms is None else min(self.due_ms, rearm_ms)

    def late_activity(self, happened: float, arrived: float) -> None:
        """An old event arrives: the user had been here after all."""
        self.until(arrived)
        self.last_active_ms = max(self.last_active_ms or 0, day(happened))
        self.due_ms = day(arrived)

    def changed(self, at: float, *endpoints: Endpoint) -> None:
        """The address book changes at that day, which makes the user due."""
        self.until(at)
        self.endpoints = endpoints
        self.due_ms = day(at)

    def until(self, at: float) -> list[tuple[float, str]]:
        """Lives through every due time up to that day; returns (day, stage) of the calls so far."""
        for _ in range(1_000):
            if self.due_ms is None or self.due_ms > day(at):
                return [(number, name) for number, name, _ in self.calls]
            self._look(self.due_ms)
        raise AssertionError("the ladder does not come to rest")

    def view(self) -> UserView:
        """The user as a store would show it."""
        sends: dict[tuple[str, str], PastSend] = {}
        for claim in self.claims.values():
            if claim.may_have_gone_out:
                sends[claim.episode_id, claim.stage] = PastSend(
                    at_ms=claim.claimed_ms,
                    rule=claim.rule,
                    stage=claim.stage,
                    episode_id=claim.episode_id,
                    channel=claim.channel,
                )
        return UserView(
            user_id=self.user_id,
            last_active_ms=self.last_active_ms,
            endpoints=self.endpoints,
            episodes=tuple(self.episodes.values()),
            claims=tuple(self.claims.values()),
            sends=tuple(sends.values()),
        )

    def reasons(self) -> list[str]:
        """The reasons of all decisions that were not a mere wait for a due time."""
        return [d.reason for d in self.decisions if d.reason != "not_yet_due"]

    def _look(self, now_ms: int) -> None:
        moment = Moment(
            now_ms=now_ms,
            wall_ms=now_ms,
            paused=self.paused,
            silences=standing(self.silences),
            purse=self.purse,
            pace=self.pace,
        )
        result = look_at(self.view(), self.rules, moment)
        moment.puts_off(result)
        moment.sends(result.deliveries)
        self.decisions += result.decisions
        self.due_ms = result.due_ms
        assert result.due_ms is None or result.due_ms > now_ms, "a look must not ask for itself"
        for episode in result.episodes:
            self.episodes[episode.episode_id] = episode
        for delivery in result.deliveries:
            self._call(delivery, now_ms)

    def _call(self, delivery: Delivery, now_ms: int) -> None:
        before = self.claims.get(delivery.claim.send_id)
        assert before is None or before.state == "retry", "an address is called once"
        number = round((now_ms - DAY_ZERO_MS) / DAY_MS, 4)
        self.calls.append((number, delivery.claim.stage, delivery.address))
        self.texts.append(delivery.message.body)
        settled = settle(self.answer(delivery), delivery.claim, now_ms)
        self.claims[delivery.claim.send_id] = answered(delivery.claim, settled)
        self.due_ms = now_ms
