"""Events in an app's own words: what they say is what Pinpoint's events of that meaning say."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core import samples
from tests.core.event_reading import folded, read_one
from tests.core.samples import ARRIVAL_MS, EVENT_MS, KINESIS_MS, SHARD, as_record
from worker.event_dialects import BUILTINS, Builtin, Dialect, Reader, at
from worker.events import read_record
from worker.model import Activity, DeadReason, Endpoint, Receipt
from worker.rehearsal.memory import Memory
from worker.rehearsal.swift import Swift
from worker.rules.dialects import parse_formats, presets, readers_of
from worker.rules.ruleset import ActivityPolicy

SHOP = """
formats:
  - name: shop
    when: {source: [shop, shop-eu]}
    has: [user.id]
    type: event.name
    user_id: [user.id, user.legacy]
    endpoint_id: device.id
    time: sent.at
    arrival: got
    app: app
    timezone: device.zone
    locale: device.locale
    platform: device.os
    country: geo.0.country
    user_attributes: user.traits
    attributes: device.more
    addresses:
      - channel_type: {fixed: EMAIL}
        address: user.email
        opt_out: user.no_mail
      - {channel_type: {fixed: SMS}, address: user.phone, active: user.phone_works}
      - {channel_type: device.push.kind, address: device.push.token, endpoint_id: device.id}
