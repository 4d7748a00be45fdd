"""The quick way through ordinary events says exactly what the careful way says (differential)."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import samples
from tests.core.event_reading import BUILT_IN, EVERYTHING, expected, folded, read_one, said
from tests.core.samples import ARRIVAL_MS, EVENT_MS, KINESIS_MS, SHARD, Event, as_bytes, as_record
from worker import recency
from worker.event_endpoints import ATTRIBUTE_NAMES_MAX, ATTRIBUTE_VALUES_MAX
from worker.event_plain import Sighting
from worker.event_times import EARLIEST_MS, LATEST_MS
from worker.event_values import activity_of, conversion_of
from worker.events import Reading, read_record
from worker.model import DAY_MS, Activity, Conversion, Endpoint, Record
from worker.rules.ruleset import ActivityPolicy, Clocked, Goal, RuleGoal

GOALS = tuple(
    RuleGoal(rule=rule, goal=Goal(event=event, within_ms=DAY_MS))
    for rule, event in (("a", "_session.start"), ("b", "*"), ("c", "cart.*"))
)
POLICIES = [
    BUILT_IN,
    EVERYTHING,
    ActivityPolicy(events=("cart.*", "_SMS.*"), not_events=("_session.stop",), goals=GOALS),
    ActivityPolicy(clock=Clocked.ARRIVAL_TIME, goals=GOALS[:1]),
    ActivityPolicy(max_future_skew_ms=0),
]

# --- events of every kind, few enough people that they meet --------------------------------------

FULL = "x" * 4096
TOO_LONG = FULL + "x"
TEXTS: st.SearchStrategy[Any] = st.sampled_from(
    ["", "a", "b", "A", "ß", "\ud83d", FULL, TOO_LONG, None, 7, True, [], {}]
)
NAMES = st.one_of(st.sampled_from(["e1", "E1", "e2", "u1"]), TEXTS)
TIMES: st.SearchStrategy[Any] = st.one_of(
    st.integers(EVENT_MS - 3, EVENT_MS + 3),
    st.sampled_from(
        [
            *(ARRIVAL_MS, ARRIVAL_MS + DAY_MS, KINESIS_MS, EARLIEST_MS, EARLIEST_MS - 1),
            *(LATEST_MS - 1, LATEST_MS, 0, -1, 2**70, None, True, "", str(EVENT_MS), [], 1e300),
            float(EVENT_MS),
        ]
    ),
)
ODD_ATTRIBUTES: list[Any] = [
    *(None, {}, [], "x", {"a": "x"}, {"a": None}, {"a": []}, {"a": ["", "x"]}, {"": ["x"]}),
    *({"a": [1, True, 2.5]}, {TOO_LONG: ["x"]}, {"a": [TOO_LONG, "x"]}, {FULL: [FULL]}),
    {"a": ["x"] * ATTRIBUTE_VALUES_MAX},
    {"a": ["x"] * (ATTRIBUTE_VALUES_MAX + 1)},
    {str(number): ["x"] for number in range(ATTRIBUTE_NAMES_MAX)},
    {str(number): ["x"] for number in range(ATTRIBUTE_NAMES_MAX + 1)},
]
ATTRIBUTES = st.one_of(
    st.sampled_from(ODD_ATTRIBUTES),
    st.dictionaries(st.sampled_from("ab"), st.lists(st.sampled_from("xy"), min_size=1, max_size=2)),
)
PLACES = st.sampled_from([None, {}, "DE", {"Country": "DEU", "Region": "BY"}, {"Country": " "}])
DEVICES = st.sampled_from(
    [None, {}, 5, {"Timezone": "Asia/Seoul"}, {"Locale": "ko", "Platform": 3}]
)
USERS = st.one_of(
    st.sampled_from([None, {}, [], {"UserId": ""}]),
    st.builds(lambda name, told: {"UserId": name, "UserAttributes": told}, NAMES, ATTRIBUTES),
)
ENDPOINT_FACTS: dict[str, st.SearchStrategy[Any]] = {
    "Id": NAMES,
    "User": USERS,
    "ChannelType": st.sampled_from(["GCM", "EMAIL", "SMS", "", None, 5]),
    "Address": st.sampled_from([" Kim@Example.com", "010-1234-5678", "+15550100042", "", None]),
    "EndpointStatus": TEXTS,
    "OptOut": st.sampled_from(["ALL", "NONE", "", None, False]),
    "Demographic": DEVICES,
    "Location": PLACES,
    "Attributes": ATTRIBUTES,
    "ApplicationId": TEXTS,
    "EffectiveDate": TEXTS,
}
ENDPOINTS = st.fixed_dictionaries({}, optional=ENDPOINT_FACTS).map(
    lambda told: samples.endpoint(**told)
)
CONTEXTS = st.one_of(
    st.sampled_from([None, {}, [], {"custom": None}, {"custom": {"endpoint": 5}}]),
    st.builds(lambda found: {"custom": {"endpoint": found}}, ENDPOINTS | ENDPOINTS.map(json.dumps)),
)
EVENT_TYPES = st.one_of(
    st.sampled_from(["_session.start", "_session.stop", "_campaign.send", "cart.opened"]),
    st.sampled_from(["_email.click", "_email.open", "_SMS.OPTOUT", "_SMS.SUCCESS"]),
    st.sampled_from(["", None, 5, TOO_LONG]),
)
EVENT_FACTS: dict[str, st.SearchStrategy[Any]] = {
    "event_type": EVENT_TYPES,
    "event_timestamp": TIMES,
    "arrival_timestamp": TIMES,
    "application": st.builds(lambda app: {"app_id": app}, TEXTS) | st.sampled_from([None, {}, 5]),
    "client": st.builds(lambda name: {"client_id": name}, NAMES) | st.sampled_from([None, {}, 5]),
    "endpoint": ENDPOINTS | ENDPOINTS.map(json.dumps) | st.sampled_from([None, "", "{", [], 5]),
    "client_context": CONTEXTS,
    "attributes": st.sampled_from([None, {}, [], {"message_id": 5}, {"screen": 5}]),
    "facets": st.sampled_from([None, {}, [], {"email_channel": 5}]),
    "session": TEXTS,
}
CHANGED = st.fixed_dictionaries({}, optional=EVENT_FACTS).map(
    lambda told: samples.app_event(**told)
)
ORDINARY = st.builds(
    lambda user, name, kind, at_ms, delay, app, told: samples.app_event(
        event_type=kind,
        event_timestamp=at_ms,
        arrival_timestamp=ARRIVAL_MS + delay,
        application={"app_id": app},
        client={"client_id": name},
        endpoint=samples.endpoint(User={"UserId": user}, Id=name, **told),
    ),
    st.sampled_from(["u1", "u2"]),
    st.sampled_from(["e1", "e2"]),
    st.sampled_from(["_session.start", "_session.stop", "_session.pause"]),
    st.integers(EVENT_MS, EVENT_MS + 1),
    st.integers(0, 2),
    st.sampled_from(["app0", "app1"]),
    st.sampled_from([{}, {"EffectiveDate": "x"}, {"OptOut": "ALL"}, {"OptOut": None}]),
)
OTHER_FORMATS: list[Event] = [
    *(samples.mail_event(kind) for kind in samples.MAIL_KINDS),
    samples.sms_event("OPTOUT"),
    samples.campaign_event("opened_notification"),
    samples.documented_app_event(),
    samples.ses_event("Click"),
    samples.text_event(),
]
EVENTS = CHANGED | ORDINARY | st.sampled_from(OTHER_FORMATS)


def damaged(data: bytes, at: int, what: bytes) -> bytes:
    place = at % (len(data) + 1)
    return data[:place] + what + data[place + len(what) :]


DAMAGE = st.sampled_from(
    [b'"', b"{", b"}", b",", b"\\", b"\xff", b"0", b"null", b'"Id":"e1",', b"\\ud83d"]
)
DATA = st.one_of(
    EVENTS.map(lambda event: json.dumps(event).encode()),
    st.lists(EVENTS, max_size=3).map(lambda several: b"\n".join(map(_encoded, several))),
    st.builds(
        damaged, EVENTS.map(lambda event: json.dumps(event).encode()), st.integers(0, 4_000), DAMAGE
    ),
    st.binary(max_size=40),
)


def _encoded(event: Event) -> bytes:
    return json.dumps(event).encode()


RECORDS = st.builds(
    lambda data, at_ms: as_record(data=data, arrival_ms=at_ms),
    DATA,
    st.sampled_from([KINESIS_MS, EVENT_MS - 1, EVENT_MS - DAY_MS]),
)


def carefully(records: list[Record], policy: ActivityPolicy) -> list[Reading]:
    return [read_record(record, shard_id=SHARD, policy=policy) for record in records]


@given(st.lists(RECORDS, max_size=6), st.sampled_from(POLICIES))
def test_any_batch_says_what_its_records_say_one_by_one(
    records: list[Record], policy: ActivityPolicy
) -> None:
    assert said(folded(records, policy)) == expected(carefully(records, policy))


@settings(max_examples=300)
@given(st.lists(ORDINARY.map(as_record), max_size=8), st.sampled_from(POLICIES))
def test_endpoints_that_come_again_and_change_are_not_mixed_up(
    records: list[Record], policy: ActivityPolicy
) -> None:
    assert said(folded(records, policy)) == expected(carefully(records, policy))


@pytest.mark.parametrize("told", ODD_ATTRIBUTES, ids=lambda told: repr(told)[:30])
def test_attributes_of_any_form_come_out_the_same(told: object) -> None:
    for shape in (
        samples.endpoint(Attributes=told),
        samples.endpoint(User={"UserAttributes": told}),
    ):
        read_one(as_record(samples.app_event(endpoint=shape)))


def test_values_that_only_python_takes_for_equal_are_kept_apart() -> None:
    events = [
        samples.app_event(
            arrival_timestamp=ARRIVAL_MS + number, endpoint=samples.endpoint(Attributes={"a": told})
        )
        for number, told in enumerate([1, True, 1.0, "1"])
    ]
    for count in range(1, 5):
        records = [as_record(event) for event in events[:count]]
        assert said(folded(records)) == expected(carefully(records, BUILT_IN))


# --- what is quick ------------------------------------------------------------------------------


@pytest.fixture
def careful_reads(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records that were read the careful way."""
    found: list[Record] = []

    def noted(record: Record, **others: Any) -> Reading:
        found.append(record)
        return read_record(record, **others)

    monkeypatch.setattr(recency, "read_record", noted)
    return found


