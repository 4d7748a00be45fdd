"""Records that are not one tidy event: wrapped, several, broken, or anything at all."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import samples
from tests.core.event_reading import BUILT_IN, activities, read, read_data, reasons, signals
from tests.core.samples import KINESIS_MS, SHARD, Event, as_bytes
from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.event_wrappers import (
    OBJECTS_PER_RECORD_MAX,
    RECORD_BYTES_MAX,
    SOURCE_BYTES_MAX,
    UNREADABLE_PARTS_MAX,
)
from worker.events import DEAD_LETTERS_PER_RECORD_MAX, Reading, read_record
from worker.model import Activity, DeadLetter, DeadReason, Endpoint, Record, Stop

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


def test_every_member_of_a_gzip_text_is_read_and_a_cut_off_one_is_kept_aside() -> None:
    first = gzip.compress(as_bytes(samples.app_event(client={"client_id": "one"}, endpoint=None)))
    second = gzip.compress(as_bytes(samples.app_event(client={"client_id": "two"}, endpoint=None)))
    whole = read_data(first + second)
    assert [activity.endpoint_id for activity in whole.signals] == ["one", "two"]  # type: ignore[union-attr]
    cut = read_data(first[:-4])
    assert (cut.signals, [letter.detail for letter in cut.dead_letters]) == ((), ["cut-off gzip"])


def test_many_bad_parts_keep_a_bounded_number_of_dead_letters() -> None:
    lines = b"\n".join([b"{oops}"] * (UNREADABLE_PARTS_MAX + 50))
    assert len(read_data(lines).dead_letters) == DEAD_LETTERS_PER_RECORD_MAX
    nameless = [samples.documented_app_event(client={})] * (DEAD_LETTERS_PER_RECORD_MAX + 50)
    reading = read(*nameless, APP)
    assert len(reading.dead_letters) == DEAD_LETTERS_PER_RECORD_MAX
    assert reading.signals == signals(APP)


def test_a_record_of_endless_objects_is_read_up_to_a_bound_and_says_so() -> None:
    reading = read_data(b"{}" * (OBJECTS_PER_RECORD_MAX + 1))
    assert len(reading.dead_letters) == DEAD_LETTERS_PER_RECORD_MAX
    assert reasons(reading)[-2:] == [DeadReason.NO_EVENT_TYPE, DeadReason.TOO_LARGE]


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