"""


def formats(text: str) -> tuple[Dialect, ...]:
    dialects, problems = parse_formats(text.encode(), "formats.yaml")
    assert [str(problem) for problem in problems] == []
    return dialects


def reading(*readers: Reader, events: tuple[str, ...] = ("*",)) -> ActivityPolicy:
    return ActivityPolicy(events=events, readers=readers)


ONLY_SHOP = reading(*formats(SHOP))


def shop_event(**changes: Any) -> dict[str, Any]:
    return {
        "source": "shop",
        "event": {"name": "viewed"},
        "sent": {"at": EVENT_MS},
        "got": ARRIVAL_MS,
        "app": "shop",
        "user": {"id": "u1", "email": "Kim@Example.com", "traits": {"plan": "gold", "n": 3}},
        "device": {"id": "D-1", "zone": "Asia/Seoul", "locale": "ko_KR", "os": "ios"},
        "geo": [{"country": "KOR"}],
        **changes,
    }


def test_every_field_of_an_event_is_found_where_the_format_says() -> None:
    signals = read_one(as_record(shop_event()), ONLY_SHOP).signals
    activity = next(signal for signal in signals if isinstance(signal, Activity))
    assert (activity.at_ms, activity.event_type) == (EVENT_MS, "viewed")
    assert (activity.user_id, activity.endpoint_id) == ("u1", "d-1")
    phone, mail = (signal for signal in signals if isinstance(signal, Endpoint))
    assert (phone.endpoint_id, phone.address, phone.at_ms) == ("d-1", None, ARRIVAL_MS)
    assert (mail.endpoint_id, mail.address) == ("u1/email", "kim@example.com")
    for endpoint in (phone, mail):
        assert (endpoint.timezone, endpoint.locale) == ("Asia/Seoul", "ko_KR")
        assert (endpoint.platform, endpoint.country, endpoint.app) == ("ios", "KR", "shop")
        assert endpoint.user_attributes == {"plan": ("gold",), "n": ("3",)}
        assert endpoint.user_id == "u1"


names = st.text("abcdefgh", min_size=1, max_size=6)
zones = st.sampled_from(["Europe/Berlin", "Asia/Tokyo", None])
truths = st.sampled_from([True, False, None])


@given(
    user=names,
    device=names,
    zone=zones,
    country=st.sampled_from(["DE", "JPN", None]),
    traits=st.dictionaries(names, st.lists(names, min_size=1, max_size=3), max_size=3),
    kind=st.sampled_from(["GCM", "APNS"]),
    ago_ms=st.integers(0, 10**9),
)
def test_it_says_the_same_as_the_event_of_pinpoint_with_the_same_meaning(
    user: str,
    device: str,
    zone: str | None,
    country: str | None,
    traits: dict[str, list[str]],
    kind: str,
    ago_ms: int,
) -> None:
    own = shop_event(
        sent={"at": EVENT_MS - ago_ms},
        user={"id": user, "traits": traits},
        device={"id": device, "zone": zone, "push": {"kind": kind, "token": "Tok3n"}},
        geo=[{"country": country}],
    )
    pinpoint = {
        "event_type": "viewed",
        "event_timestamp": EVENT_MS - ago_ms,
        "arrival_timestamp": ARRIVAL_MS,
        "application": {"app_id": "shop"},
        "client": {"client_id": device},
        "endpoint": {
            "ChannelType": kind,
            "Address": "Tok3n",
            "Demographic": {"Timezone": zone},
            "Location": {"Country": country},
            "User": {"UserId": user, **({"UserAttributes": traits} if traits else {})},
        },
    }
    told = folded([as_record(own)], ONLY_SHOP)
    expected = folded([as_record(pinpoint)], reading(*BUILTINS))
    assert told.activities == expected.activities
    # The device's own entry and that of its push address are one endpoint.
    assert told.endpoints == expected.endpoints


def test_addresses_say_whether_they_may_be_used() -> None:
    user = {"id": "u", "email": "k@example.com", "no_mail": "yes", "phone": "+82105550100"}
    told = folded([as_record(shop_event(user={**user, "phone_works": False}))], ONLY_SHOP)
    book = {endpoint.endpoint_id: endpoint for endpoint in told.endpoints}
    assert (book["u/email"].opted_out, book["u/email"].active) == (True, None)
    assert (book["u/sms"].opted_out, book["u/sms"].active) == (None, False)


EACH = {
    "pinpoint": samples.app_event(),
    "shop": shop_event(),
    "ses": {
        "eventType": "Delivery",
        "mail": {"messageId": "m", "timestamp": "2026-01-01T00:00:00Z"},
        "delivery": {"timestamp": "2026-01-01T00:00:01Z"},
    },
    "end-user-messaging": {
        "eventType": "TEXT_DELIVERED",
        "eventTimestamp": EVENT_MS,
        "isFinal": True,
        "messageId": "s",
        "messageStatus": "DELIVERED",
        "destinationPhoneNumber": "+15550100042",
    },
}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_formats_on_one_stream_are_told_apart_by_shape(order: tuple[int, ...]) -> None:
    known: tuple[Reader, ...] = (*BUILTINS, *formats(SHOP))
    policy = reading(*(known[place] for place in order))
    for name, event in EACH.items():
        signals = read_one(as_record(event), policy).signals
        kinds = {type(signal) for signal in signals}
        if name in ("pinpoint", "shop"):
            assert kinds == {Activity, Endpoint}, name
        else:
            assert kinds == {Receipt}, name


def test_a_format_that_is_not_named_is_not_read() -> None:
    policy = reading(Builtin.SES)
    (letter,) = read_one(as_record(samples.app_event()), policy).dead_letters
    assert (letter.reason, letter.detail) == (
        DeadReason.NO_EVENT_TYPE,
        "in none of the formats ses",
    )


def test_the_first_format_that_fits_reads_also_what_looks_like_pinpoint() -> None:
    text = "formats: [{name: own, type: event_type, user_id: application.app_id}]"
    event = samples.app_event(application={"app_id": "me"})
    first = read_one(as_record(event), reading(*formats(text), *BUILTINS))
    last = read_one(as_record(event), reading(*BUILTINS, *formats(text)))
    assert {s.user_id for s in first.signals if isinstance(s, Activity)} == {"me"}
    assert {s.user_id for s in last.signals if isinstance(s, Activity)} == {samples.USER_ID}


def test_the_quick_reader_of_a_backtest_leaves_other_formats_alone() -> None:
    record = as_record(samples.app_event())
    swift = Swift(Memory(), reading(*formats(SHOP), *BUILTINS))
    assert not swift.take(record, KINESIS_MS)


@pytest.mark.parametrize(
    ("unit", "stated"),
    [
        ("seconds", EVENT_MS / 1_000),
        ("seconds", str(EVENT_MS // 1_000)),
        ("milliseconds", EVENT_MS),
        ("microseconds", EVENT_MS * 1_000),
        ("seconds", "2026-01-01T00:00:00Z"),
        ("microseconds", "2026-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_counted_in_the_stated_unit(unit: str, stated: object) -> None:
    text = f"formats: [{{name: own, type: t, user_id: u, time: at, unit: {unit}}}]"
    reading_ = read_one(as_record({"t": "x", "u": "me", "at": stated}), reading(*formats(text)))
    assert [signal.at_ms for signal in reading_.signals if isinstance(signal, Activity)] == [
        EVENT_MS
    ]


def test_a_time_that_cannot_be_used_gives_way_to_the_arrival() -> None:
    text = "formats: [{name: own, type: t, user_id: u, time: at}]"
    said = read_one(as_record({"t": "x", "u": "me", "at": "noon"}), reading(*formats(text)))
    assert [s.at_ms for s in said.signals if isinstance(s, Activity)] == [KINESIS_MS]
    assert [letter.reason for letter in said.dead_letters] == [DeadReason.BAD_TIMESTAMP]


def test_paths_go_through_lists_dotted_keys_and_json_in_text() -> None:
    event = {"a.b": [{"c": json.dumps({"d": [1, "found"]})}]}
    text = "formats: [{name: own, type: 'a\\.b.0.c.d.1', user_id: {fixed: me}}]"
    (dialect,) = formats(text)
    assert dialect.event_type.find(event) == (("a.b", "0", "c", "d", "1"), "found")
    assert at(event, ("a.b", "7", "c")) is None


def test_the_format_for_amplify_reads_flat_and_nested_events() -> None:
    (amplify,) = presets()["amplify-kinesis"]
    policy = reading(amplify)
    flat = {"eventType": "v", "userId": "u1", "timestamp": EVENT_MS, "deviceId": "d"}
    nested = {"event": {"name": "v"}, "user": {"id": "u1"}, "ts": EVENT_MS, "device": {"id": "d"}}
    one, other = (folded([as_record(event)], policy) for event in (flat, nested))
    assert one.activities == other.activities != ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["event", "user", "id", "type", "device", "email", "time", "endpoint"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(value=json_values)
def test_no_value_ends_the_reading(value: object) -> None:
    policy = reading(*formats(SHOP), *presets()["amplify-kinesis"], *BUILTINS)
    record = as_record(value)
    said = read_record(record, shard_id=SHARD, policy=policy)
    assert said.signals or said.dead_letters or isinstance(value, dict)


def test_folding_is_the_same_in_one_batch_and_in_several() -> None:
    records = [as_record(shop_event(sent={"at": EVENT_MS + n}), number=n + 1) for n in range(5)]
    whole = folded(records, ONLY_SHOP)
    assert [activity.at_ms for activity in whole.activities] == [EVENT_MS + 4]


def of(text: str) -> list[str]:
    return [str(problem) for problem in parse_formats(text.encode(), "f.yaml")[1]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f.yaml:1:1: the file is empty"),
        ("formats: []", "f.yaml:1:10: formats: expected at least one entry"),
        ("formats: [{name: a, user_id: u}]", '1:11: the key "type" is missing here'),
        ("formats: [{name: a, type: t}]", "an event must be about somebody"),
        ("formats: [{name: a, type: t, user: u}]", 'did you mean "user_id"?'),
        ("formats: [{name: a, type: t, user_id: u, unit: s}]", 'unknown value "s"'),
        ("formats: [{name: a b, type: t, user_id: u}]", "is no name"),
        ("formats: [{name: a, type: {}, user_id: u}]", "state either path or fixed"),
        ("formats: [{name: a, type: t, user_id: u, addresses: [{address: m}]}]", "channel_type"),
        ("formats: nothing", "formats: expected a list"),
    ],
)
def test_a_mistake_in_a_file_of_formats_is_told_with_its_place(text: str, told: str) -> None:
    problems = of(text)
    assert any(told in problem for problem in problems), problems
    assert all(problem.startswith("f.yaml:1:") for problem in problems)


def no_file(name: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pinpint", 'did you mean "pinpoint"?'),
        ("own.yaml", "own.yaml cannot be read: No such file"),
        ("ses, ses", '"ses" is there twice'),
        (" , ", "no format is named"),
    ],
)
def test_a_list_of_formats_that_cannot_be_used_says_why(text: str, told: str) -> None:
    assert told in "\n".join(readers_of(text, no_file)[1])


def test_the_default_is_what_aws_writes() -> None:
    assert readers_of("pinpoint,ses,end-user-messaging", no_file) == (BUILTINS, ())