def loose(event: Event) -> Event:
    event["endpoint"]["Attributes"] = {"visits": 12, "plan": ["x", None], "empty": []}
    return event


@pytest.mark.parametrize(
    "event",
    [
        samples.app_event(),
        samples.app_event(event_type="_session.stop"),
        samples.documented_app_event(),
        samples.custom_event(),
        samples.inapp_event(),
        samples.campaign_event(),
        samples.journey_event("opened_notification"),
        loose(samples.app_event()),
    ],
    ids=lambda event: str(event["event_type"]),
)
def test_ordinary_events_take_the_quick_way(event: Event, careful_reads: list[Record]) -> None:
    folded([as_record(event)])
    assert careful_reads == []


@pytest.mark.parametrize(
    "data",
    [
        as_bytes(samples.mail_event("click")),
        as_bytes(samples.sms_event()),
        as_bytes(samples.app_event(), samples.app_event()),
        as_bytes(samples.app_event(event_timestamp=str(EVENT_MS))),
        as_bytes(samples.app_event(facets=7)),
        as_bytes(samples.documented_app_event(client={})),
        b"{oops",
    ],
)
def test_everything_else_is_read_with_care(data: bytes, careful_reads: list[Record]) -> None:
    folded([as_record(data=data)])
    assert len(careful_reads) == 1


