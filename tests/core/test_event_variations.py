"""The 29 ways in which real events differ from their documents, one test each.

Each was found in a capture, a vendor's sample or a production consumer; docs/events.md says what
is done about it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.core import samples
from tests.core.event_reading import read_one
from tests.core.samples import (
    ARRIVAL_MS,
    ENDPOINT_ID,
    EVENT_MS,
    MAIL,
    MESSAGE_ID,
    PHONE,
    SEND_ID,
    TOKEN,
    USER_ID,
    as_bytes,
    as_record,
    endpoint,
)
from worker.events import Reading
from worker.model import Activity, DeadReason, Endpoint, Receipt, Signal, Stop, StopReason


def read(*events: object, data: bytes | None = None) -> Reading:
    return read_one(as_record(*events, data=data))


def only(kind: type[Signal], *events: object) -> Any:
    """The one signal of a kind, from events that read without any fault."""
    reading = read(*events)
    assert reading.dead_letters == ()
    (found,) = [signal for signal in reading.signals if isinstance(signal, kind)]
    return found


def test_01_an_attribute_may_be_null() -> None:
    event = samples.campaign_event("opened_notification")
    assert event["attributes"]["campaign_type"] is None
    assert only(Activity, event).user_id == USER_ID
    event = samples.sms_event()
    event["attributes"] |= {"record_status": None, "customer_context": None}
    assert only(Receipt, event).message_id == MESSAGE_ID


def test_02_the_endpoint_may_be_text_or_an_object_in_either_place() -> None:
    shape = endpoint()
    for found in (shape, json.dumps(shape)):
        plain = samples.documented_app_event()
        at_top = only(Endpoint, plain | {"endpoint": found})
        in_context = only(Endpoint, plain | {"client_context": {"custom": {"endpoint": found}}})
        assert at_top == in_context
        assert (at_top.address, at_top.user_id) == (TOKEN, USER_ID)


@pytest.mark.parametrize("user", [{}, None, {"UserId": None}, {"UserId": ""}])
def test_03_the_user_of_an_endpoint_may_be_empty_or_absent(user: object) -> None:
    shape = endpoint(User=user)
    if user is None:
        del shape["User"]
    activity = only(Activity, samples.app_event(endpoint=shape))
    assert (activity.user_id, activity.endpoint_id) == (None, ENDPOINT_ID)
    assert only(Endpoint, samples.app_event(endpoint=shape)).user_id is None


@pytest.mark.parametrize("context", [None, {}, {"custom": {}}, {"custom": {"note": "x"}}])
def test_04_client_context_may_be_missing_or_without_an_endpoint(context: object) -> None:
    event = samples.campaign_event("opened_notification", client_context=context)
    assert only(Activity, event).endpoint_id == ENDPOINT_ID


def test_05_sdk_platform_and_session_may_all_be_empty() -> None:
    event = samples.app_event(application={"sdk": {}}, device={"platform": {}}, session={})
    assert only(Activity, event).user_id == USER_ID


def test_06_a_session_of_zeroes_says_nothing_about_the_time() -> None:
    session = {"session_id": "00000000-00000000", "start_timestamp": 0}
    assert only(Activity, samples.app_event(session=session)).at_ms == EVENT_MS


def test_07_metrics_may_be_missing_or_null() -> None:
    event = samples.app_event(metrics=None)
    assert only(Activity, event).user_id == USER_ID
    del event["metrics"]
    assert only(Activity, event).user_id == USER_ID


def test_08_an_event_may_be_stamped_a_little_after_its_arrival() -> None:
    event = samples.app_event(event_timestamp=ARRIVAL_MS + 554)
    assert only(Activity, event).at_ms == ARRIVAL_MS + 554


def test_09_the_event_time_of_mail_is_its_send_time_long_before_the_click() -> None:
    event = samples.mail_event("click", event_timestamp=EVENT_MS - 43 * 60_000)
    assert only(Activity, event).at_ms == ARRIVAL_MS


def test_10_a_client_id_is_an_endpoint_only_where_it_can_be_one() -> None:
    app = samples.documented_app_event(client={"client_id": "Any-TEXT é"})
    assert only(Activity, app).endpoint_id == "any-text é"
    mail = samples.mail_event("click", client={"client_id": ENDPOINT_ID})
    assert only(Activity, mail).endpoint_id is None
    sms = samples.sms_event(client={"client_id": "123456789012"})
    assert only(Receipt, sms).address == PHONE


def test_11_numbers_may_come_as_text() -> None:
    event = samples.app_event(
        event_timestamp=str(EVENT_MS),
        arrival_timestamp=str(ARRIVAL_MS),
        endpoint=endpoint(CohortId="13", Attributes={"age": 39}),
    )
    assert only(Activity, event).at_ms == EVENT_MS
    assert only(Endpoint, event).attributes == {"age": ("39",)}


def test_12_an_attribute_value_may_be_one_text_instead_of_a_list() -> None:
    mixed = {"age": "39", "likes": ["tea", None, "books"], "gone": None, "odd": {"a": 1}}
    shape = endpoint(Attributes=mixed, User={"UserId": USER_ID, "UserAttributes": mixed})
    found = only(Endpoint, samples.app_event(endpoint=shape))
    kept = {"age": ("39",), "likes": ("tea", "books")}
    assert (found.attributes, found.user_attributes) == (kept, kept)


@pytest.mark.parametrize(("said", "country"), [("USA", "US"), ("CAN", "CA"), ("US", "US")])
def test_13_countries_come_in_three_letters_beside_two(said: str, country: str) -> None:
    shape = endpoint(Location={"Country": said})
    assert only(Endpoint, samples.app_event(endpoint=shape)).country == country


def test_14_a_mail_header_may_be_the_text_null() -> None:
    event = samples.mail_event()
    headers = event["facets"]["email_channel"]["mail_event"]["mail"]["headers"]
    assert {"name": "Reply-To", "value": "null"} in headers
    assert only(Receipt, event).address == MAIL


def test_15_the_test_of_a_new_stream_says_nothing() -> None:
    assert read(samples.stream_test_event()) == Reading()


@pytest.mark.parametrize("version", ["3.0", "3.1", "4.0", None])
def test_16_events_of_different_versions_come_together(version: str | None) -> None:
    assert only(Activity, samples.app_event(event_version=version)).user_id == USER_ID


@pytest.mark.parametrize("stamp", [EVENT_MS, "Thu, 01 Jan 2026 00:00:00 GMT", None])
def test_17_the_send_time_of_a_mail_may_be_a_number_or_a_date(stamp: object) -> None:
    event = samples.mail_event("click")
    event["facets"]["email_channel"]["mail_event"]["mail"]["message_send_timestamp"] = stamp
    assert only(Activity, event).at_ms == ARRIVAL_MS


def test_18_words_come_in_several_cases() -> None:
    sms = samples.sms_event("FAILURE", "opted_out")
    sms["attributes"]["message_type"] = "PROMOTIONAL"
    assert only(Stop, sms).reason is StopReason.OPTED_OUT
    mail = samples.mail_event("hardbounce")
    mail["facets"]["email_channel"]["mail_event"]["bounce"]["bounce_type"] = "PERMANENT"
    assert only(Stop, mail).reason is StopReason.HARD_BOUNCED


def test_19_misspelt_and_unknown_keys_are_passed_over() -> None:
    event = samples.campaign_event("opened_notification", treament_id="0")
    event["attributes"]["treament_id"] = "0"
    assert only(Activity, event).user_id == USER_ID


@pytest.mark.parametrize("status", ["QUEUED", "", "SOMETHING_NEW"])
def test_20_a_record_status_may_be_empty_or_unknown(status: str) -> None:
    assert only(Receipt, samples.sms_event("BUFFERED", status)).detail == status
    assert only(Stop, samples.sms_event("OPTOUT", status)).address == PHONE


def test_21_records_may_end_in_newlines_hold_several_events_or_be_base64_inside() -> None:
    event = samples.app_event()
    expected = read(event).signals
    assert read(data=as_bytes(event) + b"\n").signals == expected
    assert read(event, event).signals == expected * 2
    data = base64.b64encode(as_bytes(event) + b"\n").decode()
    assert read({"Records": [{"kinesis": {"data": data}}]}).signals == expected


def test_22_events_may_be_wrapped_by_the_service_that_delivered_them() -> None:
    event = samples.sms_event()
    expected = read(event).signals
    assert read({"TopicArn": "arn", "Message": json.dumps(event)}).signals == expected
    assert read({"detail-type": "Event", "detail": event}).signals == expected
    assert read({"logEvents": [{"message": json.dumps(event)}]}).signals == expected


def test_23_the_account_id_may_be_missing() -> None:
    event = samples.app_event()
    del event["awsAccountId"]
    assert only(Activity, event).user_id == USER_ID


@pytest.mark.parametrize("number", ["+15550100042", "15550100042", "1 (555) 010-0042"])
def test_24_phone_numbers_come_with_and_without_a_plus(number: str) -> None:
    event = samples.sms_event("OPTOUT")
    event["attributes"]["destination_phone_number"] = number
    assert only(Stop, event).address == PHONE


def test_25_invalid_json_is_kept_aside_and_hurts_nothing_else() -> None:
    broken = as_bytes(samples.sms_event()).replace(b', "customer_context"', b' "customer_context"')
    reading = read(data=broken + b"\n" + as_bytes(samples.app_event()))
    assert [letter.reason for letter in reading.dead_letters] == [DeadReason.NOT_JSON]
    assert reading.signals == read(samples.app_event()).signals


def test_26_a_user_id_may_be_a_cognito_identity() -> None:
    identity = "eu-west-1:0a1b2c3d-0000-4000-8000-000000000000"
    shape = endpoint(User={"UserId": identity})
    assert only(Activity, samples.app_event(endpoint=shape)).user_id == identity


def test_27_an_opt_out_that_nobody_chose_is_still_an_opt_out() -> None:
    shape = endpoint(OptOut="ALL", ChannelType="CUSTOM")
    assert only(Endpoint, samples.app_event(endpoint=shape)).opted_out is True


@pytest.mark.parametrize("tags", [None, {}, {"campaign": ["winter"]}])
def test_28_the_tags_of_a_clicked_link_may_be_null_or_absent(tags: object) -> None:
    event = samples.mail_event("click")
    event["facets"]["email_channel"]["mail_event"]["click"]["link_tags"] = tags
    assert only(Activity, event).message_id == MESSAGE_ID
    assert only(Activity, samples.ses_event("Click", {"linkTags": tags})).address == MAIL


def test_29_a_session_may_carry_a_duration() -> None:
    session = {"session_id": "s", "start_timestamp": EVENT_MS, "duration": 4_000}
    session["stop_timestamp"] = None
    event = samples.app_event(event_type="_session.stop", session=session)
    assert only(Activity, event).at_ms == EVENT_MS


def test_a_wrongly_typed_field_costs_that_field_alone() -> None:
    event = samples.sms_event(device="phone", session=[], facets=7, client="me", metrics="none")
    event["attributes"] |= {"message_id": 5}
    receipt = only(Receipt, event)
    assert (receipt.send_id, receipt.message_id, receipt.address) == (SEND_ID, None, PHONE)
