"""Random rules over random histories: what the world saw, held against what the rules allow.

The checks know the rules as written and the calls as made, and nothing of how the worker counts:
days, windows, money, holdouts and spans are worked out anew here, the plain way.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.core.timeline import Text
from worker import guards, ladder, situation
from worker.model import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Activity,
    Channel,
    Delivery,
    Effect,
    Endpoint,
    Episode,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    Uncertain,
)
from worker.rehearsal.play import Observer, Play
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate, Window
from worker.rules.ruleset import (
    Mode,
    OnUndeliverable,
    QuietHours,
    Rule,
    RuleSet,
    Share,
    Stage,
    Variant,
    open_but,
)
from worker.rules.zones import zone_names

START_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1_000
"""Four weeks before Europe's clocks change, one before America's."""
ZONES = sorted(zone_names())
CHANNELS = tuple(Channel)
USERS = 4


@dataclass(frozen=True)
class Call:
    """One address, one call, and what the provider said."""

    at_ms: int
    delivery: Delivery
    outcome: Outcome

    @property
    def user(self) -> str:
        return self.delivery.claim.user_id

    @property
    def counts(self) -> bool:
        return isinstance(self.outcome, Sent | Uncertain)


@dataclass
class World(Observer):
    """What anybody could have seen."""

    calls: list[Call] = field(default_factory=list)
    closings: list[Episode] = field(default_factory=list)

    def called(self, delivery: Delivery, outcome: Outcome, at_ms: int) -> None:
        self.calls.append(Call(at_ms, delivery, outcome))

    def closed(self, episode: Episode, reason: Reason) -> None:
        self.closings.append(episode)


def answer(delivery: Delivery) -> Outcome:
    """Mostly yes; which it is depends on nothing but the send and the attempt."""
    send_id, attempt = delivery.claim.send_id, delivery.claim.attempt
    match hashlib.sha256(f"{send_id}{attempt}".encode()).digest()[0] % 10:
        case 0:
            return Rejected(send_id=send_id, detail="410")
        case 1:
            return Uncertain(send_id=send_id, detail="timeout")
        case 2:
            return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail="try again")
        case _:
            return Sent(send_id=send_id)


# --- random rules and histories -----------------------------------------------------------------

percents = st.sampled_from([0.0, 30.0, 100.0])
quiet_spans = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda s: s[0] != s[1])


@st.composite
def stages(draw: st.DrawFn, number: int) -> Stage:
    return Stage(
        name=f"stage-{number}",
        channel=draw(st.sampled_from(CHANNELS)),
        after_ms=draw(st.integers(0, 60)) * HOUR_MS if number else 0,
        variants=(Variant(name="", template=Text(body="x" * draw(st.sampled_from([5, 200])))),),
        on_undeliverable=draw(st.sampled_from(OnUndeliverable)),
        ttl_ms=draw(st.sampled_from([None, 5_000, 12 * HOUR_MS])),
    )


@st.composite
def rules(draw: st.DrawFn, number: int) -> Rule:
    name = f"rule-{number}"
    holdout = draw(st.none() | st.builds(Share, percent=percents, salt=st.just(f"{name}/holdout")))
    return Rule(
        name=name,
        revision="1",
        mode=Mode.LIVE,
        inactive_for_ms=draw(st.integers(1, 96)) * HOUR_MS,
        max_inactive_ms=draw(st.none() | st.just(20 * DAY_MS)),
        cooldown_ms=draw(st.integers(0, 5)) * DAY_MS,
        stages=tuple(draw(stages(n)) for n in range(draw(st.integers(1, 3)))),
        priority=draw(st.integers(-2, 2)),
        holdout=holdout,
    )


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    caps = []
    for _ in range(draw(st.integers(0, 2))):
        window = draw(st.sampled_from(Window))
        per_ms = draw(st.integers(1, 4)) * DAY_MS
        caps.append(Cap(max=draw(st.integers(1, 3)), per_ms=per_ms, window=window))
    return Limits(
        caps=tuple(caps),
        min_gap_ms=draw(st.sampled_from([0, 4 * HOUR_MS, 30 * HOUR_MS])),
        send_rates=draw(
            st.just(()) | st.just((SendRate(max=1, per_ms=10 * MINUTE_MS, channel=Channel.PUSH),))
        ),
        budgets=draw(
            st.just(())
            | st.builds(
                lambda zone: (Budget(channel=Channel.SMS, max_micros=50, timezone=zone),),
                st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"]),
            )
        ),
    )


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    quiet = draw(st.lists(quiet_spans, max_size=2))
    drawn = [draw(rules(n)) for n in range(draw(st.integers(1, 3)))]
    return RuleSet(
        revision="1",
        rules=tuple(sorted(drawn, key=lambda rule: -rule.priority)),
        limits=draw(limits()),
        quiet_hours=tuple(QuietHours(name=str(s), open_week=open_but(*s)) for s in quiet),
        prices=Prices(otherwise={Channel.SMS: 20}),
    )


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Effect]]:
    """Who is known how from the beginning, and who is active when, in the order of time."""
    told: list[tuple[int, Effect]] = []
    for number in range(USERS):
        zone = draw(st.sampled_from(ZONES))
        channels = draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4))
        for place, channel in enumerate(channels):
            told.append((START_MS, Effect(endpoints=(endpoint(number, place, channel, zone),))))
        hours = draw(st.lists(st.integers(0, 60 * 24), min_size=1, max_size=5))
        for hour in hours:
            at_ms = START_MS + hour * HOUR_MS
            here = Activity(at_ms=at_ms, event_type="_session.start", user_id=f"u{number}")
            told.append((at_ms, Effect(activities=(here,))))
    return sorted(told, key=lambda item: item[0])


def endpoint(user: int, place: int, channel: Channel, zone: str) -> Endpoint:
    kind = {Channel.PUSH: "GCM", Channel.EMAIL: "EMAIL", Channel.SMS: "SMS"}[channel]
    address = f"+1555010{user}{place}" if channel is Channel.SMS else f"{kind}-{user}-{place}"
    return Endpoint(
        endpoint_id=f"e{user}-{place}",
        at_ms=START_MS,
        user_id=f"u{user}",
        channel_type=kind,
        address=address,
        timezone=zone,
    )


def played(rule_set: RuleSet, history: Sequence[tuple[int, Effect]]) -> World:
    world = World()
    play = Play(rule_set, provider=answer, observer=world, start_ms=START_MS)
    for at_ms, effect in history:
        play.feed(effect, at_ms)
    play.until(START_MS + 100 * DAY_MS)
    return world


# --- what the rules allow -----------------------------------------------------------------------


def local(at_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone(ZoneInfo(zone))


def zones_of(history: Sequence[tuple[int, Effect]]) -> dict[str, str]:
    return {
        told.user_id or "": told.timezone or ""
        for _, effect in history
        for told in effect.endpoints
    }


def check_user_limits(world: World, rule_set: RuleSet, zones: dict[str, str]) -> None:
    sends: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for call in world.calls:
        if call.counts:
            claim = call.delivery.claim
            sends[call.user].setdefault((claim.episode_id, claim.stage), call.at_ms)
    for user, by_stage in sends.items():
        times = sorted(by_stage.values())
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(gap >= rule_set.limits.min_gap_ms for gap in gaps), "min_gap"
        for cap in rule_set.limits.caps:
            if cap.window is Window.ROLLING:
                spans = [[t for t in times if at - cap.per_ms < t <= at] for at in times]
            else:
                days = [local(at, zones[user]).date().toordinal() for at in times]
                length = cap.per_ms // DAY_MS
                spans = [[d for d in days if day - length < d <= day] for day in days]
            assert all(len(span) <= cap.max for span in spans), cap


def check_quiet_hours(world: World, rule_set: RuleSet, zones: dict[str, str]) -> None:
    """Not at night, and no message may still be under way when the night begins."""
    for call in world.calls:
        ttl_ms = call.delivery.ttl_ms
        assert ttl_ms is not None or not rule_set.quiet_hours, "it may arrive whenever it likes"
        stage = next(
            stage
            for rule in rule_set.rules
            if rule.name == call.delivery.claim.rule
            for stage in rule.stages
            if stage.name == call.delivery.claim.stage
        )
        assert stage.ttl_ms is None or (ttl_ms or 0) <= stage.ttl_ms, "longer than the rule says"
        lives_ms = MINUTE_MS + ttl_ms if ttl_ms else 1
        moments = [*range(call.at_ms, call.at_ms + lives_ms, 7 * MINUTE_MS)]
        for at_ms in (*moments, call.at_ms + lives_ms - 1):
            now = local(at_ms, zones[call.user])
            minute = now.hour * 60 + now.minute
            for quiet in rule_set.quiet_hours:
                spans = quiet.open_week[now.weekday()]
                assert any(begin <= minute < end for begin, end in spans), (quiet.name, now)


def check_money_and_pace(world: World, rule_set: RuleSet) -> None:
    for budget in rule_set.limits.budgets:
        spent: dict[str, int] = defaultdict(int)
        for call in world.calls:
            if call.counts and call.delivery.claim.channel is budget.channel:
                parts = 1 if len(call.delivery.message.body) <= 160 else 2
                spent[str(local(call.at_ms, budget.timezone).date())] += 20 * parts
        assert all(micros <= budget.max_micros for micros in spent.values()), spent
    for rate in rule_set.limits.send_rates:
        times = [c.at_ms for c in world.calls if c.delivery.claim.channel is rate.channel]
        for at in times:
            together = [t for t in times if at - rate.per_ms < t <= at]
            # One user's addresses go out together, however many they are.
            assert len(together) <= rate.max or len(set(together)) == 1


def check_holdouts_and_cooldowns(world: World, rule_set: RuleSet) -> None:
    for call in world.calls:
        rule = rule_set.rule_named(call.delivery.claim.rule)
        assert rule is not None
        if rule.holdout is not None:
            digest = hashlib.blake2b(f"{rule.holdout.salt}\x00{call.user}".encode(), digest_size=8)
            point = int.from_bytes(digest.digest(), "big") / 2**64 * 100
            assert point >= rule.holdout.percent, "somebody who is held out got something"
    closings = sorted(world.closings, key=lambda episode: episode.closed_ms or 0)
    latest: dict[tuple[str, str], int] = {}
    for episode in sorted(closings, key=lambda episode: episode.opened_ms):
        rule = rule_set.rule_named(episode.rule)
        assert rule is not None
        before = latest.get((episode.user_id, episode.rule))
        assert before is None or episode.opened_ms >= before + rule.cooldown_ms, "cooldown"
        latest[episode.user_id, episode.rule] = episode.closed_ms or 0


def check_once_and_never_after_return(
    world: World, history: Sequence[tuple[int, Effect]], rule_set: RuleSet
) -> None:
    accepted = [c.delivery.claim.send_id for c in world.calls if c.counts]
    assert len(accepted) == len(set(accepted)), "accepted, or perhaps, twice"
    here: dict[str, list[int]] = defaultdict(list)
    for at_ms, effect in history:
        for activity in effect.activities:
            here[activity.user_id or ""].append(at_ms)
    for call in world.calls:
        rule = rule_set.rule_named(call.delivery.claim.rule)
        assert rule is not None
        last = max(at for at in here[call.user] if at <= call.at_ms)
        assert call.at_ms - last >= rule.inactive_for_ms, "written to although active"


SLOW = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_all(rule_set: RuleSet, history: list[tuple[int, Effect]]) -> None:
    world = played(rule_set, history)
    zones = zones_of(history)
    check_user_limits(world, rule_set, zones)
    check_quiet_hours(world, rule_set, zones)
    check_money_and_pace(world, rule_set)
    check_holdouts_and_cooldowns(world, rule_set)
    check_once_and_never_after_return(world, history, rule_set)


@SLOW
@given(rule_set=rule_sets(), history=histories())
def test_no_limit_is_ever_exceeded(rule_set: RuleSet, history: list[tuple[int, Effect]]) -> None:
    check_all(rule_set, history)


GUARDS = (
    "_not_inactive_yet",
    "_cooling_down",
    "_quiet_hours",
    "_capped",
    "_over_budget",
    "_holdout",
    "_too_fast",
)


@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_its_check_fails(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("ENTRY", "STAGE"):
        kept = [c for c in getattr(guards, table) if c.guard.__name__ != guard]
        monkeypatch.setattr(guards, table, tuple(kept))
    # The quick answer for users who are active is the same guard once more.
    monkeypatch.setattr(ladder._Walk, "is_too_soon", lambda *_: False)

    @settings(SLOW, max_examples=1_000, database=None, phases=[Phase.generate])
    @given(rule_set=rule_sets(), history=histories())
    def search(rule_set: RuleSet, history: list[tuple[int, Effect]]) -> None:
        check_all(rule_set, history)

    with pytest.raises(AssertionError):
        search()


def test_a_time_to_live_that_reaches_into_the_night_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def as_written(closes_ms: int | None, wall_ms: int, *, most_ms: int | None) -> int | None:
        return most_ms

    monkeypatch.setattr(situation, "ttl_until", as_written)

    @settings(SLOW, max_examples=1_000, database=None, phases=[Phase.generate])
    @given(rule_set=rule_sets(), history=histories())
    def search(rule_set: RuleSet, history: list[tuple[int, Effect]]) -> None:
        check_all(rule_set, history)

    with pytest.raises(AssertionError):
        search()


@SLOW
@given(rule_set=rule_sets(), history=histories(), seed=st.randoms(use_true_random=False))
def test_neither_batches_nor_the_order_between_users_change_a_send(
    rule_set: RuleSet, history: list[tuple[int, Effect]], seed: object
) -> None:
    def story(world: World) -> list[tuple[int, str, str]]:
        return sorted(
            (call.at_ms, call.delivery.claim.send_id, type(call.outcome).__name__)
            for call in world.calls
        )

    shuffled = list(history)
    seed.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random of hypothesis
    shuffled.sort(key=lambda item: item[0])
    together: dict[int, Effect] = {}
    for at_ms, effect in shuffled:
        before = together.get(at_ms, Effect())
        together[at_ms] = replace(
            before,
            activities=before.activities + effect.activities,
            endpoints=before.endpoints + effect.endpoints,
        )
    one_by_one = story(played(rule_set, history))
    assert story(played(rule_set, shuffled)) == one_by_one
    assert story(played(rule_set, list(together.items()))) == one_by_one
