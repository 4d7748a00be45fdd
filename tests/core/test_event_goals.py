"""Goals of rules, where a user is, which application, and by which clock things happened."""

from __future__ import annotations

import pytest

from tests.core import samples
from tests.core.event_reading import (
    SKEW_MS,
    activities,
    endpoint_of,
    folded,
    read,
    reasons,
    signals,
)
from tests.core.samples import (
    ARRIVAL_MS,
    ENDPOINT_ID,
    EVENT_MS,
    KINESIS_MS,
    USER_ID,
    Event,
    as_record,
    endpoint,
)
from worker.model import DAY_MS, HOUR_MS, Activity, Conversion, DeadReason
from worker.rules.ruleset import ActivityPolicy, Clocked, Goal, RuleGoal


def hoping(*goals: tuple[str, str], within_ms: int = DAY_MS, **policy: object) -> ActivityPolicy:
    """A policy whose rules hope for events: (rule, pattern)."""
    found = tuple(
        RuleGoal(rule=rule, goal=Goal(event=event, within_ms=within_ms)) for rule, event in goals
    )
    return ActivityPolicy(goals=found, **policy)  # type: ignore[arg-type] # fields of the policy


def conversions(*events: object, policy: ActivityPolicy) -> list[Conversion]:
    return [one for one in read(*events, policy=policy).signals if isinstance(one, Conversion)]


# --- goals --------------------------------------------------------------------------------------


def test_each_rule_that_hopes_for_an_event_is_told_of_it_once() -> None:
    policy = hoping(("a", "_session.*"), ("b", "*.start"), ("c", "_monetization.purchase"))
    assert conversions(samples.app_event(), policy=policy) == [
        Conversion(
            at_ms=EVENT_MS, rule=rule, within_ms=DAY_MS, user_id=USER_ID, endpoint_id=ENDPOINT_ID
        )
        for rule in ("a", "b")
    ]


def test_a_goal_need_not_be_an_activity() -> None:
    found = signals(samples.custom_event("cart.paid"), policy=hoping(("a", "cart.paid")))
    assert not any(isinstance(signal, Activity) for signal in found)
    assert [signal.at_ms for signal in found if isinstance(signal, Conversion)] == [EVENT_MS]


def test_no_rule_hopes_for_anything_unless_it_says_so() -> None:
    assert conversions(samples.app_event(), policy=ActivityPolicy(events=("*",))) == []


def test_without_a_user_the_endpoint_is_named() -> None:
    policy = hoping(("a", "*"), within_ms=HOUR_MS)
    (found,) = conversions(samples.documented_app_event(), policy=policy)
    assert (found.user_id, found.endpoint_id, found.within_ms) == (None, ENDPOINT_ID, HOUR_MS)


@pytest.mark.parametrize(
    ("stamp", "at_ms"),
    [(EVENT_MS - DAY_MS, EVENT_MS - DAY_MS), (ARRIVAL_MS + DAY_MS, ARRIVAL_MS + SKEW_MS)],
)
def test_a_goal_is_met_at_the_time_of_its_activity(stamp: int, at_ms: int) -> None:
    event = samples.app_event(event_timestamp=stamp)
    policy = hoping(("a", "*"))
    (found,) = conversions(event, policy=policy)
    (activity,) = activities(event, policy=policy)
    assert found.at_ms == activity.at_ms == at_ms


def test_the_unusable_time_of_a_goal_is_counted_and_the_goal_is_kept() -> None:
    event = samples.custom_event("cart.paid", event_timestamp=0)
    reading = read(event, policy=hoping(("a", "cart.paid")))
    assert reasons(reading) == [DeadReason.BAD_TIMESTAMP]
    assert [one.at_ms for one in reading.signals if isinstance(one, Conversion)] == [ARRIVAL_MS]


def test_a_goal_that_names_nobody_is_a_dead_letter() -> None:
    event = samples.documented_app_event(event_type="cart.paid", client={})
    reading = read(event, policy=hoping(("a", "cart.paid")))
    assert (reading.signals, reasons(reading)) == ((), [DeadReason.NO_IDENTITY])


