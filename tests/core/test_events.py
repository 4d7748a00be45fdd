"""What each kind of event says of people and their endpoints, and when it happened."""

from __future__ import annotations

import pytest

from tests.core import samples
from tests.core.event_reading import (
    EVERYTHING,
    SKEW_MS,
    activities,
    endpoint_of,
    read,
    read_data,
    reasons,
    signals,
)
from tests.core.samples import (
    ARRIVAL_MS,
    ENDPOINT_ID,
    EVENT_MS,
    KINESIS_MS,
    MAIL,
    MESSAGE_ID,
    TOKEN,
    USER_ID,
    Event,
    as_bytes,
)
from worker.event_endpoints import ATTRIBUTE_NAMES_MAX, ATTRIBUTE_VALUES_MAX
from worker.event_meanings import ACTIVE_EVENTS, NEVER_ACTIVE_EVENTS
from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.events import Reading
from worker.model import Activity, DeadReason, Endpoint
from worker.rules.ruleset import ActivityPolicy

# --- activity ---------------------------------------------------------------------------------

APP_ACTIVITY = sorted(name for name in ACTIVE_EVENTS if not name.startswith("_email."))
NOT_ACTIVITY = [
    samples.campaign_event("send"),
    samples.campaign_event("received_foreground"),
    samples.campaign_event("received_background"),
    samples.journey_event("send"),
    samples.journey_event("received_foreground"),
    samples.journey_event("received_background"),
    samples.app_event(event_type="_userauth.auth_fail"),
    samples.custom_event(),
    samples.stream_test_event(),
    *(samples.mail_event(kind) for kind in samples.MAIL_KINDS if kind != "click"),
    samples.sms_event("BUFFERED"),
    samples.sms_event("SUCCESS"),
    samples.sms_event("FAILURE"),
    samples.sms_event("OPTOUT"),
]


@pytest.mark.parametrize("event_type", APP_ACTIVITY)
def test_what_a_person_does_is_activity_of_the_endpoints_user(event_type: str) -> None:
    endpoint, activity = signals(samples.app_event(event_type=event_type))
    assert isinstance(endpoint, Endpoint)
    assert activity == Activity(
        at_ms=EVENT_MS, event_type=event_type, user_id=USER_ID, endpoint_id=ENDPOINT_ID
    )


@pytest.mark.parametrize("event", NOT_ACTIVITY, ids=lambda event: str(event["event_type"]))
def test_what_nobody_did_is_not_activity(event: Event) -> None:
    assert activities(event) == []


def test_opening_a_notification_names_the_user_inside_the_endpoint_text() -> None:
    for event in (
        samples.campaign_event("opened_notification"),
        samples.journey_event("opened_notification"),
    ):
        endpoint, activity = signals(event)
        assert isinstance(activity, Activity)
        assert (activity.user_id, activity.endpoint_id) == (USER_ID, ENDPOINT_ID)
        assert isinstance(endpoint, Endpoint)


def test_an_event_without_a_user_is_activity_of_its_endpoint_in_lower_case() -> None:
    event = samples.documented_app_event(client={"client_id": ENDPOINT_ID.upper()})
    assert signals(event) == (
        Activity(at_ms=EVENT_MS, event_type="_session.start", endpoint_id=ENDPOINT_ID),
    )


def test_a_click_in_a_mail_is_activity_at_its_arrival_by_message_and_address() -> None:
    assert signals(samples.mail_event("click")) == (
        Activity(at_ms=ARRIVAL_MS, event_type="_email.click", message_id=MESSAGE_ID, address=MAIL),
    )


def test_a_click_that_ses_reports_is_activity_at_its_own_time() -> None:
    (click,) = signals(samples.ses_event("Click", {"link": "https://example.com/"}))
    assert click == Activity(
        at_ms=EVENT_MS + 1_250, event_type="_email.click", message_id=MESSAGE_ID, address=MAIL
    )


@pytest.mark.parametrize(
    "event",
    [
        samples.mail_event("open"),
        samples.ses_event("Open"),
        samples.campaign_event("received_foreground"),
        samples.custom_event("cart.opened"),
        samples.app_event(event_type="_userauth.auth_fail"),
    ],
)
def test_rules_can_make_weak_and_custom_events_activity(event: Event) -> None:
    patterns = ("_email.open", "*.received_foreground", "cart.*", "_userauth.auth_fail")
    assert len(activities(event, policy=ActivityPolicy(events=patterns))) == 1


