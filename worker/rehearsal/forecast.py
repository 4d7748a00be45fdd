"""What a rule set would do to the users of a state in the next days, if nobody came back. Pure.

The users are played forward (`play.py`) with their caps, quiet hours and budgets. `comeback plan`
does it for the rule set in force and for another one, over the same users, and compares.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import NamedTuple

from worker.model import (
    DAY_MS,
    Action,
    Channel,
    Decision,
    Delivery,
    Outcome,
    Reason,
    Silence,
    Spend,
    UserView,
)
from worker.rehearsal.memory import Memory
from worker.rehearsal.play import Observer, Play
from worker.rehearsal.projection import settled
from worker.rehearsal.upkeep import load
from worker.rules.limits import Limits
from worker.rules.ruleset import RuleSet

STEPS = 50
"""Into how many parts the days are cut, to say in between how far it is."""

Progress = Callable[[int], None]
"""Told how many of `STEPS` are done."""


class OnStage(NamedTuple):
    """A stage of a rule; `stage` None: the ladder is done, or has no stage of that name."""

    rule: str
    stage: str | None


class OnDay(NamedTuple):
    """A day of UTC, counted from the epoch, and a channel."""

    day: int
    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a user stands on a ladder."""

    stage: str | None
    revision: str
    """Of the ladder the user goes on with."""


@dataclass(slots=True, kw_only=True)
class Forecast:
    """What came of it; every number counts users played, not users of the state."""

    standing: dict[tuple[str, str], Standing] = field(default_factory=dict)
    """(user, rule) to where the user is on the ladder once the rule set is in force."""
    left: dict[tuple[str, str], Reason] = field(default_factory=dict)
    """(user, rule) to why the ladder, begun before, ends as soon as the rule set is in force."""
    entered: dict[tuple[str, str], int] = field(default_factory=dict)
    """(user, rule) to when the user begins the ladder."""
    sends: Counter[OnStage] = field(default_factory=Counter)
    """Calls, one an address."""
    would_send: Counter[OnStage] = field(default_factory=Counter)
    """Stages that would be sent, were the rule live or the user not held out."""
    cost_micros: Counter[OnStage] = field(default_factory=Counter)
    sends_on: Counter[OnDay] = field(default_factory=Counter)
    cost_micros_on: Counter[OnDay] = field(default_factory=Counter)
    holds: Counter[tuple[str, Reason]] = field(default_factory=Counter)
    """(rule, reason) to how many stages had to wait for it."""


def forecast(
    rules: RuleSet,
    views: Sequence[UserView],
    *,
    now_ms: int,
    until_ms: int,
    share: float = 1.0,
    spends: Sequence[Spend] = (),
    silences: Sequence[Silence] = (),
    progress: Progress = lambda _: None,
) -> Forecast:
    """Plays the users from `now_ms` through `until_ms`.

    `share`: which part of all users that matter these are; budgets and send rates count for all, so
    they are cut to that part. `spends`: money spent before, of all users. Calls under way are taken
    for accepted.
    """
    rules = replace(rules, limits=_cut(rules.limits, share))
    counted = _Counted()
    memory = Memory()
    for view in views:
        load(memory, settled(view), due_ms=None)
    play = Play(
        rules,
        memory,
        observer=counted,
        start_ms=now_ms,
        spends=[replace(spend, micros=round(spend.micros * share)) for spend in spends],
        silences=silences,
    )
    play.until(now_ms)
    _take_stock(counted, views, play)
    for step in range(1, STEPS + 1):
        play.until(now_ms + (until_ms - now_ms) * step // STEPS)
        progress(step)
    return counted.forecast


def first_wait_ms(*rule_sets: RuleSet) -> int | None:
    """The shortest silence any rule of these sets waits for; None when there is no rule."""
    waits = [wait for rules in rule_sets if (wait := rules.rearm_after_ms) is not None]
    return min(waits, default=None)


def may_be_affected(
    rule_sets: Sequence[RuleSet], now_ms: int, until_ms: int
) -> Callable[[int, bool], bool]:
    """Can anything happen by `until_ms` to a user, told by when they were last active and whether
    they are on a ladder? May say yes when nothing can."""
    wait_ms = first_wait_ms(*rule_sets)
    rules = [rule for each in rule_sets for rule in each.rules]
    longest = [rule.max_inactive_ms for rule in rules]
    known = [most for most in longest if most is not None]
    since_ms = now_ms - max(known) if known and len(known) == len(longest) else None

    def affected(last_active_ms: int, on_ladder: bool) -> bool:
        if on_ladder:
            return True
        if wait_ms is None or last_active_ms + wait_ms > until_ms:
            return False
        return since_ms is None or last_active_ms >= since_ms

    return affected


class Sample:
    """At most so many of the users offered, always the same of the same users: those whose hash is
    smallest. `size_max` None: all."""

    def __init__(self, size_max: int | None) -> None:
        assert size_max is None or size_max > 0
        self._size_max = size_max
        self._kept: list[tuple[int, str]] = []
        self.offered = 0

    def offer(self, user_id: str) -> None:
        """Considers a user."""
        self.offered += 1
        if self._size_max is None:
            self._kept.append((0, user_id))
            return
        hashed = blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, person=b"plan")
        entry = (-int.from_bytes(hashed.digest()), user_id)
        if len(self._kept) < self._size_max:
            heapq.heappush(self._kept, entry)
        elif entry > self._kept[0]:
            heapq.heapreplace(self._kept, entry)

    @property
    def share(self) -> float:
        """Which part of those offered was taken; 1.0 for all of them."""
        return len(self._kept) / self.offered if self.offered else 1.0

    def user_ids(self) -> list[str]:
        """Those taken, in the order of their ids."""
        return sorted(user_id for _, user_id in self._kept)


