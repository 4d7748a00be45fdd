"""What each kind of event says: which signal, at which time, about whom."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import samples
from tests.core.samples import (
    ARRIVAL_MS,
    ENDPOINT_ID,
    EVENT_MS,
    KINESIS_MS,
    MAIL,
    MESSAGE_ID,
    PHONE,
    SEND_ID,
    SHARD,
    TOKEN,
    USER_ID,
    Event,
    as_bytes,
    as_record,
)
from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.event_wrappers import RECORD_BYTES_MAX, SOURCE_BYTES_MAX, UNREADABLE_PARTS_MAX
from worker.events import (
    ACTIVE_EVENTS,
    ATTRIBUTE_NAMES_MAX,
    ATTRIBUTE_VALUES_MAX,
    DEAD_LETTERS_PER_RECORD_MAX,
    NEVER_ACTIVE_EVENTS,
    Reading,
    read_record,
)
from worker.model import (
    Activity,
    Channel,
    DeadLetter,
    DeadReason,
    Endpoint,
    Receipt,
    ReceiptStatus,
    Record,
    Signal,
    Stop,
    StopReason,
)
from worker.rules.ruleset import ActivityPolicy

BUILT_IN = ActivityPolicy()
SKEW_MS = BUILT_IN.max_future_skew_ms
EVERYTHING = ActivityPolicy(events=("*",))


def read(*events: object, policy: ActivityPolicy = BUILT_IN) -> Reading:
    return read_record(as_record(*events), shard_id=SHARD, policy=policy)


def read_data(data: bytes) -> Reading:
    return read_record(as_record(data=data), shard_id=SHARD, policy=BUILT_IN)


def signals(*events: object, policy: ActivityPolicy = BUILT_IN) -> tuple[Signal, ...]:
    """The signals of events that read without any fault."""
    reading = read(*events, policy=policy)
    assert reading.dead_letters == ()
    return reading.signals


def activities(*events: object, policy: ActivityPolicy = BUILT_IN) -> list[Activity]:
    found = read(*events, policy=policy).signals
    return [signal for signal in found if isinstance(signal, Activity)]


def endpoint_of(event: object) -> Endpoint:
    (found,) = [signal for signal in signals(event) if isinstance(signal, Endpoint)]
    return found


def reasons(reading: Reading) -> list[DeadReason]:
    return [letter.reason for letter in reading.dead_letters]


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
    [("EMAIL", " Kim@Example.com", "kim@example.com"), ("SMS", "1 555 010-0042", PHONE)],
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


# --- stops and receipts -----------------------------------------------------------------------

MAIL_STOPS = [
    (samples.mail_event("hardbounce"), StopReason.HARD_BOUNCED, ARRIVAL_MS),
    (samples.mail_event("complaint"), StopReason.COMPLAINED, ARRIVAL_MS),
    (samples.mail_event("unsubscribe"), StopReason.UNSUBSCRIBED, ARRIVAL_MS),
    (
        samples.ses_event(
            "Bounce",
            {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": MAIL.upper()}]},
        ),
        StopReason.HARD_BOUNCED,
        EVENT_MS + 1_250,
    ),
    (
        samples.ses_event("Complaint", {"complainedRecipients": [{"emailAddress": MAIL}]}),
        StopReason.COMPLAINED,
        EVENT_MS + 1_250,
    ),
    (
        samples.ses_event("Subscription", {"newTopicPreferences": {"unsubscribeAll": True}}),
        StopReason.UNSUBSCRIBED,
        EVENT_MS + 1_250,
    ),
]


def stops(event: object) -> list[Stop]:
    return [signal for signal in signals(event) if isinstance(signal, Stop)]


@pytest.mark.parametrize(("event", "reason", "at_ms"), MAIL_STOPS)
def test_a_hard_bounce_a_complaint_and_an_unsubscribe_stop_the_address(
    event: Event, reason: StopReason, at_ms: int
) -> None:
    assert stops(event) == [Stop(at_ms=at_ms, channel=Channel.EMAIL, reason=reason, address=MAIL)]


def test_an_opt_out_by_sms_stops_the_number() -> None:
    assert signals(samples.sms_event("OPTOUT", "")) == (
        Stop(
            at_ms=ARRIVAL_MS + 258,
            channel=Channel.SMS,
            reason=StopReason.OPTED_OUT,
            address=PHONE,
        ),
    )


def test_a_failure_because_of_an_opt_out_stops_the_number_too() -> None:
    receipt, stop = signals(samples.sms_event("FAILURE", "OPTED_OUT"))
    assert isinstance(receipt, Receipt)
    assert isinstance(stop, Stop)
    assert stop.reason is StopReason.OPTED_OUT


def test_every_bounced_recipient_is_stopped_and_without_any_the_destination() -> None:
    event = samples.mail_event("hardbounce")
    bounce = event["facets"]["email_channel"]["mail_event"]["bounce"]
    bounce["bounced_recipients"] = [
        {"email_address": "a@example.com"},
        {"email_address": "B@x.org"},
    ]
    assert [stop.address for stop in stops(event)] == ["a@example.com", "b@x.org"]
    bounce["bounced_recipients"] = None
    assert [stop.address for stop in stops(event)] == [MAIL]


@pytest.mark.parametrize(
    "event",
    [
        samples.mail_event("softbounce"),
        samples.ses_event("Bounce", {"bounceType": "Transient"}),
        samples.ses_event("Complaint", {"complaintFeedbackType": "not-spam"}),
        samples.ses_event("Subscription", {"newTopicPreferences": {"unsubscribeAll": False}}),
    ],
)
def test_a_soft_bounce_and_a_change_of_mind_stop_nobody(event: Event) -> None:
    assert stops(event) == []


def test_a_stop_that_names_no_address_is_a_dead_letter() -> None:
    for event in (
        samples.sms_event("OPTOUT", attributes={}),
        samples.mail_event("unsubscribe", facets={}),
    ):
        reading = read(event)
        assert reading.signals == ()
        assert reasons(reading) == [DeadReason.NO_IDENTITY]


RECEIPTS = [
    (samples.sms_event("BUFFERED", "SUCCESSFUL"), ReceiptStatus.BUFFERED, "SUCCESSFUL"),
    (samples.sms_event("SUCCESS", "DELIVERED"), ReceiptStatus.DELIVERED, "DELIVERED"),
    (samples.sms_event("FAILURE", "UNREACHABLE"), ReceiptStatus.FAILED, "UNREACHABLE"),
    (samples.mail_event("send"), ReceiptStatus.BUFFERED, "send"),
    (samples.mail_event("delivered"), ReceiptStatus.DELIVERED, "delivered"),
    (samples.mail_event("hardbounce"), ReceiptStatus.FAILED, "hardbounce Permanent General"),
    (samples.mail_event("softbounce"), ReceiptStatus.FAILED, "softbounce Transient MailboxFull"),
    (samples.mail_event("rejected"), ReceiptStatus.FAILED, "rejected"),
    (samples.mail_event("rendering_failure"), ReceiptStatus.FAILED, "rendering_failure"),
    (samples.ses_event("Send"), ReceiptStatus.BUFFERED, "send"),
    (samples.ses_event("Delivery"), ReceiptStatus.DELIVERED, "delivered"),
    (samples.ses_event("DeliveryDelay"), ReceiptStatus.BUFFERED, "delivery_delay"),
    (samples.ses_event("Reject"), ReceiptStatus.FAILED, "rejected"),
    (samples.ses_event("Rendering Failure"), ReceiptStatus.FAILED, "rendering_failure"),
    (
        samples.ses_event("Bounce", {"bounceType": "Transient"}),
        ReceiptStatus.FAILED,
        "softbounce Transient",
    ),
    (samples.text_event("DELIVERED"), ReceiptStatus.DELIVERED, "DELIVERED"),
    (samples.text_event("SUCCESSFUL", isFinal=False), ReceiptStatus.BUFFERED, "SUCCESSFUL"),
    (samples.text_event("QUEUED"), ReceiptStatus.BUFFERED, "QUEUED"),
    (samples.text_event("CARRIER_BLOCKED"), ReceiptStatus.FAILED, "CARRIER_BLOCKED"),
]


@pytest.mark.parametrize(("event", "status", "detail"), RECEIPTS)
def test_a_delivery_report_is_a_receipt_named_by_message_and_address(
    event: Event, status: ReceiptStatus, detail: str
) -> None:
    (receipt,) = [signal for signal in signals(event) if isinstance(signal, Receipt)]
    mail = receipt.channel is Channel.EMAIL
    assert (receipt.status, receipt.detail) == (status, detail)
    assert (receipt.message_id, receipt.address) == (MESSAGE_ID, MAIL if mail else PHONE)


@pytest.mark.parametrize(
    "event",
    [
        samples.sms_event(),
        samples.ses_event(),
        samples.text_event(),
        samples.mail_event(attributes={"customer_context": json.dumps({"send_id": SEND_ID})}),
        samples.mail_event(attributes={"customer_context": {"send_id": SEND_ID}}),
        samples.mail_event(attributes={"send_id": SEND_ID}),
        samples.mail_event(client_context={"custom": {"send_id": SEND_ID}}),
    ],
)
def test_our_send_id_is_found_wherever_a_context_comes_back(event: Event) -> None:
    (receipt,) = signals(event)
    assert isinstance(receipt, Receipt)
    assert receipt.send_id == SEND_ID


@pytest.mark.parametrize(
    "context", [None, "", "{", "[]", "{}", '{"send_id": null}', '{"send_id": 5}', 5, "[" * 5000]
)
def test_a_context_without_our_send_id_leaves_the_message_id(context: object) -> None:
    event = samples.sms_event()
    event["attributes"]["customer_context"] = context
    (receipt,) = signals(event)
    assert isinstance(receipt, Receipt)
    assert (receipt.send_id, receipt.message_id) == (None, MESSAGE_ID)


def test_a_receipt_that_names_nothing_is_a_dead_letter() -> None:
    assert reasons(read(samples.sms_event(attributes={}))) == [DeadReason.NO_IDENTITY]


# --- wrappers and broken records --------------------------------------------------------------


def encoded(event: object) -> str:
    return base64.b64encode(as_bytes(event)).decode()


def sns(event: object) -> Event:
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:events",
        "Message": json.dumps(event),
    }


def event_bridge(event: object) -> Event:
    return {"version": "0", "detail-type": "Email Clicked", "source": "aws.ses", "detail": event}


APP = samples.app_event()
WRAPPED: dict[str, object] = {
    "SNS": sns(APP),
    "EventBridge": event_bridge(APP),
    "SNS in EventBridge": event_bridge(sns(APP)),
    "Lambda, Kinesis": {"Records": [{"kinesis": {"data": encoded(APP)}, "eventID": "1"}]},
    "Lambda, one record": {"kinesis": {"data": encoded(APP)}},
    "Lambda, SNS": {"Records": [{"EventSource": "aws:sns", "Sns": sns(APP)}]},
    "Firehose": {"records": [{"recordId": "1", "data": encoded(APP)}]},
    "CloudWatch Logs": {
        "messageType": "DATA_MESSAGE",
        "logEvents": [{"id": "1", "message": json.dumps(APP)}],
    },
}


@pytest.mark.parametrize("wrapper", WRAPPED.values(), ids=WRAPPED.keys())
def test_an_event_says_the_same_inside_a_wrapper(wrapper: object) -> None:
    assert signals(wrapper) == signals(APP)


def test_a_compressed_record_is_unpacked() -> None:
    wrapper = as_bytes(WRAPPED["CloudWatch Logs"])
    assert read_data(gzip.compress(wrapper)).signals == signals(APP)


def test_a_control_message_of_a_log_subscription_says_nothing() -> None:
    message = {"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "checking"}]}
    assert read(message) == Reading()


@pytest.mark.parametrize(
    "data",
    [
        as_bytes(APP) + b"\n",
        b"\n\n" + as_bytes(APP),
        as_bytes(APP) + b"\x00\x00",
        b"\xef\xbb\xbf" + as_bytes(APP),
        json.dumps(APP, indent=2).encode(),
    ],
    ids=["trailing newline", "leading newlines", "null bytes", "byte order mark", "indented"],
)
def test_what_surrounds_an_event_does_not_matter(data: bytes) -> None:
    reading = read_data(data)
    assert (reading.signals, reading.dead_letters) == (signals(APP), ())


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"", b" \x00 "])
def test_several_events_in_one_record_are_all_read_in_order(between: bytes) -> None:
    data = between.join([as_bytes(APP), as_bytes(samples.mail_event("click"))])
    assert read_data(data).signals == signals(APP) + signals(samples.mail_event("click"))


@pytest.mark.parametrize("indent", [None, 2])
def test_one_bad_object_among_several_loses_only_itself(indent: int | None) -> None:
    good = json.dumps(APP, indent=indent).encode()
    broken = json.dumps(APP, indent=indent).replace(",", " ", 1).encode()
    reading = read_data(b"\n".join([good, broken, good]))
    assert reading.signals == signals(APP) * 2
    assert reasons(reading) == [DeadReason.NOT_JSON]
    assert reading.dead_letters[0].data.startswith(broken[:40])


DEAD: dict[str, tuple[bytes, DeadReason]] = {
    "empty": (b"", DeadReason.NOT_JSON),
    "blank": (b" \n\x00", DeadReason.NOT_JSON),
    "text": (b"hello", DeadReason.NOT_JSON),
    "cut off": (as_bytes(APP)[:-5], DeadReason.NOT_JSON),
    "broken gzip": (b"\x1f\x8b\x08rubbish", DeadReason.NOT_JSON),
    "null": (b"null", DeadReason.NOT_AN_OBJECT),
    "list": (b"[{}]", DeadReason.NOT_AN_OBJECT),
    "number": (b"17", DeadReason.NOT_AN_OBJECT),
    "wrapped number": (b'{"Records":[17]}', DeadReason.NOT_AN_OBJECT),
    "no base64": ('{"kinesis": {"data": "é"}}'.encode(), DeadReason.NOT_JSON),
    "no type": (b'{"event_timestamp": 1}', DeadReason.NO_EVENT_TYPE),
    "empty type": (b'{"event_type": ""}', DeadReason.NO_EVENT_TYPE),
    "type of a wrong type": (b'{"event_type": 5}', DeadReason.NO_EVENT_TYPE),
    "unknown vendor event": (b'{"eventType": "VOICE_ANSWERED"}', DeadReason.NO_EVENT_TYPE),
    "too deep": (b'{"event_type":' * 5000, DeadReason.TOO_DEEP),
    "too large": (b" " * (RECORD_BYTES_MAX + 1), DeadReason.TOO_LARGE),
    "unpacks to too much": (gzip.compress(bytes(RECORD_BYTES_MAX + 1)), DeadReason.TOO_LARGE),
}


@pytest.mark.parametrize(("data", "reason"), DEAD.values(), ids=DEAD.keys())
def test_what_cannot_be_read_becomes_one_dead_letter(data: bytes, reason: DeadReason) -> None:
    reading = read_data(data)
    assert reading.signals == ()
    assert reasons(reading) == [reason]
    assert len(reading.dead_letters[0].data) <= SOURCE_BYTES_MAX


def test_wrappers_around_wrappers_end_somewhere() -> None:
    event: object = APP
    for _ in range(5):
        event = event_bridge(event)
    assert reasons(read(event)) == [DeadReason.TOO_DEEP]


def test_a_dead_letter_tells_where_its_record_is() -> None:
    record = Record(data=b"{" + b"x" * 9000, sequence_number="4965", arrival_ms=KINESIS_MS)
    (letter,) = read_record(record, shard_id=SHARD, policy=BUILT_IN).dead_letters
    assert letter == DeadLetter(
        reason=DeadReason.NOT_JSON,
        detail=letter.detail,
        shard_id=SHARD,
        sequence_number="4965",
        arrival_ms=KINESIS_MS,
        data=record.data[:SOURCE_BYTES_MAX],
    )


def test_the_reason_of_a_dead_letter_never_quotes_the_data() -> None:
    secret = "kim-secret"
    for data in (
        secret.encode(),
        b'{"a": "' + secret.encode(),
        as_bytes(samples.documented_app_event(client={}, attributes={"x": secret})),
        as_bytes(samples.documented_app_event(event_timestamp=secret)),
    ):
        (letter,) = read_data(data).dead_letters
        assert secret not in letter.detail


def test_many_bad_parts_keep_a_bounded_number_of_dead_letters() -> None:
    lines = b"\n".join([b"{oops}"] * (UNREADABLE_PARTS_MAX + 50))
    assert len(read_data(lines).dead_letters) == UNREADABLE_PARTS_MAX
    nameless = [samples.documented_app_event(client={})] * (DEAD_LETTERS_PER_RECORD_MAX + 50)
    reading = read(*nameless, APP)
    assert len(reading.dead_letters) == DEAD_LETTERS_PER_RECORD_MAX
    assert reading.signals == signals(APP)


# --- anything at all --------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=20,
)
SAMPLES: list[Event] = [
    APP,
    samples.campaign_event("opened_notification"),
    samples.mail_event("click"),
    samples.mail_event("hardbounce"),
    samples.sms_event(),
    samples.ses_event("Bounce", {"bounceType": "Permanent"}),
    samples.text_event(),
    sns(APP),
    {"Records": [{"kinesis": {"data": encoded(APP)}}]},
]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    inner: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], other: object) -> Any:
    """A copy with something else at the path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], other)
    return copy