def test_an_endpoint_that_shows_itself_the_same_is_entered_once_with_its_latest_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Sighting] = []
    honest = Sighting.endpoint

    def counted(sighting: Sighting) -> Endpoint | None:
        made.append(sighting)
        return honest(sighting)

    monkeypatch.setattr(Sighting, "endpoint", counted)
    events = [
        samples.app_event(
            arrival_timestamp=ARRIVAL_MS + number % 7,
            endpoint=samples.endpoint(EffectiveDate=str(number)),
        )
        for number in range(10)
    ]
    (endpoint,) = folded(map(as_record, events)).endpoints
    assert (len(made), endpoint.at_ms) == (1, ARRIVAL_MS + 6)


# --- drafts -------------------------------------------------------------------------------------


def test_what_a_draft_became_is_the_frozen_value_itself() -> None:
    (endpoint,) = folded([as_record(samples.app_event())]).endpoints
    pairs: list[tuple[Any, Any]] = [
        (
            activity_of(1, "a", "u", "e"),
            Activity(at_ms=1, event_type="a", user_id="u", endpoint_id="e"),
        ),
        (
            activity_of(1, "a", None, None, "m", "x"),
            Activity(at_ms=1, event_type="a", message_id="m", address="x"),
        ),
        (
            conversion_of(1, "r", 2, None, "e"),
            Conversion(at_ms=1, rule="r", within_ms=2, endpoint_id="e"),
        ),
        (endpoint, Endpoint(**{one.name: getattr(endpoint, one.name) for one in fields(Endpoint)})),
    ]
    for made, built in pairs:
        assert type(made) is type(built)
        assert made == built
        assert repr(made) == repr(built)
        with pytest.raises(FrozenInstanceError):
            made.at_ms = 2