def test_rules_can_take_a_built_in_event_out() -> None:
    policy = ActivityPolicy(not_events=("_inapp.*",))
    assert activities(samples.inapp_event(), policy=policy) == []
    assert len(activities(samples.app_event(), policy=policy)) == 1


@pytest.mark.parametrize("event_type", sorted(NEVER_ACTIVE_EVENTS))
def test_no_rule_makes_our_own_sends_receipts_or_background_pushes_activity(
    event_type: str,
) -> None:
    whoever = {
        "facets": samples.mail_event()["facets"],
        "attributes": samples.sms_event()["attributes"],
    }
    event = samples.app_event(event_type=event_type, **whoever)
    assert activities(event, policy=EVERYTHING) == []


@pytest.mark.parametrize("event", [samples.ses_event("Delivery"), samples.text_event()])
def test_no_rule_makes_receipts_of_the_other_formats_activity(event: Event) -> None:
    assert activities(event, policy=EVERYTHING) == []


def test_activity_that_names_nobody_is_a_dead_letter() -> None:
    reading = read(samples.documented_app_event(client={}))
    assert reading.signals == ()
    assert reasons(reading) == [DeadReason.NO_IDENTITY]


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "arrival", "at_ms"),
    [
        pytest.param(EVENT_MS, ARRIVAL_MS, EVENT_MS, id="the event's own time"),
        pytest.param(EVENT_MS - 10**9, ARRIVAL_MS, EVENT_MS - 10**9, id="days late"),
        pytest.param(ARRIVAL_MS + 258, ARRIVAL_MS, ARRIVAL_MS + 258, id="ahead within the skew"),
        pytest.param(ARRIVAL_MS + 10**9, ARRIVAL_MS, ARRIVAL_MS + SKEW_MS, id="clock far ahead"),
        pytest.param(
            KINESIS_MS + 10**9, KINESIS_MS + 10**9, KINESIS_MS + SKEW_MS, id="both far ahead"
        ),
        pytest.param(str(EVENT_MS), ARRIVAL_MS, EVENT_MS, id="digits in a string"),
        pytest.param(float(EVENT_MS), ARRIVAL_MS, EVENT_MS, id="a float"),
        pytest.param("2026-01-01T00:00:00.000Z", ARRIVAL_MS, EVENT_MS, id="ISO 8601"),
        pytest.param(None, ARRIVAL_MS, ARRIVAL_MS, id="no event time"),
        pytest.param(None, None, KINESIS_MS, id="no time at all"),
    ],
)
def test_activity_happens_at_the_events_time_but_not_after_its_arrival(
    stamp: object, arrival: object, at_ms: int
) -> None:
    event = samples.documented_app_event(event_timestamp=stamp, arrival_timestamp=arrival)
    (activity,) = signals(event)
    assert activity.at_ms == at_ms


UNUSABLE_TIMES = [
    -1,
    0,
    EVENT_MS // 1000,
    EVENT_MS * 1000,
    EARLIEST_MS - 1,
    LATEST_MS,
    2**70,
    "yesterday",
    "2026-01-01T00:00:00",
    "9" * 400,
    "",
    True,
    [],
    {},
]


@pytest.mark.parametrize("stamp", UNUSABLE_TIMES, ids=repr)
def test_an_unusable_time_costs_no_activity_and_is_counted(stamp: object) -> None:
    reading = read(samples.documented_app_event(event_timestamp=stamp))
    assert [signal.at_ms for signal in reading.signals] == [ARRIVAL_MS]
    assert reasons(reading) == [DeadReason.BAD_TIMESTAMP]

    reading = read(samples.documented_app_event(event_timestamp=stamp, arrival_timestamp=stamp))
    assert [signal.at_ms for signal in reading.signals] == [KINESIS_MS]
    assert reasons(reading) == [DeadReason.BAD_TIMESTAMP]


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"NaN", b"9" * 5000])
def test_numbers_no_clock_can_show_are_unusable_times(number: bytes) -> None:
    data = as_bytes(samples.documented_app_event(event_timestamp=-7)).replace(b"-7", number)
    reading = read_data(data)
    # A number of 5,000 digits is no JSON that Python reads; the others are only bad times.
    expected = DeadReason.NOT_JSON if len(number) > 1000 else DeadReason.BAD_TIMESTAMP
    assert reasons(reading) == [expected]


