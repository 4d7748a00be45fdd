"""What stands behind a decision is told in values, and never with an address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.core.timeline import MAIL, PHONE, SMS, day, rule, rule_set, stage
from worker.cli.standpoints import Standpoint, standpoints, tree, why_not
from worker.model import (
    DAY_MS,
    Arm,
    Channel,
    Claim,
    ClaimState,
    Episode,
    EpisodeOutcome,
    PastSend,
    Silence,
    SilenceKind,
    Spend,
    UserView,
)
from worker.moment import Moment
from worker.money import Purse
from worker.rules.limits import Budget, Cap, Limits, Prices, Window
from worker.rules.ruleset import Matcher, Mode, QuietHours, Rule, RuleSet, Share, open_but
from worker.silences import standing

NOW = 10.0
KOREAN = Matcher(name="country", operator="=", value="KR")
RICH = Matcher(name="plan", operator="=", value="premium")
PRICES = Prices(otherwise={Channel.SMS: 50_000})

OPEN = Episode(
    episode_id="e",
    user_id="u",
    rule="winback",
    revision="r1",
    silence_since_ms=day(0),
    opened_ms=day(7),
    stage="sms",
    stage_due_ms=day(9),
)
CLOSED = replace(OPEN, closed_ms=day(9), outcome=EpisodeOutcome.EXHAUSTED, stage=None)


def view(*episodes: Episode, **changes: Any) -> UserView:
    """A user, silent since day 0, with a phone, a mail address and a number in Germany."""
    endpoints = (PHONE, MAIL, replace(SMS, country="DE", user_attributes={"plan": ("secret",)}))
    values: dict[str, Any] = {"endpoints": endpoints, "episodes": episodes, **changes}
    return UserView(user_id="u", last_active_ms=day(0), **values)


def point(user: UserView, rules: RuleSet, **moment: Any) -> Standpoint:
    """Where the user stands under the one rule."""
    at = Moment(now_ms=day(NOW), wall_ms=day(NOW), **moment)
    (found,) = standpoints(user, rules, at)
    return found


def with_rule(**changes: Any) -> RuleSet:
    return replace(rule_set(rule(**changes)), prices=PRICES)


SENT = PastSend(at_ms=day(9.5), rule="other", stage="push", episode_id="x", channel=Channel.PUSH)
RETRYING = Claim(
    send_id="s",
    user_id="u",
    rule="winback",
    revision="r1",
    episode_id="e",
    stage="sms",
    channel=Channel.SMS,
    address_hash="0d2b1f9bd1f5ba4c",
    claimed_ms=day(9),
    attempt=2,
    state=ClaimState.CLAIMED,
)


def only(**changes: Any) -> Rule:
    """The rule with nothing but its SMS stage."""
    return rule(stages=(replace(stage("sms"), **changes),))


NIGHT = QuietHours(name="siesta", open_week=open_but(11 * 60, 13 * 60))

CASES: dict[str, tuple[UserView, RuleSet, dict[str, Any], str, str]] = {
    "silent": (
        view(),
        with_rule(inactive_for_ms=20 * DAY_MS),
        {},
        "not_yet_due",
        "last active 2026-10-31 12:00:00Z (10d ago), inactive_for is 20d",
    ),
    "tried": (view(CLOSED), with_rule(), {}, "once_per_silence", "ended 2026-11-09 12:00:00Z (1d"),
    "long gone": (
        view(),
        with_rule(max_inactive_ms=8 * DAY_MS),
        {},
        "max_inactive",
        "silent for 10d, max_inactive is 8d",
    ),
    "cooldown": (
        view(replace(CLOSED, silence_since_ms=day(-9))),
        with_rule(cooldown_ms=5 * DAY_MS),
        {},
        "cooldown",
        "as exhausted, cooldown is 5d",
    ),
    "not enabled": (
        view(),
        with_rule(enabled_from_ms=day(12)),
        {},
        "not_enabled",
        "enabled_from is 2026-11-12 12:00:00Z",
    ),
    "fact of ours": (
        view(),
        with_rule(matchers=(KOREAN,)),
        {},
        "not_matched",
        'country="KR" does not fit: country is DE',
    ),
    "attribute": (
        view(),
        with_rule(matchers=(RICH,)),
        {},
        "not_matched",
        'plan="premium" does not fit the user\'s plan',
    ),
    "no attribute": (
        view(endpoints=(PHONE,)),
        with_rule(matchers=(RICH,)),
        {},
        "not_matched",
        "the user has no plan",
    ),
    "rollout": (
        view(),
        with_rule(rollout=Share(percent=0, salt="s")),
        {},
        "not_in_rollout",
        "rolled out to 0 % of users",
    ),
    "in flight": (
        view(OPEN, claims=(RETRYING,)),
        with_rule(),
        {},
        "in_flight",
        "claimed at 2026-11-09 12:00:00Z, attempt 2",
    ),
    "by hand": (
        view(OPEN),
        with_rule(),
        {
            "silences": standing(
                [
                    Silence(
                        silence_id=7,
                        kind=SilenceKind.PAUSE,
                        matchers=('rule="winback"',),
                        begins_ms=day(8),
                        ends_ms=None,
                        author="sam",
                        comment="too many",
                    )
                ]
            )
        },
        "paused",
        'pause 7 on rule="winback", by sam at 2026-11-08 12:00:00Z: "too many"',
    ),
    "quiet": (
        view(OPEN),
        replace(with_rule(), quiet_hours=(NIGHT,)),
        {},
        "quiet_hours",
        "quiet hours siesta, zone UTC (told by the app); open 2026-11-10 13:00:00Z (in 1h)",
    ),
    "law": (
        view(OPEN),
        replace(with_rule(), quiet_hours=(replace(NIGHT, is_law=True),)),
        {},
        "law_window",
        "legal window siesta",
    ),
    "cap": (
        view(OPEN, sends=(SENT,)),
        rule_set(
            rule(),
            limits=Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),)),
        ),
        {},
        "cap",
        "at most 1 in 1d of the user's calendar, filled by push of other at 2026-11-10 00:00:00Z",
    ),
    "gap": (
        view(OPEN, sends=(SENT,)),
        rule_set(rule(), limits=Limits(min_gap_ms=DAY_MS)),
        {},
        "min_gap",
        "min_gap 1d, filled by push of other at 2026-11-10 00:00:00Z",
    ),
    "text": (
        view(OPEN),
        rule_set(rule(stages=(stage("sms", broken=True),))),
        {},
        "template_error",
        "User.UserAttributes.name has no value",
    ),
    "price": (
        view(OPEN),
        replace(rule_set(only(max_price_micros=10_000)), prices=PRICES),
        {},
        "once_per_silence",
        "sms: max_price, it would cost 0.05 USD, max_price is 0.01 USD",
    ),
    "budget": (
        view(OPEN),
        replace(
            rule_set(only(), limits=Limits(budgets=(Budget(max_micros=1_000_000),))),
            prices=PRICES,
        ),
        {"purse": Purse([Spend(channel=Channel.SMS, at_ms=day(9.875), micros=990_000)])},
        "budget",
        "all channels: 0.99 of 1 USD are spent today (UTC), this costs 0.05",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_values_behind_a_decision_are_told(name: str) -> None:
    user, rules, moment, reason, needle = CASES[name]
    found = point(user, rules, **moment)
    text = "\n".join((*tree(found), *why_not(found)))
    assert needle in text
    assert found.decision.reason == reason
    for address in ("token-1", "a@example.com", "+15550100", "secret"):
        assert address not in text


def test_caps_and_money_are_told_by_the_clock_they_count_by() -> None:
    """At 23:00 of the stream it is the next day on the wall: what was sent before midnight is of
    yesterday, and the send after it fills the cap."""
    before, after = (
        replace(SENT, at_ms=day(NOW + at), stage=stage)
        for at, stage in ((0.4, "old"), (0.6, "new"))
    )
    daily = Limits(caps=(Cap(max=1, per_ms=DAY_MS, window=Window.CALENDAR),))
    at = Moment(now_ms=day(NOW + 0.45), wall_ms=day(NOW + 0.7))
    (found,) = standpoints(view(OPEN, sends=(before, after)), rule_set(rule(), limits=daily), at)
    assert "filled by new of other at" in found.ground
    assert "old of other" not in found.ground
    spends = [
        Spend(channel=Channel.SMS, at_ms=day(NOW + when), micros=micros)
        for when, micros in ((0.375, 500_000), (0.625, 990_000))
    ]
    budget = Limits(budgets=(Budget(max_micros=1_000_000),))
    rules = replace(rule_set(only(), limits=budget), prices=PRICES)
    (found,) = standpoints(view(OPEN), rules, replace(at, purse=Purse(spends)))
    assert found.decision.reason == "budget"
    assert "0.99 of 1 USD are spent today" in found.ground


def test_only_if_is_explained_by_what_it_is_asked_of() -> None:
    """The user has an attribute of their own under the name of a fact that silences see."""
    own = replace(SMS, user_attributes={"rule": ("mine",)})
    rules = with_rule(
        stages=(replace(stage("sms"), only_if=(Matcher(name="rule", operator="=", value="x"),)),)
    )
    found = point(view(OPEN, endpoints=(own,)), rules)
    told = "\n".join(tree(found))
    assert "only_if" in told
    assert "rule is winback" not in told


def test_what_was_decided_before_in_the_same_instant_is_told_too() -> None:
    found = point(view(), with_rule(mode=Mode.SHADOW))
    lines = list(tree(found))
    assert lines[0] == "winback (shadow, on its ladder since 2026-11-10 12:00:00Z, at stage email)"
    assert lines[1:3] == [
        "  ->  the ladder: inactive, inactive long enough, the ladder begins",
        "  ->  push: would_send, the rule is in mode: shadow",
    ]


def test_a_stage_that_goes_out_is_no_no() -> None:
    found = point(view(OPEN), with_rule())
    assert list(tree(found))[-2] == "  ->  the stage is sent: claimed"
    assert list(why_not(found)) == ["winback sends sms now."]


def test_a_user_held_out_is_told_so_whatever_else_holds() -> None:
    held_out = replace(OPEN, arm=Arm.HOLDOUT, stage_due_ms=day(20))
    found = point(view(held_out), with_rule())
    assert any("held out on this ladder" in line for line in why_not(found))
