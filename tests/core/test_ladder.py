"""The ladder as stories: what one user gets, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.timeline import (
    LADDER,
    MAIL,
    PHONE,
    SMS,
    Life,
    accept,
    day,
    rule,
    rule_set,
    stage,
)
from worker.model import (
    DAY_MS,
    HOUR_MS,
    Delivery,
    EpisodeOutcome,
    Outcome,
    Pause,
    Reason,
    Rejected,
    Retry,
    Sent,
    StopReason,
    Uncertain,
)
from worker.rules.limits import Cap, Limits, Window
from worker.rules.ruleset import ExitOn, Matcher, Mode, QuietHours, open_but


def outcomes(life: Life) -> list[str]:
    return [episode.outcome or "open" for episode in life.episodes.values()]


def test_a_quiet_user_climbs_push_email_sms_and_the_episode_ends_exhausted() -> None:
    life = Life()
    life.active(0)
    assert life.until(40) == [(7, "push"), (9, "email"), (12, "sms")]
    assert outcomes(life) == ["exhausted"]


def test_nothing_happens_before_the_silence_is_long_enough() -> None:
    life = Life()
    life.active(0)
    assert life.until(6.9999) == []


def test_every_activity_starts_the_silence_anew() -> None:
    life = Life()
    for number in range(0, 30, 5):
        life.active(number)
    assert life.until(31.9) == []
    assert life.until(32) == [(32, "push")]


def test_a_return_between_two_stages_ends_the_episode_and_nothing_more_is_sent() -> None:
    life = Life()
    life.active(0)
    life.active(8)
    assert life.until(14.9) == [(7, "push")]
    assert outcomes(life) == ["returned"]


def test_a_late_event_from_after_the_silence_began_ends_the_episode() -> None:
    life = Life()
    life.active(0)
    life.late_activity(happened=3, arrived=8)
    assert life.until(9.5) == [(7, "push")]
    assert outcomes(life) == ["returned"]
    assert life.until(10.1) == [(7, "push"), (10, "push")], "the silence counts from day 3"


def test_one_silence_has_one_episode_even_when_the_cooldown_is_over() -> None:
    life = Life(rules=rule_set(rule(cooldown_ms=DAY_MS)))
    life.active(0)
    assert len(life.until(400)) == 3
    assert life.reasons()[-1] == Reason.ONCE_PER_SILENCE


def test_the_cooldown_counts_from_the_end_of_the_episode() -> None:
    life = Life(rules=rule_set(rule(cooldown_ms=30 * DAY_MS)))
    life.active(0)
    life.until(13)
    life.active(14)
    assert life.until(41.9)[3:] == []
    assert life.until(42)[3:] == [(42, "push")]


def test_users_silent_for_longer_than_max_inactive_are_left_alone() -> None:
    life = Life(rules=rule_set(rule(max_inactive_ms=60 * DAY_MS)))
    life.last_active_ms = day(0)
    life.due_ms = day(100)
    assert life.until(400) == []
    assert life.reasons() == [Reason.MAX_INACTIVE]


def test_an_outage_is_caught_up_with_once_and_later_stages_wait_from_that_send() -> None:
    life = Life()
    life.last_active_ms = day(0)
    life.due_ms = day(10)
    assert life.until(20) == [(10, "push"), (12, "email"), (15, "sms")]


def test_a_rule_in_shadow_walks_the_ladder_and_sends_nothing() -> None:
    life = Life(rules=rule_set(rule(mode=Mode.SHADOW)))
    life.active(0)
    assert life.until(40) == []
    assert life.reasons() == [
        Reason.INACTIVE,
        Reason.WOULD_SEND,
        Reason.WOULD_SEND,
        Reason.WOULD_SEND,
        Reason.LADDER_DONE,
        Reason.ONCE_PER_SILENCE,
    ]


@pytest.mark.parametrize(
    ("phone", "reason"),
    [
        (replace(PHONE, address=None), Reason.NO_ADDRESS),
        (replace(PHONE, opted_out=True), Reason.OPTED_OUT),
        (replace(PHONE, active=False), Reason.INACTIVE_ADDRESS),
        (replace(PHONE, suppressed=StopReason.DEAD), Reason.SUPPRESSED),
    ],
)
def test_a_channel_that_cannot_be_used_gives_way_to_the_next_at_once(
    phone: object, reason: Reason
) -> None:
    life = Life(endpoints=(phone, MAIL, SMS))  # type: ignore[arg-type] # parametrised endpoints
    life.active(0)
    assert life.until(40) == [(7, "email"), (10, "sms")]
    assert reason in life.reasons()


def test_a_phone_number_without_its_country_code_is_not_written_to() -> None:
    life = Life(endpoints=(replace(SMS, address="2025550191"), MAIL))
    life.active(0)
    assert life.until(40) == [(7, "email")]
    assert Reason.INVALID_ADDRESS in life.reasons()


def test_a_dead_token_moves_the_user_to_email_at_once() -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.claim.stage == "push":
            send_id = delivery.claim.send_id
            return Rejected(send_id=send_id, detail="400", stop=StopReason.DEAD)
        return accept(delivery)

    life = Life(answer=answer)
    life.active(0)
    assert life.until(40) == [(7, "push"), (7, "email"), (10, "sms")]


def test_a_user_nobody_can_reach_gets_an_episode_that_says_so() -> None:
    life = Life(endpoints=())
    life.active(0)
    assert life.until(40) == []
    assert Reason.UNDELIVERABLE in life.reasons()


def test_an_uncertain_send_is_not_repeated_and_counts_as_sent() -> None:
    life = Life(answer=lambda d: Uncertain(send_id=d.claim.send_id, detail="timeout"))
    life.active(0)
    assert life.until(40) == [(7, "push"), (9, "email"), (12, "sms")]


def test_several_live_addresses_of_a_channel_all_get_the_stage_and_a_shared_one_gets_it_once() -> (
    None
):
    tablet = replace(PHONE, endpoint_id="e4", address="token-2")
    twin = replace(PHONE, endpoint_id="e5")
    life = Life(endpoints=(PHONE, tablet, twin))
    life.active(0)
    life.until(7)
    assert sorted(address for _, _, address in life.calls) == ["token-1", "token-2"]


def test_when_one_of_two_addresses_is_throttled_only_that_one_is_tried_again() -> None:
    tablet = replace(PHONE, endpoint_id="e4", address="token-2")
    tries = {"token-1": 0, "token-2": 0}

    def answer(delivery: Delivery) -> Outcome:
        send_id = delivery.claim.send_id
        tries[delivery.address] += 1
        if delivery.address == "token-2" and tries["token-2"] < 3:
            return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")
        return Sent(send_id=send_id)

    life = Life(endpoints=(PHONE, tablet), answer=answer)
    life.active(0)
    life.until(8)
    assert tries == {"token-1": 1, "token-2": 3}


def test_temporary_failures_are_bounded_and_then_the_next_stage_comes() -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.claim.stage != "push":
            return accept(delivery)
        send_id = delivery.claim.send_id
        return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail="TEMPORARY")

    life = Life(answer=answer)
    life.active(0)
    calls = life.until(40)
    assert [name for _, name in calls] == ["push"] * 5 + ["email", "sms"]
    assert Reason.ATTEMPTS_EXHAUSTED in life.reasons()


def test_a_return_while_the_provider_throttles_ends_the_episode() -> None:
    def answer(delivery: Delivery) -> Outcome:
        send_id = delivery.claim.send_id
        return Retry(
            send_id=send_id,
            reason=Reason.PROVIDER_THROTTLED,
            detail="429",
            delay_ms=HOUR_MS,
        )

    life = Life(answer=answer)
    life.active(0)
    life.until(7.5)
    before = len(life.calls)
    life.active(7.51)
    life.until(13)
    assert len(life.calls) == before
    assert outcomes(life) == ["returned"]


def test_an_address_that_opts_out_while_throttled_is_not_tried_again() -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.claim.stage != "push":
            return accept(delivery)
        send_id = delivery.claim.send_id
        return Retry(
            send_id=send_id,
            reason=Reason.PROVIDER_THROTTLED,
            detail="429",
            delay_ms=DAY_MS,
        )

    life = Life(answer=answer)
    life.active(0)
    life.until(7.2)
    life.changed(7.3, replace(PHONE, opted_out=True), MAIL, SMS)
    assert life.until(7.4) == [(7, "push"), (7.3, "email")]
    assert Reason.OPTED_OUT in life.reasons()


def test_opting_out_everywhere_stops_the_episode() -> None:
    rules = rule_set(rule(exit_on=frozenset({ExitOn.ACTIVITY, ExitOn.OPT_OUT_ALL})))
    life = Life(rules=rules)
    life.active(0)
    life.changed(8, *(replace(e, opted_out=True) for e in (PHONE, MAIL, SMS)))
    assert life.until(40) == [(7, "push")]
    assert outcomes(life) == ["stopped"]


def test_losing_the_match_cancels_only_where_the_rule_says_so() -> None:
    premium = Matcher(name="plan", operator="=", value="premium")
    paying = replace(PHONE, user_attributes={"plan": ("premium",)})
    free = replace(PHONE, user_attributes={"plan": ("free",)})
    for exit_on, expected in (
        (frozenset({ExitOn.ACTIVITY, ExitOn.MATCH_LOST}), ["cancelled"]),
        (frozenset({ExitOn.ACTIVITY}), ["exhausted"]),
    ):
        life = Life(
            rules=rule_set(rule(matchers=(premium,), exit_on=exit_on)),
            endpoints=(paying, MAIL, SMS),
        )
        life.active(0)
        life.changed(8, free, MAIL, SMS)
        life.until(40)
        assert outcomes(life) == expected


def test_a_user_who_begins_to_match_is_taken_in_when_the_profile_changes() -> None:
    premium = Matcher(name="plan", operator="=", value="premium")
    life = Life(rules=rule_set(rule(matchers=(premium,))))
    life.active(0)
    assert life.until(20) == []
    life.changed(20, replace(PHONE, user_attributes={"plan": ("premium",)}))
    assert life.until(20.1) == [(20, "push")]


def test_quiet_hours_hold_the_stage_and_the_next_wait_counts_from_the_send() -> None:
    night = QuietHours(name="night", open_week=open_but(11 * 60, 18 * 60))
    rules = replace(rule_set(), quiet_hours=(night,))
    life = Life(rules=rules)
    life.active(0)
    assert life.until(40) == [(7.25, "push"), (9.25, "email"), (12.25, "sms")]


def test_a_rolling_cap_over_all_rules_holds_the_second_rule() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.ROLLING),))
    second = rule("second", stages=(stage("email"),))
    life = Life(rules=rule_set(rule(stages=(stage("push"),)), second, limits=limits))
    life.active(0)
    assert life.until(40) == [(7, "push"), (8, "email")]
    assert Reason.CAP in life.reasons()


def test_a_calendar_cap_frees_at_the_users_own_midnight() -> None:
    limits = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),))
    second = rule("second", stages=(stage("email"),))
    life = Life(rules=rule_set(rule(stages=(stage("push"),)), second, limits=limits))
    life.active(0)
    assert life.until(40) == [(7, "push"), (7.5, "email")], "day 7 is noon; midnight is 7.5"


def test_a_min_gap_spaces_the_stages_of_two_rules() -> None:
    limits = Limits(min_gap_ms=6 * HOUR_MS)
    second = rule("second", stages=(stage("email"),))
    life = Life(rules=rule_set(rule(stages=(stage("push"),)), second, limits=limits))
    life.active(0)
    assert life.until(40) == [(7, "push"), (7.25, "email")]


def test_a_rejected_stage_gives_its_cap_slot_back() -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.claim.stage == "push":
            return Rejected(send_id=delivery.claim.send_id, detail="dead")
        return accept(delivery)

    limits = Limits(caps=(Cap(max=1, per_ms=30 * DAY_MS, window=Window.ROLLING),))
    life = Life(rules=rule_set(limits=limits), answer=answer)
    life.active(0)
    assert life.until(10) == [(7, "push"), (7, "email")]


def test_a_text_without_its_value_holds_and_never_sends_half_a_text() -> None:
    broken = rule(stages=(stage("push", broken=True), *LADDER[1:]))
    life = Life(rules=rule_set(broken))
    life.active(0)
    assert life.until(36) == []
    assert life.reasons()[-1] == Reason.TEMPLATE_ERROR
    life.until(38)
    assert outcomes(life) == [EpisodeOutcome.EXPIRED]


def test_a_paused_channel_holds_its_stage_only() -> None:
    pause = Pause(until_ms=day(11), reason=Reason.CHANNEL_PAUSED)
    life = Life(paused={"GCM": pause})
    life.active(0)
    assert life.until(40) == [(11, "push"), (13, "email"), (16, "sms")]


def test_a_rule_that_is_gone_cancels_its_open_episodes() -> None:
    life = Life()
    life.active(0)
    life.until(8)
    life.rules = rule_set(rule("another", inactive_for_ms=90 * DAY_MS))
    life.due_ms = day(8)
    assert life.until(40) == [(7, "push")]
    assert outcomes(life) == ["cancelled"]


def test_a_stage_that_is_gone_cancels_the_episode() -> None:
    life = Life()
    life.active(0)
    life.until(8)
    life.rules = rule_set(rule(stages=(stage("push"), stage("sms", 1))))
    life.due_ms = day(8)
    assert life.until(40) == [(7, "push")]
    assert outcomes(life) == ["cancelled"]


def test_each_hold_is_notable_once() -> None:
    pause = Pause(until_ms=day(8), reason=Reason.CHANNEL_PAUSED)
    life = Life(paused={"GCM": pause})
    life.active(0)
    for number in (7.1, 7.2, 7.3):
        life.changed(number, *life.endpoints)
        life.until(number)
    holds = [d for d in life.decisions if d.reason is Reason.CHANNEL_PAUSED]
    assert len(holds) == 4
    assert [d.notable for d in holds] == [True, False, False, False]