def test_an_unusable_time_of_an_event_of_no_interest_is_not_counted() -> None:
    event = samples.documented_app_event(event_type="cart.opened", event_timestamp=0)
    assert read(event) == Reading()


def test_the_send_time_of_a_mail_never_becomes_the_time_of_its_click() -> None:
    (click,) = signals(samples.mail_event("click", arrival_timestamp=None, event_timestamp=0))
    assert click.at_ms == KINESIS_MS


def test_an_endpoint_is_as_new_as_the_arrival_of_its_event() -> None:
    assert endpoint_of(samples.app_event(event_timestamp=EVENT_MS - 10**9)).at_ms == ARRIVAL_MS


# --- endpoints --------------------------------------------------------------------------------


def test_an_app_event_carries_the_whole_endpoint() -> None:
    assert endpoint_of(samples.app_event()) == Endpoint(
        endpoint_id=ENDPOINT_ID,
        at_ms=ARRIVAL_MS,
        user_id=USER_ID,
        channel_type="GCM",
        address=TOKEN,
        active=True,
        opted_out=False,
        timezone="Asia/Seoul",
        country="KR",
        locale="ko_KR",
        platform="android",
        app="app0",
        attributes={"interests": ("tea", "books")},
        user_attributes={"plan": ("premium",)},
    )


def test_a_campaign_or_journey_event_carries_the_endpoint_without_its_address() -> None:
    for event in (samples.campaign_event("send"), samples.journey_event("send")):
        assert signals(event) == (
            Endpoint(
                endpoint_id=ENDPOINT_ID,
                at_ms=ARRIVAL_MS,
                user_id=USER_ID,
                channel_type="GCM",
                active=True,
                opted_out=False,
                timezone="Asia/Seoul",
                country="KR",
                locale="ko_KR",
                app="app0",
                attributes={"interests": ("tea",)},
                user_attributes={"plan": ("premium",)},
            ),
        )


def test_an_event_of_no_interest_still_tells_of_its_endpoint() -> None:
    assert endpoint_of(samples.custom_event()).address == TOKEN


@pytest.mark.parametrize(
    ("changes", "active", "opted_out"),
    [
        ({}, True, False),
        ({"EndpointStatus": "INACTIVE", "OptOut": "ALL"}, False, True),
        ({"EndpointStatus": None, "OptOut": None}, None, None),
        ({"EndpointStatus": "", "OptOut": ""}, None, None),
    ],
)
def test_status_and_opt_out_are_unknown_when_the_event_does_not_say(
    changes: Event, active: bool | None, opted_out: bool | None
) -> None:
    found = endpoint_of(samples.app_event(endpoint=samples.endpoint(**changes)))
    assert (found.active, found.opted_out) == (active, opted_out)


@pytest.mark.parametrize(
    ("channel_type", "address", "kept_as"),
    [("EMAIL", " Kim@Example.com", "kim@example.com"), ("SMS", "010-1234-5678", "+821012345678")],
)
def test_the_address_of_an_endpoint_is_kept_in_its_one_spelling(
    channel_type: str, address: str, kept_as: str
) -> None:
    shape = samples.endpoint(ChannelType=channel_type, Address=address)
    assert endpoint_of(samples.app_event(endpoint=shape)).address == kept_as


def test_attributes_are_bounded_in_names_and_values() -> None:
    many = {f"name{number}": ["v"] * 99 for number in range(999)}
    found = endpoint_of(samples.app_event(endpoint=samples.endpoint(Attributes=many))).attributes
    assert found is not None
    assert len(found) == ATTRIBUTE_NAMES_MAX
    assert {len(values) for values in found.values()} == {ATTRIBUTE_VALUES_MAX}


def test_an_absurdly_long_id_is_no_id() -> None:
    event = samples.app_event(endpoint=samples.endpoint(User={"UserId": "u" * 5000}))
    (activity,) = activities(event)
    assert (activity.user_id, activity.endpoint_id) == (None, ENDPOINT_ID)


@pytest.mark.parametrize("text", ["{", "[1]", "", "null", '{"User":' * 3000])
def test_an_unreadable_endpoint_text_costs_only_the_endpoint(text: str) -> None:
    event = samples.campaign_event("opened_notification")
    event["client_context"]["custom"]["endpoint"] = text
    reading = read(event)
    assert [type(signal) for signal in reading.signals] == [Activity]
    assert activities(event)[0].endpoint_id == ENDPOINT_ID
    assert reasons(reading) == [DeadReason.BAD_FIELD]
