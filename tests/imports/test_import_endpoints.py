"""One endpoint of a file: the value an event would make of it, and what is told of its dirt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.imports.address_book import FIRST_MS, iso
from tests.imports.imported import NOW_MS, read_one
from worker.event_times import EARLIEST_MS
from worker.events import read_record
from worker.imports.endpoints import FACTS
from worker.imports.findings import MADE_OF, Oddity
from worker.model import Endpoint, Record, StopReason
from worker.rules.ruleset import ActivityPolicy

NAMES = st.text("abcxyzÄ é.-_", min_size=1, max_size=12)
VALUES = st.one_of(
    st.lists(st.one_of(NAMES, st.integers(0, 9), st.none(), st.just("")), max_size=3), NAMES
)
ATTRIBUTES = st.dictionaries(NAMES, VALUES, max_size=3)


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ENDPOINTS = st.fixed_dictionaries(
    {"Id": st.sampled_from(["one", "Two", "3F-Ä"])},
    optional={
        "ChannelType": st.sampled_from(["GCM", "APNS", "EMAIL", "SMS", "VOICE", "CUSTOM"]),
        "Address": st.sampled_from(
            [
                "tok:En",
                " Ann.Lee@Example.com ",
                "Ann <ann@example.com>",
                "+15550100042",
                "12065550182",
                "(202) 555-0191",
                "",
            ]
        ),
        "EndpointStatus": st.sampled_from(["ACTIVE", "INACTIVE"]),
        "OptOut": st.sampled_from(["ALL", "NONE"]),
        "Location": maybe(
            Country=st.sampled_from(["US", "USA", "de", "Korea", "", " CAN "]), Region=NAMES
        ),
        "Demographic": maybe(
            Timezone=st.sampled_from(["Asia/Seoul", "CST", ""]), Locale=NAMES, Platform=NAMES
        ),
        "User": maybe(UserId=st.sampled_from(["ann", "Ben", ""]), UserAttributes=ATTRIBUTES),
        "Attributes": ATTRIBUTES,
        "ApplicationId": NAMES,
        "Metrics": st.dictionaries(NAMES, st.floats(0, 9), max_size=2),
    },
)


def told_by_event(endpoint: dict[str, Any], at_ms: int) -> Endpoint:
    event = {
        "event_type": "_test.event_stream",
        "event_timestamp": at_ms,
        "arrival_timestamp": at_ms,
        "endpoint": endpoint,
    }
    record = Record(data=json.dumps(event).encode(), sequence_number="1", arrival_ms=at_ms)
    (signal,) = read_record(record, shard_id="s", policy=ActivityPolicy()).signals
    assert isinstance(signal, Endpoint)
    return signal


@given(ENDPOINTS, st.integers(FIRST_MS, NOW_MS))
def test_an_endpoint_is_the_same_from_a_file_and_from_an_event(
    endpoint: dict[str, Any], at_ms: int
) -> None:
    found, said, _ = read_one({**endpoint, "EffectiveDate": iso(at_ms)})
    assert found == told_by_event(endpoint, at_ms)
    assert said.rounds == [{found.endpoint_id: found}]


def odd(**changes: Any) -> list[str]:
    """The oddities of a clean endpoint with these changes; None takes a field away."""
    clean = {
        "Id": "e1",
        "ChannelType": "GCM",
        "Address": "tok",
        "EndpointStatus": "ACTIVE",
        "OptOut": "NONE",
        "EffectiveDate": iso(FIRST_MS),
        "User": {"UserId": "ann"},
    }
    dirty = {name: value for name, value in (clean | changes).items() if value is not None}
    _, _, findings = read_one(dirty)
    return [oddity.value for oddity, _ in findings]


SMS = {"ChannelType": "SMS"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({**SMS, "Address": "+1 (206) 555-0182"}, []),
        ({**SMS, "Address": "12065550182", "Location": {"Country": "US"}}, ["phone_completed"]),
        ({**SMS, "Address": "12065550182"}, ["phone_unusable"]),
        ({**SMS, "Address": "555", "Location": {"Country": "US"}}, ["phone_unusable"]),
        ({"Location": {"Country": "USA"}}, ["country_mapped"]),
        ({"Location": {"Country": "us"}}, ["country_mapped"]),
        ({"Location": {"Country": "XX"}}, ["country_unknown"]),
        ({"Demographic": {"Timezone": "CST"}}, ["zone_unknown"]),
        ({"EndpointStatus": "INACTIVE"}, ["inactive"]),
        ({"OptOut": "ALL"}, ["opted_out"]),
        ({"OptOut": "all"}, ["opted_out", "spelling"]),
        ({"OptOut": "yes"}, ["opted_out", "spelling", "opt_out_unknown"]),
        ({"EndpointStatus": "inactive"}, ["inactive", "spelling"]),
        ({"ChannelType": "gcm"}, ["spelling"]),
        ({"ChannelType": "CUSTOM"}, ["channel_unknown"]),
        ({"ChannelType": None}, ["channel_unknown"]),
        ({"Address": None}, ["no_address"]),
        ({"User": None}, ["no_user"]),
        ({"Id": None}, ["id_made"]),
        ({"Id": None, "Address": None}, ["no_identity"]),
        ({"EffectiveDate": None}, ["no_time"]),
        ({"EffectiveDate": "yesterday"}, ["bad_time"]),
        ({"EffectiveDate": "2090-01-01T00:00:00Z"}, ["bad_time"]),
        ({"EffectiveDate": "2024-01-01"}, []),
        ({"Attributes": ["no", "map"]}, ["field_left_out"]),
        ({"Attributes": {"tier": 3, "gone": None}}, []),
    ],
)
def test_each_dirt_is_told_once(changes: dict[str, Any], found: list[str]) -> None:
    assert odd(**changes) == found


@pytest.mark.parametrize("raw", [b"{", b"[]", b"17", b'"Id"', b"\xff{}", b"{" * 5_000])
def test_what_is_no_endpoint_is_told_and_passed_over(raw: bytes) -> None:
    endpoint, said, findings = read_one(raw)
    assert endpoint is None
    assert said.rounds == [{}]
    assert [oddity for oddity, _ in findings] == [Oddity.BAD_LINE]


def test_an_opt_out_in_another_case_is_not_lost() -> None:
    endpoint, _, _ = read_one(
        {"id": "e", "channeltype": "EMAIL", "address": "a@b.c", "optout": "ALL"}
    )
    assert endpoint is not None
    assert (endpoint.address, endpoint.opted_out) == ("a@b.c", True)
    endpoint, _, _ = read_one(
        {"Id": "e", "ChannelType": "EMAIL", "Address": "a@b.c", "optOut": "All"}
    )
    assert endpoint is not None
    assert endpoint.opted_out


def test_without_a_time_the_stream_is_always_newer_unless_somebody_says_of_when_the_file_is() -> (
    None
):
    timeless = {"Id": "e", "ChannelType": "GCM", "Address": "t"}
    endpoint, _, _ = read_one(timeless)
    assert endpoint is not None
    assert endpoint.at_ms == EARLIEST_MS
    endpoint, _, _ = read_one(timeless, as_of_ms=FIRST_MS)
    assert endpoint is not None
    assert endpoint.at_ms == FIRST_MS
    endpoint, _, _ = read_one({**timeless, "EffectiveDate": iso(FIRST_MS + 5)}, as_of_ms=FIRST_MS)
    assert endpoint is not None
    assert endpoint.at_ms == FIRST_MS + 5


def test_the_same_address_of_the_same_user_gets_the_same_id_however_it_is_spelled() -> None:
    def id_of(**fields: Any) -> str:
        endpoint, _, _ = read_one({"ChannelType": "EMAIL", **fields})
        assert endpoint is not None
        return endpoint.endpoint_id

    ann = id_of(Address="Ann@Example.com", User={"UserId": "ann"})
    assert ann == id_of(Address=" ann@example.com", User={"UserId": "ann"})
    assert ann != id_of(Address="ann@example.com", User={"UserId": "ben"})
    assert ann != id_of(Address="ann@example.com")


def test_effective_date_counts_as_seen_only_when_asked_and_only_of_live_endpoints() -> None:
    live = {"Id": "e", "ChannelType": "GCM", "Address": "t", "EffectiveDate": iso(FIRST_MS)}

    def seen(endpoint: dict[str, Any], *, last_seen: bool = True) -> list[int]:
        _, said, _ = read_one(endpoint, last_seen=last_seen)
        return [activity.at_ms for activity in said.activities]

    assert seen(live) == [FIRST_MS]
    assert seen(live, last_seen=False) == []
    assert seen({**live, "EndpointStatus": "INACTIVE"}) == []
    assert seen({**live, "EffectiveDate": None}) == []


def test_facts_with_times_of_their_own_are_told_apart() -> None:
    endpoint, said, _ = read_one(
        {
            "Id": "e",
            "ChannelType": "EMAIL",
            "Address": "a@b.c",
            "OptOut": "NONE",
            "EffectiveDate": iso(FIRST_MS + 9),
            "FactTimes": {"address": iso(FIRST_MS), "opted_out": iso(FIRST_MS), "at_ms": "x"},
            "Suppressed": {"Reason": "complained", "At": iso(FIRST_MS + 3)},
        }
    )
    assert endpoint is not None
    assert said.rounds == [
        {"e": Endpoint(endpoint_id="e", at_ms=FIRST_MS + 9, channel_type="EMAIL")},
        {"e": Endpoint(endpoint_id="e", at_ms=FIRST_MS, address="a@b.c", opted_out=False)},
    ]
    assert [(s.reason, s.at_ms) for s in said.stops] == [(StopReason.COMPLAINED, FIRST_MS + 3)]


def test_every_oddity_says_what_was_made_of_it() -> None:
    assert set(MADE_OF) == set(Oddity)
    assert {"user_id", "address", "user_attributes"} < FACTS
    assert not FACTS & {"endpoint_id", "at_ms", "suppressed"}


def test_the_guide_tells_every_oddity_as_the_report_does() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    for oddity, (found, made) in MADE_OF.items():
        assert f"| `{oddity.value}` | {found} | {made} |" in guide
