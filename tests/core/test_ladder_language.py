"""Timelines for the words of the rule language: each says who gets what, and when, in days."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.timeline import (
    DAY_ZERO_MS,
    MAIL,
    PHONE,
    SMS,
    Answer,
    Life,
    Text,
    day,
    rule,
    rule_set,
    stage,
)
from worker.ladder import look
from worker.model import (
    DAY_MS,
    HOUR_MS,
    SECOND_MS,
    Action,
    Arm,
    Channel,
    Delivery,
    Endpoint,
    EpisodeOutcome,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    Silence,
    SilenceKind,
    Spend,
    StopReason,
    Uncertain,
)
from worker.money import Purse
from worker.pace import Pace
from worker.rules.limits import Budget, Cap, Limits, OnHit, Prices, SendRate, Window
from worker.rules.matchers import parse_matcher
from worker.rules.ruleset import (
    ExitOn,
    Goal,
    LegalText,
    Mode,
    OnEdit,
    OnUncertain,
    OnUndeliverable,
    QuietHours,
    Rule,
    Share,
    Variant,
    open_but,
)

RICH = replace(PHONE, user_attributes={"ltv": ("80",), "plan": ("premium",)})
POOR = replace(PHONE, user_attributes={"ltv": ("9.5",)})


def life(
    *rules: Rule,
    limits: Limits | None = None,
    prices: Prices | None = None,
    quiet_hours: tuple[QuietHours, ...] = (),
    **changes: object,
) -> Life:
    """One user who was active on day 0."""
    rules_in_force = replace(
        rule_set(*rules, limits=limits), prices=prices or Prices(), quiet_hours=quiet_hours
    )
    lived = Life(rules=rules_in_force, **changes)  # type: ignore[arg-type]
    lived.active(0)
    return lived


def refuse(channel: Channel, *, stop: StopReason | None = None) -> Answer:
    def answer(delivery: Delivery) -> Outcome:
        send_id = delivery.claim.send_id
        if delivery.claim.channel is channel:
            return Rejected(send_id=send_id, detail="410", stop=stop)
        return Sent(send_id=send_id)

    return answer


# --- only_if ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "sent"),
    [(RICH, [(7, "push"), (9, "email"), (12, "sms")]), (POOR, [(7, "push"), (12, "sms")])],
)
def test_a_stage_that_is_not_for_the_user_is_left_out_and_the_next_keeps_its_time(
    phone: Endpoint, sent: list[tuple[float, str]]
) -> None:
    only_rich = stage("email", 2, only_if=(parse_matcher('ltv>="50"'),))
    lived = life(
        rule(stages=(stage("push"), only_rich, stage("sms", 3))), endpoints=(phone, MAIL, SMS)
    )
    assert lived.until(30) == sent


def test_only_if_sees_the_users_own_attributes_whatever_they_are_called() -> None:
    phone = replace(PHONE, user_attributes={"stage": ("gold",)})
    gold = stage("push", only_if=(parse_matcher('stage="gold"'),))
    assert life(rule(stages=(gold,)), endpoints=(phone,)).until(30) == [(7, "push")]


# --- on_undeliverable ---------------------------------------------------------------------------


def test_a_stage_may_wait_for_an_address() -> None:
    waits = stage("push", on_undeliverable=OnUndeliverable.WAIT)
    lived = life(rule(stages=(waits, stage("email", 2))), endpoints=(MAIL,))
    assert lived.until(20) == []
    assert lived.reasons()[-1] == "no_address"
    lived.changed(21, PHONE, MAIL)
    assert lived.until(40) == [(21, "push"), (23, "email")]


def test_an_address_that_died_is_waited_for_too() -> None:
    waits = stage("push", on_undeliverable=OnUndeliverable.WAIT)
    lived = life(
        rule(stages=(waits,)), endpoints=(PHONE,), answer=refuse(Channel.PUSH, stop=StopReason.DEAD)
    )
    lived.until(8)
    lived.changed(10, replace(PHONE, suppressed=StopReason.DEAD))
    lived.answer = lambda delivery: Sent(send_id=delivery.claim.send_id)
    lived.changed(11, replace(PHONE, address="token-2"))
    lived.until(12)
    assert lived.calls == [(7, "push", "token-1"), (11, "push", "token-2")]


@pytest.mark.parametrize("endpoints", [(MAIL,), (PHONE,)])
def test_waiting_for_an_address_ends_with_the_longest_hold(endpoints: tuple[Endpoint, ...]) -> None:
    lived = life(
        rule(stages=(stage("push", on_undeliverable=OnUndeliverable.WAIT),)),
        endpoints=endpoints,
        answer=refuse(Channel.PUSH),
    )
    lived.until(60)
    (episode,) = lived.episodes.values()
    assert (episode.outcome, episode.closed_ms) == (EpisodeOutcome.EXPIRED, day(37))


@pytest.mark.parametrize("endpoints", [(MAIL, SMS), (PHONE, MAIL, SMS)])
def test_a_ladder_may_end_where_it_cannot_deliver(endpoints: tuple[Endpoint, ...]) -> None:
    ends = stage("push", on_undeliverable=OnUndeliverable.END)
    lived = life(
        rule(stages=(ends, stage("email", 2))), endpoints=endpoints, answer=refuse(Channel.PUSH)
    )
    assert [name for _, name in lived.until(30)] in ([], ["push"])
    (episode,) = lived.episodes.values()
    assert (episode.outcome, episode.closed_ms) == (EpisodeOutcome.EXHAUSTED, day(7))


# --- on_uncertain -------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "calls"), [(OnUncertain.KEEP, 1), (OnUncertain.RESEND, 5)])
def test_an_uncertain_call_is_repeated_only_where_the_rule_says_so(
    word: OnUncertain, calls: int
) -> None:
    lived = life(
        rule(stages=(stage("push", on_uncertain=word),)),
        answer=lambda delivery: Uncertain(send_id=delivery.claim.send_id, detail="timeout"),
    )
    assert len(lived.until(30)) == calls
    (claim,) = lived.claims.values()
    assert (claim.state, claim.attempt) == ("uncertain", calls)
    assert [e.outcome for e in lived.episodes.values()] == [EpisodeOutcome.EXHAUSTED]


def answers(*outcomes: type[Uncertain] | type[Rejected] | type[Retry]) -> Answer:
    """These, one a call, and then accepted."""
    left = list(outcomes)

    def answer(delivery: Delivery) -> Outcome:
        send_id = delivery.claim.send_id
        kind = left.pop(0) if left else Sent
        if kind is Retry:
            return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")
        return Sent(send_id=send_id) if kind is Sent else kind(send_id=send_id, detail="d")  # type: ignore[call-arg]

    return answer


RESENT = rule(stages=(stage("push", on_uncertain=OnUncertain.RESEND), stage("email", 2)))


def test_what_may_have_gone_out_counts_whatever_comes_after() -> None:
    for last in (Rejected, Uncertain):
        lived = life(RESENT, answer=answers(Uncertain, last))
        lived.until(30)
        days = [number for number, name, _ in lived.calls if name == "email"]
        assert len(days) == 1
        assert days[0] >= 9, "two days after the push that may have arrived"


def test_a_slot_is_not_given_back_by_a_call_that_may_have_arrived() -> None:
    one_a_week = Limits(caps=(Cap(max=1, per_ms=7 * DAY_MS, window=Window.ROLLING),))
    other = rule("other", stages=(stage("email"),), inactive_for_ms=round(7.00001 * DAY_MS))
    lived = life(RESENT, other, limits=one_a_week, answer=answers(Uncertain, Retry, Retry))
    lived.until(13)
    assert [name for _, name, _ in lived.calls if name == "email"] == []


def test_an_edit_to_keep_ends_the_repeating() -> None:
    lived = life(
        replace(RESENT, revision="old"),
        answer=answers(*[Uncertain] * 5),
    )
    lived.until(7)
    assert len(lived.calls) == 1
    kept = rule(revision="new", stages=(stage("push"), stage("email", 2)), on_edit=OnEdit.MOVE)
    lived.rules = rule_set(kept)
    lived.until(8)
    assert len(lived.calls) == 1


# --- one stage, several addresses ---------------------------------------------------------------

TABLET = replace(PHONE, endpoint_id="e9", address="token-9", channel_type="APNS")


def half_throttled(delivery: Delivery) -> Outcome:
    if delivery.address == "token-9" and delivery.claim.channel is Channel.PUSH:
        reason = Reason.PROVIDER_THROTTLED
        return Retry(send_id=delivery.claim.send_id, reason=reason, detail="429", delay_ms=HOUR_MS)
    return Sent(send_id=delivery.claim.send_id)


@pytest.mark.parametrize("on_hit", [OnHit.SKIP, OnHit.NEXT_STAGE])
def test_a_stage_that_half_went_out_went_out(on_hit: OnHit) -> None:
    afternoon = QuietHours(
        name="afternoon",
        open_week=open_but(12 * 60 + 30, 18 * 60),
        matchers=(parse_matcher('channel="push"'),),
        on_hit=on_hit,
    )
    lived = life(
        rule(stages=(stage("push"), stage("email", 2))),
        quiet_hours=(afternoon,),
        endpoints=(PHONE, TABLET, MAIL),
        answer=half_throttled,
    )
    lived.until(30)
    assert [number for number, name, _ in lived.calls if name == "email"] == [9]


# --- holdout, rollout, variants -----------------------------------------------------------------


def test_a_user_who_is_held_out_walks_the_ladder_and_gets_nothing() -> None:
    lived = life(rule(holdout=Share(percent=100, salt="s")))
    assert lived.until(30) == []
    walked = [(d.at_ms, d.stage) for d in lived.decisions if d.reason == "holdout"]
    assert walked == [(day(7), "push"), (day(9), "email"), (day(12), "sms")]
    (episode,) = lived.episodes.values()
    assert (episode.arm, episode.last_stage, episode.last_sent_ms) == (Arm.HOLDOUT, "sms", day(12))


def test_the_arm_is_settled_when_the_ladder_begins() -> None:
    lived = life(rule(holdout=Share(percent=100, salt="s")))
    lived.until(8)
    lived.rules = rule_set(rule())
    assert lived.until(30) == []


def test_nobody_outside_the_rollout_enters_until_it_is_raised() -> None:
    lived = life(rule(rollout=Share(percent=0, salt="s")))
    assert lived.until(30) == []
    assert lived.reasons() == ["not_in_rollout"]
    lived.rules, lived.due_ms = rule_set(rule(rollout=Share(percent=100, salt="s"))), day(20)
    assert lived.until(30)[0] == (20, "push")


def test_a_retry_keeps_the_text_of_the_first_call() -> None:
    texts = tuple(Variant(name=name, template=Text(body=name), weight=1) for name in ("a", "b"))
    lived = life(
        rule(stages=(stage("push", variants=texts, on_uncertain=OnUncertain.RESEND),)),
        answer=lambda delivery: Uncertain(send_id=delivery.claim.send_id, detail="timeout"),
    )
    lived.until(7.00001)
    first = lived.texts[0]
    heavier = tuple(replace(v, weight=1 if v.name == first else 10**6) for v in texts)
    lived.rules = rule_set(
        rule(stages=(stage("push", variants=heavier, on_uncertain=OnUncertain.RESEND),))
    )
    lived.until(9)
    assert set(lived.texts) == {first}
    assert len(lived.texts) == 5


# --- enabled_from, enabled_until ----------------------------------------------------------------


def test_no_ladder_begins_before_the_rule_is_enabled() -> None:
    lived = life(rule(enabled_from_ms=day(10)))
    assert lived.until(30) == [(10, "push"), (12, "email"), (15, "sms")]


def test_a_rule_that_ends_ends_what_is_held_too() -> None:
    waits = stage("push", on_undeliverable=OnUndeliverable.WAIT)
    lived = life(rule(stages=(waits,), enabled_until_ms=day(9)), endpoints=(MAIL,))
    lived.until(30)
    (episode,) = lived.episodes.values()
    assert (episode.outcome, episode.closed_ms) == (EpisodeOutcome.CANCELLED, day(9))


def test_a_rule_that_ends_takes_its_open_ladders_along() -> None:
    lived = life(rule(enabled_until_ms=day(8.5)))
    assert lived.until(30) == [(7, "push")]
    (episode,) = lived.episodes.values()
    assert episode.outcome is EpisodeOutcome.CANCELLED
    lived.active(31)
    assert lived.until(60) == [(7, "push")]


# --- on_edit ------------------------------------------------------------------------------------

OLD = rule(revision="old", stages=(stage("push"), stage("email", 2)))
NEW = rule(revision="new", stages=(stage("push"), stage("sms", 1)))


def edited(on_edit: OnEdit, *, known: bool = True) -> Life:
    """The ladder is edited on day 8, after its push."""
    lived = life(OLD)
    lived.until(8)
    retired = {("winback", "old"): OLD} if known else {}
    lived.rules = replace(rule_set(replace(NEW, on_edit=on_edit)), retired=retired)
    lived.due_ms = day(8)
    return lived


def test_an_old_episode_finishes_the_ladder_it_began_with() -> None:
    lived = edited(OnEdit.FINISH_OLD)
    assert lived.until(20) == [(7, "push"), (9, "email")]
    lived.active(20)
    assert lived.until(40)[2:] == [(27, "push"), (28, "sms")]


def test_an_old_episode_moves_by_the_name_of_its_stage() -> None:
    lived = edited(OnEdit.MOVE)
    assert lived.until(20) == [(7, "push")]
    (episode,) = lived.episodes.values()
    assert episode.outcome is EpisodeOutcome.CANCELLED
    kept = life(OLD)
    kept.until(8)
    later = rule(revision="new", stages=(stage("push"), stage("email", 2), stage("sms", 4)))
    kept.rules, kept.due_ms = rule_set(replace(later, on_edit=OnEdit.MOVE)), day(8)
    assert kept.until(20) == [(7, "push"), (9, "email"), (13, "sms")]


def test_a_ladder_nobody_knows_is_not_cancelled_for_that() -> None:
    """A state of an older version names its ladders otherwise."""
    lived = life(OLD)
    lived.until(8)
    lived.rules, lived.due_ms = (
        rule_set(replace(OLD, revision="new", on_edit=OnEdit.CANCEL)),
        day(8),
    )
    assert lived.until(20) == [(7, "push"), (9, "email")]


def test_a_short_old_ladder_makes_way_for_a_long_one_in_one_look() -> None:
    lived = life(OLD)
    lived.until(8)
    stages = tuple(replace(stage("email"), name=f"s{number}") for number in range(9))
    long = rule(revision="new", stages=stages, exit_on=frozenset({ExitOn.ACTIVITY}))
    lived.rules = replace(rule_set(long), retired={("winback", "old"): OLD})
    lived.endpoints = ()
    lived.active(9)
    assert lived.until(40) == [(7, "push")]


def test_an_old_episode_is_cancelled() -> None:
    lived = edited(OnEdit.CANCEL)
    assert lived.until(20) == [(7, "push")]
    (episode,) = lived.episodes.values()
    assert (episode.outcome, episode.closed_ms) == (EpisodeOutcome.CANCELLED, day(8))
    lived.active(20)
    assert lived.until(40)[1:] == [(27, "push"), (28, "sms")]


def test_a_ladder_nobody_knows_any_more_goes_on_with_the_new_one() -> None:
    assert edited(OnEdit.FINISH_OLD, known=False).until(20) == [(7, "push")]


def test_switching_to_shadow_stops_old_episodes_too() -> None:
    lived = life(OLD)
    lived.until(8)
    shadow = replace(NEW, mode=Mode.SHADOW)
    lived.rules = replace(rule_set(shadow), retired={("winback", "old"): OLD})
    assert lived.until(30) == [(7, "push")]
    assert lived.decisions[-2].reason == "ladder_done"


# --- priority, caps -----------------------------------------------------------------------------


def test_the_higher_priority_takes_the_slot_and_the_lower_says_so() -> None:
    high = rule("high", stages=(stage("email"),), priority=9)
    low = rule("low", stages=(stage("push"),))
    one_a_day = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.ROLLING),))
    lived = life(high, low, limits=one_a_day)
    assert lived.until(30) == [(7, "email"), (8, "push")]
    held = [d for d in lived.decisions if d.rule == "low" and d.reason == "priority_lost"]
    assert [(d.at_ms, d.until_ms) for d in held] == [(day(7), day(8))]


def test_a_slot_that_was_gone_before_is_a_cap_and_no_lost_race() -> None:
    one_a_week = Limits(caps=(Cap(max=1, per_ms=7 * DAY_MS, window=Window.ROLLING),))
    lived = life(rule(), limits=one_a_week)
    assert lived.until(30) == [(7, "push"), (14, "email"), (21, "sms")]
    assert "cap" in lived.reasons()
    assert "priority_lost" not in lived.reasons()


# --- money and pace -----------------------------------------------------------------------------

SMS_PRICES = Prices(otherwise={Channel.SMS: 50_000}, by_country={Channel.SMS: {"US": 20_000}})
ONLY_SMS = rule(stages=(stage("sms"),))


def budget(dollars: float, on_exhausted: OnHit = OnHit.DEFER) -> Limits:
    micros = round(dollars * 1_000_000)
    return Limits(
        budgets=(Budget(channel=Channel.SMS, max_micros=micros, on_exhausted=on_exhausted),)
    )


def spent(dollars: float, at: float) -> Purse:
    at_ms = day(at)
    return Purse([Spend(channel=Channel.SMS, at_ms=at_ms, micros=round(dollars * 1_000_000))])


def test_an_sms_waits_for_the_next_day_of_the_budget() -> None:
    lived = life(ONLY_SMS, limits=budget(200), prices=SMS_PRICES, purse=spent(199.99, 7))
    assert lived.until(30) == [(7.5, "sms")]
    assert lived.reasons()[1] == "budget"
    assert lived.purse.spent_micros(Channel.SMS, day(7.5), day(8.5)) == 20_000


def test_the_price_is_of_the_country_of_the_number_and_per_part() -> None:
    abroad = replace(SMS, address="+33600000000", country="US")
    lived = life(ONLY_SMS, prices=SMS_PRICES, endpoints=(abroad,))
    lived.until(30)
    assert [claim.cost_micros for claim in lived.claims.values()] == [50_000]
    long_text = (Variant(name="", template=Text(body="x" * 161)),)
    lived = life(rule(stages=(stage("sms", variants=long_text),)), prices=SMS_PRICES)
    lived.until(30)
    assert [claim.cost_micros for claim in lived.claims.values()] == [2 * 20_000]


def test_an_empty_purse_may_move_the_user_on() -> None:
    ladder = rule(stages=(stage("sms"), stage("email", 2)))
    lived = life(
        ladder, limits=budget(1, OnHit.NEXT_STAGE), prices=SMS_PRICES, purse=spent(0.99, 7)
    )
    assert lived.until(30) == [(7, "email")]


def test_a_send_that_is_too_dear_is_undeliverable() -> None:
    cheap_only = stage("sms", max_price_micros=30_000)
    for address, sent in (
        ("+15550100", [(7, "sms"), (9, "email")]),
        ("+33600000000", [(7, "email")]),
    ):
        lived = life(
            rule(stages=(cheap_only, stage("email", 2))),
            prices=SMS_PRICES,
            endpoints=(replace(SMS, address=address), MAIL),
        )
        assert lived.until(30) == sent


def test_a_send_waits_for_the_pace_and_leaves_no_line_in_the_journal() -> None:
    pace = Pace([SendRate(max=1, per_ms=SECOND_MS)])
    pace.take(Channel.PUSH, 1, day(7))
    lived = life(rule(stages=(stage("push"),)), pace=pace)
    lived.until(7.001)
    (held,) = [d for d in lived.decisions if d.reason == "rate_wait"]
    assert (held.until_ms, held.notable) == (day(7) + SECOND_MS, False)
    assert len(lived.calls) == 1


# --- silences -----------------------------------------------------------------------------------


def silence(*matchers: str, kind: SilenceKind, ends: float | None) -> Silence:
    return Silence(
        silence_id=1,
        kind=kind,
        matchers=matchers,
        begins_ms=DAY_ZERO_MS,
        ends_ms=None if ends is None else day(ends),
        author="a",
        comment="c",
    )


def test_a_silenced_stage_goes_out_when_the_silence_ends() -> None:
    lived = life(silences=(silence('stage="push"', kind=SilenceKind.SILENCE, ends=8),))
    assert lived.until(30) == [(8, "push"), (10, "email"), (13, "sms")]
    assert "silenced" in lived.reasons()


def test_a_paused_channel_and_a_kill_switch_hold_and_a_return_still_ends_it() -> None:
    lived = life(silences=(silence('channel="email"', kind=SilenceKind.PAUSE, ends=None),))
    assert lived.until(20) == [(7, "push")]
    assert lived.reasons()[-1] == "paused"
    lived.silences = (silence(kind=SilenceKind.KILL, ends=None),)
    lived.active(21)
    lived.until(40)
    assert lived.reasons()[-1] == "kill_switch"
    assert lived.calls == [(7, "push", "token-1")]
    first = min(lived.episodes.values(), key=lambda episode: episode.opened_ms)
    assert first.outcome is EpisodeOutcome.RETURNED


# --- quiet hours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_hit", "sent"),
    [
        (OnHit.DEFER, [(7.25, "push"), (9.25, "email")]),
        (OnHit.SKIP, [(9, "email")]),
        (OnHit.NEXT_STAGE, [(7, "email")]),
    ],
)
def test_quiet_hours_say_what_becomes_of_a_stage(
    on_hit: OnHit, sent: list[tuple[float, str]]
) -> None:
    noon = QuietHours(
        name="noon",
        open_week=open_but(12 * 60, 18 * 60),
        matchers=(parse_matcher('channel="push"'),),
        on_hit=on_hit,
    )
    lived = life(rule(stages=(stage("push"), stage("email", 2))), quiet_hours=(noon,))
    assert lived.until(30) == sent


def test_a_legal_window_is_told_from_quiet_hours() -> None:
    law = QuietHours(name="law", open_week=open_but(12 * 60, 18 * 60), is_law=True)
    lived = life(quiet_hours=(law,))
    lived.until(7.1)
    assert lived.reasons()[-1] == "law_window"


# --- the rest -----------------------------------------------------------------------------------


def test_a_user_whose_every_endpoint_is_gone_leaves_the_ladder() -> None:
    lived = life(rule(exit_on=frozenset(ExitOn)))
    lived.until(8)
    lived.changed(8, *(replace(e, active=False) for e in (PHONE, MAIL, SMS)))
    lived.until(9)
    (episode,) = lived.episodes.values()
    assert (episode.outcome, lived.decisions[-2].reason) == (EpisodeOutcome.STOPPED, "user_deleted")


def test_the_law_has_its_words_around_the_text() -> None:
    korean = LegalText(matchers=(parse_matcher('country="KR"'),), prefix="(광고) ", suffix=" 080")
    prices = Prices(otherwise={Channel.SMS: 1})
    endpoint = replace(SMS, address="+821012345678")
    text = (Variant(name="", template=Text(body="x" * 64)),)
    lived = Life(
        rules=replace(
            rule_set(rule(stages=(stage("sms", variants=text),))),
            legal_texts=(korean,),
            prices=prices,
        ),
        endpoints=(endpoint,),
    )
    lived.active(0)
    lived.until(30)
    assert lived.texts == [f"(광고) {'x' * 64} 080"]
    assert [claim.cost_micros for claim in lived.claims.values()] == [2]  # 73 characters, UCS-2


def test_a_stage_hands_its_time_to_live_to_the_sender() -> None:
    view = life(rule(stages=(stage("push", ttl_ms=12 * HOUR_MS),))).view()
    looked = look(view, rule_set(rule(stages=(stage("push", ttl_ms=12 * HOUR_MS),))), day(7))
    assert [delivery.ttl_ms for delivery in looked.deliveries] == [12 * HOUR_MS]
    assert [d.action for d in looked.decisions] == [Action.OPEN, Action.SEND]


def test_switches_are_not_the_ladder() -> None:
    """A goal, a priority or a holdout may change under an episode without moving it."""
    lived = life(OLD)
    lived.until(8)
    lived.rules = rule_set(
        replace(
            OLD,
            priority=3,
            goal=Goal(event="buy", within_ms=1),
            holdout=Share(percent=50, salt="s"),
        )
    )
    assert lived.until(20) == [(7, "push"), (9, "email")]


def test_a_provider_is_told_in_dollars_what_an_sms_may_cost() -> None:
    ladder = rule(stages=(stage("sms", max_price_micros=80_000),))
    for currency, told in (("USD", 80_000), ("EUR", None)):
        rules = replace(rule_set(ladder), prices=Prices(currency=currency))
        looked = look(life(ladder).view(), rules, day(7))
        assert [delivery.max_price_micros for delivery in looked.deliveries] == [told]
