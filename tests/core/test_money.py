"""Money budgets: what counts on a day, what comes back, and that no day is overspent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from worker.model import DAY_MS, HOUR_MS, MINUTE_MS, Channel, Claim, Spend
from worker.money import Purse, hold_by_budget
from worker.rules.limits import Budget, OnHit

NOON_MS = 1_793_448_000_000
"""2026-10-31T12:00:00Z."""
MIDNIGHT_MS = NOON_MS + 12 * HOUR_MS

SMS = Budget(channel=Channel.SMS, max_micros=1_000)


def claim(at_ms: int, micros: int, channel: Channel = Channel.SMS) -> Claim:
    return Claim(
        send_id=f"{at_ms}-{micros}",
        user_id="u",
        rule="r",
        revision="1",
        episode_id="e",
        stage="sms",
        channel=channel,
        address_hash="a",
        claimed_ms=at_ms,
        cost_micros=micros,
    )


def until(purse: Purse, cost: int, at_ms: int, *budgets: Budget, **here: int) -> int | None:
    spending = {Channel(name): micros for name, micros in here.items()}
    hold = hold_by_budget(budgets or (SMS,), purse, spending, Channel.SMS, cost, at_ms)
    return hold.until_ms if hold else None


def test_the_last_micro_may_be_spent_and_not_one_more() -> None:
    purse = Purse([Spend(channel=Channel.SMS, at_ms=NOON_MS, micros=400)])
    purse.take([claim(NOON_MS + 1, 500)])
    assert until(purse, 100, NOON_MS + 2) is None
    assert until(purse, 101, NOON_MS + 2) == MIDNIGHT_MS
    assert until(purse, 101, MIDNIGHT_MS) is None


def test_what_was_certainly_not_sent_comes_back() -> None:
    purse = Purse()
    purse.take([claim(NOON_MS, 1_000)])
    assert until(purse, 1, NOON_MS) == MIDNIGHT_MS
    purse.give_back([claim(NOON_MS, 1_000)])
    assert until(purse, 1_000, NOON_MS) is None


def test_what_the_same_look_spends_counts() -> None:
    assert until(Purse(), 600, NOON_MS, sms=400) is None
    assert until(Purse(), 601, NOON_MS, sms=400) == MIDNIGHT_MS
    assert until(Purse(), 601, NOON_MS, push=400) is None


def test_a_budget_of_all_channels_counts_all_of_them() -> None:
    purse = Purse()
    purse.take([claim(NOON_MS, 900, Channel.PUSH)])
    whole = replace(SMS, channel=None)
    assert until(purse, 101, NOON_MS, whole) == MIDNIGHT_MS
    assert until(purse, 101, NOON_MS, SMS) is None


def test_what_costs_nothing_is_never_held() -> None:
    assert until(Purse(), 0, NOON_MS, Budget(max_micros=1, channel=Channel.SMS)) is None


def test_of_two_that_are_spent_the_longer_speaks() -> None:
    tokyo = replace(SMS, timezone="Asia/Tokyo", on_exhausted=OnHit.NEXT_STAGE)
    purse = Purse([Spend(channel=Channel.SMS, at_ms=NOON_MS, micros=1_000)])
    hold = hold_by_budget([SMS, tokyo], purse, {}, Channel.SMS, 1, NOON_MS)
    assert hold is not None
    assert (hold.until_ms, hold.on_exhausted) == (MIDNIGHT_MS, OnHit.DEFER)


@given(
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]),
    sends=st.lists(st.tuples(st.integers(0, 300 * MINUTE_MS), st.integers(0, 400)), max_size=60),
)
def test_no_local_day_is_ever_overspent(zone: str, sends: list[tuple[int, int]]) -> None:
    budget = replace(SMS, timezone=zone)
    purse, now_ms = Purse(), NOON_MS
    spent: dict[str, int] = {}
    for pause_ms, cost in sends:
        now_ms += pause_ms
        if hold_by_budget([budget], purse, {}, Channel.SMS, cost, now_ms) is None:
            purse.take([claim(now_ms, cost)])
            day = str(datetime.fromtimestamp(now_ms / 1_000, UTC).astimezone(ZoneInfo(zone)).date())
            spent[day] = spent.get(day, 0) + cost
    assert all(micros <= budget.max_micros for micros in spent.values())


def test_spends_of_other_days_do_not_count() -> None:
    purse = Purse([Spend(channel=Channel.SMS, at_ms=NOON_MS - DAY_MS, micros=1_000)])
    assert until(purse, 1_000, NOON_MS) is None