def assert_storable(reading: Reading) -> None:
    """Whatever was read can be written down: no half characters, no missing names."""
    for signal in reading.signals:
        repr(signal).encode("utf-8")
        assert EARLIEST_MS <= signal.at_ms < LATEST_MS
        if isinstance(signal, Activity):
            assert signal.user_id or signal.endpoint_id or signal.message_id or signal.address
        elif isinstance(signal, Endpoint | Stop):
            assert signal.address != ""
    for letter in reading.dead_letters:
        assert len(letter.data) <= SOURCE_BYTES_MAX


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    assert_storable(read_data(data))


@given(JSON_VALUES)
def test_no_json_makes_the_reader_fail(value: object) -> None:
    assert_storable(read_data(json.dumps(value).encode()))


@given(st.data(), st.sampled_from(SAMPLES), JSON_VALUES)
def test_no_change_to_a_real_event_makes_the_reader_fail(
    data: st.DataObject, event: Event, other: object
) -> None:
    path = data.draw(st.sampled_from(places(event)))
    text = json.dumps(changed(event, path, other)).encode()
    assert_storable(read_data(text))


@given(st.sampled_from(SAMPLES), st.integers(0, 2500), st.binary(max_size=3))
def test_no_damage_to_a_real_events_bytes_makes_the_reader_fail(
    event: Event, where: int, what: bytes
) -> None:
    text = as_bytes(event)
    assert_storable(read_data(text[:where] + what + text[where + 1 :]))


@given(st.data(), JSON_VALUES)
def test_no_unneeded_field_can_cost_an_activity(data: st.DataObject, other: object) -> None:
    needed = {"event_type", "event_timestamp", "arrival_timestamp", "client", "endpoint"}
    field = data.draw(st.sampled_from(sorted(set(APP) - needed)))
    assert activities(APP | {field: other}) == activities(APP)
