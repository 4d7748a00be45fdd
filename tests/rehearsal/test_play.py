"""Virtual time: every user is looked at when due, and at no other time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.core.timeline import LADDER, Text, day, rule, rule_set
from tests.rehearsal.diary import Diary, Told, play, reach, seen, told
from worker.model import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Channel,
    Conversion,
    Delivery,
    Effect,
    EpisodeOutcome,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Silence,
    SilenceKind,
    Spend,
    StopReason,
)
from worker.rehearsal import upkeep
from worker.rehearsal.memory import Memory
from worker.rehearsal.play import CALLS_PER_INSTANT_MAX, Play, Provider, accept
from worker.rules.limits import Budget, Cap, Limits, Prices, SendRate, Window
from worker.rules.ruleset import Mode, OnEdit, Share, Variant

# --- time jumps ----------------------------------------------------------------------------------


def test_a_ladder_of_weeks_is_climbed_at_its_own_instants() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0.25)), day(0.5))
    world.until(day(45))
    assert diary.calls == [(7.25, "ann", "push"), (9.25, "ann", "email"), (12.25, "ann", "sms")]
    assert diary.ends == [(12.25, "ann", EpisodeOutcome.EXHAUSTED, Reason.LADDER_DONE)]
    assert world.now_ms == day(45)


def test_who_fell_due_before_an_event_was_sent_to_before_it() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.feed(told(seen("ann", 8)), day(8))
    assert diary.calls == [(7, "ann", "push")]
    assert diary.ends == [(8, "ann", EpisodeOutcome.RETURNED, Reason.ACTIVE_AGAIN)]
    world.until(day(16))
    assert diary.calls == [(7, "ann", "push"), (15, "ann", "push")]


def test_what_is_said_at_the_very_instant_a_stage_is_due_comes_first() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.feed(told(seen("ann", 7)), day(7))
    world.until(day(13.9))
    assert diary.calls == []


def test_an_address_that_appears_on_a_ladder_is_used_at_once() -> None:
    world, diary = play(rule_set(rule(stages=(replace(LADDER[0], after_ms=DAY_MS), LADDER[1]))))
    world.feed(told(seen("ann", 0)), day(0))
    world.until(day(7.5))
    world.feed(told(*reach("ann", "push")), day(7.75))
    world.until(day(60))
    assert diary.calls == [(8, "ann", "push")]
    assert diary.ends[0][0] == 10


def test_an_event_that_is_late_counts_from_when_it_is_told() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(20))
    world.feed(told(seen("bob", 20)), day(21))
    assert diary.calls == [(20, "ann", "push")]


def test_records_that_arrive_in_the_past_are_taken_as_of_now() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.until(day(8))
    world.feed(told(seen("ann", 6)), day(6))
    assert diary.calls == [(7, "ann", "push")]
    assert diary.ends == [(8, "ann", EpisodeOutcome.RETURNED, Reason.ACTIVE_AGAIN)]


def test_a_timer_that_fires_too_soon_costs_no_look() -> None:
    world, diary = play()
    for number in range(30):
        world.feed(told(seen("ann", number)), day(number))
    assert diary.looks == 0
    assert world.memory.next_due_ms() is not None
    world.until(day(36))
    assert {at for at, _, _ in diary.decisions} == {36}


# --- what a provider answers ---------------------------------------------------------------------


def failing(times: int, answer: Callable[[str], Outcome]) -> Provider:
    """A provider that answers so a number of times, and then takes everything."""
    left = [times]

    def provider(delivery: Delivery) -> Outcome:
        left[0] -= 1
        return answer(delivery.claim.send_id) if left[0] >= 0 else accept(delivery)

    return provider


def test_a_throttled_send_is_repeated_after_its_back_off() -> None:
    def throttled(send_id: str) -> Outcome:
        return Retry(
            send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429", delay_ms=90_000
        )

    world, diary = play(provider=failing(2, throttled))
    world.feed(told(*reach("ann", "push"), seen("ann", 0)), day(0))
    world.until(day(8))
    minutes = [round((at - 7) * DAY_MS / MINUTE_MS, 3) for at, _, _ in diary.calls]
    assert minutes == [0, 1.5, 3]


def test_a_dead_address_moves_to_the_next_stage_at_the_same_instant() -> None:
    def dead(send_id: str) -> Outcome:
        return Rejected(send_id=send_id, detail="410", stop=StopReason.DEAD)

    world, diary = play(provider=failing(1, dead))
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.until(day(8))
    assert diary.calls == [(7, "ann", "push"), (7, "ann", "email")]


def test_a_provider_that_is_never_done_is_found_out() -> None:
    def again(delivery: Delivery) -> Outcome:
        return Retry(
            send_id=delivery.claim.send_id,
            reason=Reason.PROVIDER_THROTTLED,
            detail="429",
            delay_ms=0,
        )

    world, _ = play(provider=again)
    world.feed(told(*reach("ann", "push"), seen("ann", 0)), day(0))
    with pytest.raises(AssertionError, match=f"{CALLS_PER_INSTANT_MAX + 1} calls"):
        world.until(day(8))


# --- limits that all users share -----------------------------------------------------------------


def crowd(names: Sequence[str], *channels: str) -> Effect:
    """Users who fall silent a minute after one another."""
    signals: list[Told] = []
    for number, name in enumerate(names):
        signals += [*reach(name, *channels), seen(name, number / 1_440)]
    return told(*signals)


ONE_PUSH = rule(stages=LADDER[:1])


def test_a_budget_is_spent_in_the_order_of_time_and_the_rest_waits_for_the_next_day() -> None:
    rules = replace(
        rule_set(ONE_PUSH, limits=Limits(budgets=(Budget(max_micros=25),))),
        prices=Prices(otherwise={Channel.PUSH: 10}),
    )
    world, diary = play(rules)
    world.feed(crowd(["zoe", "ann", "bob", "eve", "dan"], "push"), day(0))
    world.until(day(9))
    assert [user for _, user, _ in diary.calls] == ["zoe", "ann", "bob", "dan", "eve"]
    assert [at for at, _, _ in diary.calls] == [7, round(7 + 1 / 1_440, 9), 7.5, 7.5, 8.5]


def test_what_was_spent_before_counts() -> None:
    rules = replace(
        rule_set(ONE_PUSH, limits=Limits(budgets=(Budget(max_micros=25),))),
        prices=Prices(otherwise={Channel.PUSH: 10}),
    )
    diary = Diary()
    spent = Spend(channel=Channel.PUSH, at_ms=day(7) - HOUR_MS, micros=20)
    world = Play(rules, observer=diary, start_ms=day(0), spends=[spent])
    world.feed(crowd(["ann"], "push"), day(0))
    world.until(day(9))
    assert diary.calls == [(7.5, "ann", "push")]


def test_money_for_what_was_not_sent_comes_back() -> None:
    rules = replace(
        rule_set(ONE_PUSH, limits=Limits(budgets=(Budget(max_micros=10),))),
        prices=Prices(otherwise={Channel.PUSH: 10}),
    )
    world, diary = play(rules, failing(1, lambda send_id: Rejected(send_id=send_id, detail="no")))
    world.feed(crowd(["ann", "bob", "eve"], "push"), day(0))
    world.until(day(7.2))
    assert [user for _, user, _ in diary.calls] == ["ann", "bob"]


def test_a_send_rate_spreads_a_crowd() -> None:
    rates = (SendRate(max=2, per_ms=10 * SECOND_MS),)
    world, diary = play(rule_set(ONE_PUSH, limits=Limits(send_rates=rates)))
    for name in (f"u{number}" for number in range(6)):
        world.feed(told(*reach(name, "push"), seen(name, 0)), day(0))
    world.until(day(8))
    seconds = [round((at - 7) * DAY_MS / SECOND_MS) for at, _, _ in diary.calls]
    assert len(seconds) == 6
    assert all(later - first >= 10 for first, later in zip(seconds, seconds[2:], strict=False))
    assert seconds[-1] <= 60


def test_a_holdout_walks_the_ladder_and_is_sent_nothing() -> None:
    held = rule(holdout=Share(percent=100, salt="x"))
    world, diary = play(rule_set(held))
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.until(day(20))
    assert diary.calls == []
    told_so = [(at, reason) for at, _, reason in diary.decisions if reason is Reason.HOLDOUT]
    assert told_so == [(7, Reason.HOLDOUT), (9, Reason.HOLDOUT), (12, Reason.HOLDOUT)]


def test_arms_and_variants_can_be_forced() -> None:
    texts = tuple(Variant(name=name, template=Text(body=name)) for name in "ab")
    ladder = (replace(LADDER[0], variants=texts),)
    bodies: dict[str, str] = {}

    def provider(delivery: Delivery) -> Outcome:
        bodies[delivery.claim.user_id] = delivery.message.body
        return accept(delivery)

    nobody = Share(percent=0, salt="x")
    world, _ = play(rule_set(rule(stages=ladder, holdout=nobody)), provider)
    world.memory.person("ann").variants = {"push": "a"}
    world.memory.person("bob").variants = {"push": "b"}
    world.memory.person("eve").holdout = True
    world.feed(crowd(["ann", "bob", "eve"], "push"), day(0))
    world.until(day(8))
    assert bodies == {"ann": "a", "bob": "b"}


def test_a_silence_holds_until_it_ends() -> None:
    pause = Silence(
        silence_id=1,
        kind=SilenceKind.PAUSE,
        matchers=('rule="winback"',),
        begins_ms=0,
        ends_ms=day(10),
        author="eve",
        comment="",
    )
    diary = Diary()
    world = Play(rule_set(ONE_PUSH), observer=diary, start_ms=day(0), silences=[pause])
    world.feed(told(*reach("ann", "push"), seen("ann", 0)), day(0))
    world.until(day(11))
    assert diary.calls == [(10, "ann", "push")]


# --- rules that change ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_edit", "stages"),
    [
        (OnEdit.FINISH_OLD, ["push", "email", "sms"]),
        (OnEdit.MOVE, ["push", "email"]),
        (OnEdit.CANCEL, ["push"]),
    ],
)
def test_an_edit_does_to_those_on_the_ladder_what_the_rule_says(
    on_edit: OnEdit, stages: list[str]
) -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.until(day(8))
    shorter = rule(revision="r2", stages=LADDER[:2], on_edit=on_edit)
    world.change_rules(replace(rule_set(shorter), revision="s2"))
    world.until(day(30))
    assert [name for _, _, name in diary.calls] == stages


def test_new_rules_look_at_those_who_wait() -> None:
    world, diary = play(rule_set(rule(mode=Mode.LIVE, inactive_for_ms=30 * DAY_MS)))
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    world.until(day(10))
    world.change_rules(replace(rule_set(ONE_PUSH), revision="s2"))
    world.until(day(10))
    assert diary.calls == [(10, "ann", "push")]


# --- conversions ---------------------------------------------------------------------------------


def test_a_conversion_is_credited_and_told() -> None:
    world, diary = play()
    world.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    goal = Conversion(at_ms=day(8), rule="winback", within_ms=2 * DAY_MS, user_id="ann")
    applied = world.feed(told(goal, seen("ann", 8)), day(8.5))
    assert applied.conversions_credited == 1
    assert [(e.user_id, e.converted_ms) for e in diary.credited] == [("ann", day(8))]


# --- a state taken over --------------------------------------------------------------------------


def test_a_user_taken_over_from_another_state_goes_on() -> None:
    first, _ = play()
    first.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    first.until(day(8))
    person = first.memory.people["ann"]
    memory = Memory()
    upkeep.load(memory, first.memory.view(person, day(8)), due_ms=person.due_ms)
    diary = Diary()
    second = Play(rule_set(), memory, observer=diary, start_ms=day(8))
    second.until(day(30))
    assert diary.calls == [(9, "ann", "email"), (12, "ann", "sms")]


def test_sends_of_a_user_taken_over_still_count() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=10 * DAY_MS, window=Window.ROLLING),))
    first, _ = play(rule_set(ONE_PUSH, limits=limits))
    first.feed(told(*reach("ann"), seen("ann", 0)), day(0))
    first.feed(told(seen("ann", 7.5)), day(7.5))
    person = first.memory.people["ann"]
    memory = Memory()
    upkeep.load(memory, first.memory.view(person, day(8)), due_ms=person.due_ms)
    diary = Diary()
    second = Play(rule_set(ONE_PUSH, limits=limits), memory, observer=diary, start_ms=day(8))
    second.until(day(30))
    assert diary.calls == [(17, "ann", "push")]


# --- what it costs --------------------------------------------------------------------------


def test_time_passes_at_the_speed_of_what_happens() -> None:
    """45 days of a thousand users' ladders; a tick of a minute would be 64,800 steps a user. The
    bound is ten times what an idle machine needs."""
    world, diary = play()
    begun = time.process_time()
    for number in range(1_000):
        world.feed(told(*reach(f"u{number}"), seen(f"u{number}", 0)), day(0))
    world.until(day(45))
    assert len(diary.calls) == 3_000
    assert diary.looks <= 12_000
    assert time.process_time() - begun < 8