def test_what_came_of_our_own_sends_can_be_a_goal_where_it_names_somebody() -> None:
    policy = hoping(("a", "_email.open"), ("a", "_SMS.SUCCESS"), ("a", "_campaign.send"))
    named: Event = {"endpoint": {"Id": "E1", "User": {"UserId": USER_ID}}}
    (found,) = conversions(samples.mail_event("open", **named), policy=policy)
    assert (found.at_ms, found.user_id, found.endpoint_id) == (ARRIVAL_MS, USER_ID, "e1")
    (found,) = conversions(samples.sms_event("SUCCESS", **named), policy=policy)
    assert found.user_id == USER_ID
    (found,) = conversions(samples.campaign_event("send"), policy=policy)
    assert found.user_id == USER_ID


@pytest.mark.parametrize(
    "event", [samples.mail_event("open"), samples.sms_event(), samples.ses_event("Open")]
)
def test_the_client_of_a_message_event_meets_no_goal(event: Event) -> None:
    policy = hoping(("a", "*"))
    assert conversions(event, policy=policy) == []
    assert reasons(read(event, policy=policy)) == []


def test_a_goal_told_twice_counts_once_and_told_later_again() -> None:
    events = [
        samples.app_event(),
        samples.app_event(),
        samples.app_event(event_timestamp=EVENT_MS + 1),
    ]
    found = folded(map(as_record, events), hoping(("a", "*"))).conversions
    assert sorted(one.at_ms for one in found) == [EVENT_MS, EVENT_MS + 1]


# --- the clock ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrival", "at_ms"),
    [(ARRIVAL_MS, ARRIVAL_MS), (None, KINESIS_MS), (KINESIS_MS + DAY_MS, KINESIS_MS + SKEW_MS)],
)
def test_by_the_clock_of_arrivals_things_happen_when_they_arrive(
    arrival: int | None, at_ms: int
) -> None:
    policy = hoping(("a", "*"), clock=Clocked.ARRIVAL_TIME)
    event = samples.app_event(event_timestamp=EVENT_MS - DAY_MS, arrival_timestamp=arrival)
    assert [one.at_ms for one in activities(event, policy=policy)] == [at_ms]
    assert [one.at_ms for one in conversions(event, policy=policy)] == [at_ms]


def test_by_the_clock_of_arrivals_the_time_of_the_event_does_not_matter() -> None:
    policy = ActivityPolicy(clock=Clocked.ARRIVAL_TIME)
    reading = read(samples.app_event(event_timestamp="yesterday"), policy=policy)
    assert reasons(reading) == []


def test_by_the_clock_of_arrivals_a_click_that_ses_reports_happens_at_its_arrival() -> None:
    policy = ActivityPolicy(clock=Clocked.ARRIVAL_TIME)
    (click,) = activities(samples.ses_event("Click"), policy=policy)
    assert click.at_ms == KINESIS_MS


# --- region and app -----------------------------------------------------------------------------


@pytest.mark.parametrize(("told", "kept"), [("TX", "TX"), ("", None), (None, None), (5, None)])
def test_the_region_is_kept_as_the_app_names_it(told: object, kept: str | None) -> None:
    shape = endpoint(Location={"Country": "USA", "Region": told})
    found = endpoint_of(samples.app_event(endpoint=shape))
    assert (found.country, found.region) == ("US", kept)


@pytest.mark.parametrize(
    ("application", "of_endpoint", "app"),
    [
        ({"app_id": "one"}, "two", "one"),
        ({"app_id": ""}, "two", "two"),
        ({}, "two", "two"),
        (None, "two", "two"),
        (5, None, None),
    ],
)
def test_the_app_is_the_one_of_the_event_else_of_the_endpoint(
    application: object, of_endpoint: str | None, app: str | None
) -> None:
    shape = endpoint(ApplicationId=of_endpoint)
    event = samples.app_event(application=application, endpoint=shape)
    assert endpoint_of(event).app == app


def test_the_newest_known_region_and_app_win() -> None:
    old = samples.app_event(endpoint=endpoint(Location={"Region": "TX"}))
    new = samples.app_event(
        arrival_timestamp=ARRIVAL_MS + 1,
        application={"app_id": "app1"},
        endpoint=endpoint(Location={}),
    )
    for events in ([old, new], [new, old]):
        (found,) = folded(map(as_record, events)).endpoints
        assert (found.region, found.app) == ("TX", "app1")


# --- policies -----------------------------------------------------------------------------------


def test_two_policies_do_not_borrow_from_each_other() -> None:
    event = samples.custom_event("cart.opened")
    for _ in range(2):
        for number in range(10):
            counts = number % 2 == 1
            policy = ActivityPolicy(events=("cart.*",) if counts else (), max_future_skew_ms=number)
            assert bool(activities(event, policy=policy)) is counts
