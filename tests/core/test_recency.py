"""Folding a batch: the latest wins, and neither order nor repetition changes what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.core import samples
from tests.core.samples import ARRIVAL_MS, EVENT_MS, KINESIS_MS, MAIL, MESSAGE_ID, PHONE, endpoint
from worker.model import (
    Activity,
    Batch,
    Channel,
    DeadReason,
    Effect,
    Endpoint,
    Position,
    ReceiptStatus,
    Record,
    Stop,
    StopReason,
    StreamIdentity,
)
from worker.recency import DEAD_LETTERS_WHOLE_MAX, fold, merge_endpoints
from worker.rules.ruleset import ActivityPolicy


def folded(*events: object) -> Effect:
    return fold_records(
        samples.as_record(event, number=number) for number, event in enumerate(events)
    )


def fold_records(found: Iterable[Record]) -> Effect:
    records = tuple(found)
    batch = Batch(
        stream=StreamIdentity(name="events", created_ms=0),
        position=Position(shard_id=samples.SHARD, sequence_number=str(len(records))),
        records=records,
        read_through_ms=KINESIS_MS,
    )
    return fold(batch, ActivityPolicy())


def app(user: str | None, at_ms: int, **shape: Any) -> dict[str, Any]:
    whose = {"User": {"UserId": user}} if user else {"User": {}}
    return samples.app_event(event_timestamp=at_ms, endpoint=endpoint(**(whose | shape)))


def test_an_empty_batch_changes_nothing() -> None:
    assert folded() == Effect()


def test_a_user_is_as_recent_as_the_latest_activity_of_the_batch() -> None:
    late, early, other = app("a", EVENT_MS), app("a", EVENT_MS - 9_000), app("b", EVENT_MS - 5)
    found = {a.user_id: a.at_ms for a in folded(early, late, other, early).activities}
    assert found == {"a": EVENT_MS, "b": EVENT_MS - 5}


def test_users_endpoints_and_messages_are_different_names() -> None:
    effect = folded(
        app("same", EVENT_MS, Id="e1"),
        app(None, EVENT_MS, Id="same"),
        samples.mail_event("click"),
        samples.mail_event("click", arrival_timestamp=ARRIVAL_MS + 100),
    )
    assert effect.activities == (
        Activity(at_ms=EVENT_MS, event_type="_session.start", user_id="same", endpoint_id="e1"),
        Activity(at_ms=EVENT_MS, event_type="_session.start", endpoint_id="same"),
        Activity(
            at_ms=ARRIVAL_MS + 100,
            event_type="_email.click",
            message_id=MESSAGE_ID,
            address=MAIL,
        ),
    )


def test_an_endpoint_takes_each_fact_from_the_newest_event_that_has_it() -> None:
    older = app("a", EVENT_MS, Demographic={"Timezone": "Asia/Seoul"}, OptOut="NONE")
    newer = samples.campaign_event("send", arrival_timestamp=ARRIVAL_MS + 100)
    shown = {"OptOut": "ALL", "User": {"UserId": "a"}}
    newer["client_context"]["custom"]["endpoint"] = json.dumps(shown)
    for events in ([older, newer], [newer, older]):
        (found,) = folded(*events).endpoints
        assert found.at_ms == ARRIVAL_MS + 100
        assert (found.opted_out, found.address) == (True, samples.TOKEN)
        assert found.timezone == "Asia/Seoul"


def test_the_same_stop_is_told_once_with_its_latest_time() -> None:
    earlier = samples.mail_event("unsubscribe")
    later = samples.mail_event("unsubscribe", arrival_timestamp=ARRIVAL_MS + 100)
    effect = folded(earlier, later, samples.sms_event("OPTOUT", ""), earlier)
    assert effect.stops == (
        Stop(
            at_ms=ARRIVAL_MS + 100,
            channel=Channel.EMAIL,
            reason=StopReason.UNSUBSCRIBED,
            address=MAIL,
        ),
        Stop(
            at_ms=ARRIVAL_MS + 258,
            channel=Channel.SMS,
            reason=StopReason.OPTED_OUT,
            address=PHONE,
        ),
    )


def test_receipts_keep_the_order_of_the_stream() -> None:
    effect = folded(samples.sms_event("BUFFERED"), samples.sms_event("SUCCESS"))
    statuses = [receipt.status for receipt in effect.receipts]
    assert statuses == [ReceiptStatus.BUFFERED, ReceiptStatus.DELIVERED]


def test_a_poison_record_is_set_aside_and_its_neighbours_count() -> None:
    effect = folded("poison", app("a", EVENT_MS))
    assert [activity.user_id for activity in effect.activities] == ["a"]
    (letter,) = effect.dead_letters
    assert (letter.reason, letter.shard_id) == (DeadReason.NOT_AN_OBJECT, samples.SHARD)
    assert letter.sequence_number == "0"


EVENTS = st.builds(
    app,
    st.sampled_from([None, "a", "b"]),
    st.integers(EVENT_MS - 5, EVENT_MS + 5),
    Id=st.sampled_from(["e1", "e2", "E1"]),
    OptOut=st.sampled_from(["ALL", "NONE", None]),
    Address=st.sampled_from(["t1", "t2", None]),
    Attributes=st.sampled_from([None, {}, {"a": ["1"], "b": ["2"]}, {"b": ["2"], "a": ["1"]}]),
).flatmap(
    lambda event: st.builds(
        lambda arrival: event | {"arrival_timestamp": arrival},
        st.integers(ARRIVAL_MS, ARRIVAL_MS + 3),
    )
)


def said(effect: Effect) -> tuple[dict[Any, Activity], dict[str, Endpoint], set[Stop]]:
    """What an effect says, without the order in which it says it."""
    who = {(a.user_id, None if a.user_id else a.endpoint_id): a for a in effect.activities}
    return who, {found.endpoint_id: found for found in effect.endpoints}, set(effect.stops)


@given(st.data(), st.lists(EVENTS, max_size=8))
def test_order_and_repetition_inside_a_batch_change_nothing(
    data: st.DataObject, events: list[dict[str, Any]]
) -> None:
    stream = [*events, samples.mail_event("complaint")]
    again = data.draw(st.permutations(stream + stream[:3]))
    assert said(folded(*again)) == said(folded(*stream))


@given(st.lists(EVENTS, min_size=1, max_size=8))
def test_there_is_one_latest_activity_per_user_and_one_value_per_endpoint(
    events: list[dict[str, Any]],
) -> None:
    effect = folded(*events)
    who, endpoints, _ = said(effect)
    assert len(who) == len(effect.activities)
    assert len(endpoints) == len(effect.endpoints)
    latest = max(event["event_timestamp"] for event in events)
    assert max(activity.at_ms for activity in effect.activities) == latest


@given(st.lists(EVENTS, min_size=1, max_size=8))
def test_merging_what_is_already_merged_changes_nothing(events: list[dict[str, Any]]) -> None:
    for found in folded(*events).endpoints:
        assert merge_endpoints([found, found]) == found


def test_a_batch_full_of_rubbish_keeps_every_reason_and_a_bounded_amount_of_data() -> None:
    rubbish = (samples.as_record(data=b"{oops", number=number) for number in range(1_200))
    letters = fold_records(rubbish).dead_letters
    assert len(letters) == 1_200
    assert sum(bool(letter.data) for letter in letters) == DEAD_LETTERS_WHOLE_MAX
    assert letters[-1].sequence_number == "1199"