class _Counted(Observer):
    """Counts what a play tells."""

    def __init__(self) -> None:
        self.forecast = Forecast()
        self.at_once: dict[tuple[str, str], Reason] | None = {}
        """(user, rule) to why a ladder ends; None once the first instant is over."""

    def decided(self, user_id: str, decision: Decision) -> None:
        told, where = self.forecast, OnStage(decision.rule, decision.stage)
        if decision.action is Action.OPEN:
            told.entered.setdefault((user_id, decision.rule), decision.at_ms)
        elif decision.reason in (Reason.WOULD_SEND, Reason.HOLDOUT):
            told.would_send[where] += 1
        elif decision.action is Action.WAIT and decision.notable:
            told.holds[decision.rule, decision.reason] += 1
        elif decision.action is Action.CLOSE and self.at_once is not None:
            self.at_once.setdefault((user_id, decision.rule), decision.reason)

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:  # noqa: ARG002 they are all taken
        claim, told = delivery.claim, self.forecast
        on_day = OnDay(at_ms // DAY_MS, claim.channel)
        told.sends[OnStage(claim.rule, claim.stage)] += 1
        told.cost_micros[OnStage(claim.rule, claim.stage)] += claim.cost_micros
        told.sends_on[on_day] += 1
        told.cost_micros_on[on_day] += claim.cost_micros


def _take_stock(counted: _Counted, views: Iterable[UserView], play: Play) -> None:
    """Where those who were on a ladder before stand now that the rule set is in force, and who of
    them left it; called after the looks of the first instant."""
    told, gone = counted.forecast, counted.at_once or {}
    counted.at_once = None
    for user_id, rule in _on_ladders(views):
        life = play.memory.people[user_id].life
        assert life is not None
        now = next((e for e in life.open.values() if e.rule == rule), None)
        if now is None:
            told.left[user_id, rule] = gone.get((user_id, rule), Reason.RULE_CHANGED)
            continue
        ladder = play.rules.rule_of(now)
        revision = now.revision if ladder is None else ladder.revision
        told.standing[user_id, rule] = Standing(stage=now.stage, revision=revision)


def _on_ladders(views: Iterable[UserView]) -> Iterator[tuple[str, str]]:
    for view in views:
        for episode in view.episodes:
            if episode.is_open:
                yield view.user_id, episode.rule


def _cut(limits: Limits, share: float) -> Limits:
    """What holds over all users, for a part of them. A rate of one send in a while cannot be cut in
    its number, so its span grows."""
    if share == 1.0:
        return limits
    return replace(
        limits,
        budgets=tuple(
            replace(budget, max_micros=round(budget.max_micros * share))
            for budget in limits.budgets
        ),
        send_rates=tuple(
            replace(rate, per_ms=round(rate.per_ms / share)) for rate in limits.send_rates
        ),
    )


class Compared(NamedTuple):
    """One rule under two rule sets, in users played."""

    on_ladder: int
    """Users on the ladder before either was in force."""
    enters: tuple[int, int]
    """Users who begin it, with the first set and with the second."""
    moves: int
    """Of those on it, who goes on at another stage, or on another ladder, with the second set."""
    leaves: tuple[int, int]
    """Of those on it, whose ladder ends at once."""


def compared(before: Forecast, after: Forecast) -> Mapping[str, Compared]:
    """Rule to what becomes of its users, for every rule of either."""
    keys = {*before.standing, *before.left, *after.standing, *after.left}
    rules = sorted({rule for _, rule in (*keys, *before.entered, *after.entered)})
    return {rule: _compared(rule, before, after) for rule in rules}


def moved(before: Forecast, after: Forecast) -> Counter[tuple[str, str | None, str | None]]:
    """(rule, stage with the first set, stage with the second) to how many users on the ladder go on
    elsewhere, or on another ladder."""
    return Counter(
        (rule, before.standing[user_id, rule].stage, stands.stage)
        for (user_id, rule), stands in after.standing.items()
        if (user_id, rule) in before.standing and before.standing[user_id, rule] != stands
    )


def leaving(told: Forecast, other: Forecast) -> Counter[tuple[str, str | None, Reason]]:
    """(rule, the stage they would have had with the other set, why) to how many users leave a
    ladder at once that they would have stayed on."""
    return Counter(
        (key[1], other.standing[key].stage, reason)
        for key, reason in told.left.items()
        if key in other.standing
    )


def _compared(rule: str, before: Forecast, after: Forecast) -> Compared:
    def of(keys: Iterable[tuple[str, str]]) -> int:
        return sum(1 for _, name in keys if name == rule)

    return Compared(
        on_ladder=of(before.standing) + of(before.left),
        enters=(of(before.entered), of(after.entered)),
        moves=sum(count for key, count in moved(before, after).items() if key[0] == rule),
        leaves=(of(before.left), of(after.left)),
    )
