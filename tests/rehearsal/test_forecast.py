"""The next days of many users: what is skipped or sampled changes nothing that it must not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.timeline import MAIL, PHONE, day, rule, rule_set, stage
from worker.model import DAY_MS, Channel, Claim, ClaimState, Reason, Spend, UserView
from worker.rehearsal.forecast import (
    OnStage,
    Sample,
    Standing,
    compared,
    forecast,
    leaving,
    may_be_affected,
    moved,
)
from worker.rehearsal.projection import project
from worker.rules.limits import Budget, Limits, Prices, SendRate
from worker.rules.ruleset import OnEdit, Rule, RuleSet


def user(number: int, last_active: float) -> UserView:
    """A user with a phone and a mail address, last here on a day."""
    name = f"u{number}"
    phone = replace(PHONE, endpoint_id=f"p{name}", user_id=name, address=f"token-{name}")
    mail = replace(MAIL, endpoint_id=f"m{name}", user_id=name, address=f"{name}@x.test")
    return UserView(user_id=name, last_active_ms=day(last_active), endpoints=(phone, mail))


def users(*last_active: float) -> list[UserView]:
    """One for each day."""
    return [user(number, at) for number, at in enumerate(last_active)]


SHORT = (stage("push"), stage("email", 2))
PUSH = OnStage("winback", "push")
EMAIL = OnStage("winback", "email")


def rules(*more: Rule, limits: Limits | None = None) -> RuleSet:
    return rule_set(rule(stages=SHORT), *more, limits=limits)


@given(
    last_active=st.lists(st.floats(-100, 20), max_size=12),
    days=st.integers(1, 30),
    longest=st.none() | st.integers(8, 60),
)
def test_who_is_skipped_by_recency_would_have_had_nothing(
    last_active: list[float], days: int, longest: int | None
) -> None:
    most = None if longest is None else longest * DAY_MS
    asked = rule_set(rule(stages=SHORT, max_inactive_ms=most))
    affected = may_be_affected([asked], day(20), day(20 + days))
    everybody = users(*last_active)
    skipped = [v for v in everybody if not affected(v.last_active_ms or 0, False)]
    told = forecast(asked, skipped, now_ms=day(20), until_ms=day(20 + days))
    assert told.entered == {}
    assert told.sends == Counter()


def test_the_long_dead_are_skipped_when_every_rule_leaves_them_alone() -> None:
    dead = day(-100)
    bounded = rule("bounded", max_inactive_ms=60 * DAY_MS)
    assert not may_be_affected([rule_set(bounded)], day(0), day(7))(dead, False)
    assert may_be_affected([rule_set(bounded, rule())], day(0), day(7))(dead, False)


def test_a_user_on_a_ladder_is_never_skipped() -> None:
    assert may_be_affected([rules()], day(0), day(1))(day(0), True)


def test_sends_and_money_are_counted_by_stage_and_day() -> None:
    asked = replace(rules(), prices=Prices(otherwise={Channel.EMAIL: 100_000}))
    told = forecast(asked, users(0, 1, 9), now_ms=day(7), until_ms=day(10))
    assert told.sends == {PUSH: 2, EMAIL: 2}
    assert told.cost_micros == Counter({PUSH: 0, EMAIL: 200_000})
    assert sum(told.cost_micros_on.values()) == 200_000
    assert told.entered == {("u0", "winback"): day(7), ("u1", "winback"): day(8)}


def on_push(name: str = "u0") -> UserView:
    """A user who is on the ladder, with the push sent on day 7."""
    return project(rules(), user(int(name[1:]), 0), now_ms=day(7), until_ms=day(7)).view


def test_a_call_under_way_counts_as_accepted() -> None:
    view = on_push()
    (claim,) = view.claims
    calling = replace(
        view,
        claims=(replace(claim, state=ClaimState.CLAIMED),),
        episodes=(replace(view.episodes[0], stage="push", stage_due_ms=day(7)),),
    )
    told = forecast(rules(), [calling], now_ms=day(7), until_ms=day(20))
    assert told.sends == {EMAIL: 1}


@pytest.mark.parametrize("on_edit", list(OnEdit))
def test_those_on_an_edited_ladder_stay_move_or_leave(on_edit: OnEdit) -> None:
    old = rule(stages=SHORT, on_edit=on_edit)
    edited = replace(old, revision="r2", stages=(stage("push"), stage("email", 5)))
    after = replace(rule_set(edited), retired={("winback", "r1"): old})
    told = [
        forecast(asked, [on_push()], now_ms=day(8), until_ms=day(30))
        for asked in (rule_set(old), after)
    ]
    moves, leaves = moved(*told), leaving(told[1], told[0])
    assert told[0].standing == {("u0", "winback"): Standing(stage="email", revision="r1")}
    assert moves == ({("winback", "email", "email"): 1} if on_edit is OnEdit.MOVE else {})
    expected = {("winback", "email", Reason.RULE_CHANGED): 1} if on_edit is OnEdit.CANCEL else {}
    assert leaves == expected
    assert compared(*told)["winback"].on_ladder == 1
    assert told[1].sends == ({} if on_edit is OnEdit.CANCEL else {EMAIL: 1})


def test_a_ladder_that_ends_with_either_set_is_no_difference() -> None:
    done = replace(on_push(), last_active_ms=day(7.5))
    told = [forecast(rules(), [done], now_ms=day(8), until_ms=day(9)) for _ in range(2)]
    assert leaving(told[1], told[0]) == {}
    assert moved(*told) == {}


def test_a_sample_is_stable_and_of_the_size_asked_for() -> None:
    def taken(size_max: int | None, names: range) -> list[str]:
        sample = Sample(size_max)
        for number in names:
            sample.offer(f"u{number}")
        return sample.user_ids()

    assert taken(10, range(100)) == taken(10, range(99, -1, -1))
    assert len(taken(10, range(100))) == 10
    assert set(taken(10, range(100))) <= set(taken(20, range(100)))
    assert taken(None, range(100)) == sorted(f"u{number}" for number in range(100))
    assert taken(200, range(100)) == sorted(f"u{number}" for number in range(100))


def test_the_budget_of_all_is_cut_to_the_share_that_is_played() -> None:
    """1,000 users would be sent 1,000 mails on a budget for 100; of 100 of them, 10 a day are."""
    price = Prices(otherwise={Channel.EMAIL: 1_000_000})
    limits = Limits(budgets=(Budget(max_micros=100_000_000, channel=Channel.EMAIL),))
    asked = replace(rules(limits=limits), prices=price)
    told = forecast(asked, users(*[0] * 100), now_ms=day(9), until_ms=day(11), share=0.1)
    # From noon of day 11 no day is over but that one.
    assert told.sends[EMAIL] == 10
    spent = [Spend(channel=Channel.EMAIL, at_ms=day(11) - DAY_MS // 4, micros=50_000_000)]
    less = forecast(
        asked, users(*[0] * 100), now_ms=day(9), until_ms=day(11), share=0.1, spends=spent
    )
    assert less.sends[EMAIL] == 5


def test_a_send_rate_is_cut_too() -> None:
    limits = Limits(send_rates=(SendRate(max=1, per_ms=DAY_MS // 10),))
    played = users(*[0] * 10)
    fast = forecast(rules(limits=limits), played, now_ms=day(7), until_ms=day(7.55))
    slow = forecast(rules(limits=limits), played, now_ms=day(7), until_ms=day(7.55), share=0.5)
    assert (fast.sends[PUSH], slow.sends[PUSH]) == (6, 3)


def test_a_projection_ends_when_nothing_more_can_happen() -> None:
    told = project(rules(), user(0, 0), now_ms=day(1))
    assert [(step.at_ms, step.stage, step.reason) for step in told.steps] == [
        (day(7), None, Reason.INACTIVE),
        (day(7), "push", Reason.SENT),
        (day(9), "email", Reason.SENT),
        (day(9), None, Reason.LADDER_DONE),
    ]
    assert all(isinstance(claim, Claim) for claim in told.view.claims)
