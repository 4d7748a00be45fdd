"""What every Store does with what the stream says: positions, recency, address book, stops.

Written against the port, over each store there is. Looks and claims are in
test_store_sends_contract.py, answers and receipts in test_store_outcomes_contract.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store.world import (
    REARM_MS,
    SENDS_FOR_MS,
    STREAM,
    World,
    again,
    day,
    mailbox,
    opening,
    parked,
    phone,
    seen,
)
from worker.model import (
    Adoption,
    Batch,
    Channel,
    ClaimState,
    Effect,
    Endpoint,
    EpisodeOutcome,
    Look,
    Position,
    Sent,
    Stop,
    StopReason,
    StreamIdentity,
    StreamMemory,
    UserView,
)


def at(sequence_number: str | None, **more: int | None) -> Position:
    return Position(shard_id="shard-0", sequence_number=sequence_number, **more)  # type: ignore[arg-type]


# --- positions ---------------------------------------------------------------------------------


async def test_a_stream_nobody_has_read_has_no_positions(world: World) -> None:
    assert (await world.store.positions(StreamIdentity(name="other", created_ms=1))).positions == ()


async def test_a_position_is_kept_with_the_effect_of_its_batch(world: World) -> None:
    await world.tell(seen("ann", 0), position=at("7"))
    assert (await world.store.positions(STREAM)).positions == (at("7"),)
    assert list(await world.views()) == ["ann"]


async def test_sequence_numbers_are_compared_as_numbers_and_never_go_back(world: World) -> None:
    long = "1" + "0" * 128
    for sequence_number, kept in (
        ("9", "9"),
        ("10", "10"),
        ("9", "10"),
        (long, long),
        (None, long),
    ):
        await world.tell(position=at(sequence_number))
        assert (await world.store.positions(STREAM)).positions == (at(kept),)


async def test_a_start_time_and_the_end_of_a_shard_stay(world: World) -> None:
    await world.tell(position=at(None, start_at_ms=5))
    await world.tell(position=at("7", ended=True))
    await world.tell(position=at("6"))
    assert (await world.store.positions(STREAM)).positions == (at("7", start_at_ms=5, ended=True),)


async def test_positions_of_another_incarnation_of_the_stream_are_forgotten(world: World) -> None:
    other = StreamIdentity(name="other", created_ms=1)
    await world.store.positions(other)
    batch = Batch(stream=other, position=at("3"), records=(), read_through_ms=0)
    await world.store.apply(Effect(), batch, now_ms=0)
    await world.tell(seen("ann", 0), position=at("7"))
    for _ in range(2):
        memory = await world.store.positions(replace(STREAM, created_ms=2))
        assert memory == StreamMemory(recreated=True), "also when nothing was read of it yet"
    assert (await world.store.positions(other)).positions == (at("3"),)
    assert list(await world.views()) == ["ann"]


async def test_a_batch_of_a_stream_whose_positions_nobody_asked_for_is_a_bug(world: World) -> None:
    batch = Batch(
        stream=replace(STREAM, created_ms=2), position=at("1"), records=(), read_through_ms=0
    )
    with pytest.raises(AssertionError):
        await world.store.apply(Effect(), batch, now_ms=0)


# --- recency -----------------------------------------------------------------------------------


async def test_an_activity_makes_a_new_user_due_when_the_shortest_silence_is_over(
    world: World,
) -> None:
    applied = await world.tell(seen("ann", 1), seen("bob", 0))
    assert (applied.users_new, applied.users_active) == (2, 2)
    assert await world.store.next_due_ms() == day(0) + REARM_MS
    assert await world.due(on=6.9) == []
    assert await world.due(on=7) == ["bob"]
    assert await world.due(on=8) == ["ann"]


async def test_late_and_repeated_activities_move_nothing(world: World) -> None:
    await world.tell(seen("ann", 2))
    applied = await world.tell(seen("ann", 1), seen("ann", 2))
    assert (applied.users_new, applied.users_active) == (0, 0)
    assert (await world.views())["ann"].last_active_ms == day(2)


async def test_an_activity_leaves_an_earlier_due_time_alone(world: World) -> None:
    await world.tell(seen("ann", 0))
    applied = await world.tell(seen("ann", 3))
    assert (applied.users_new, applied.users_active) == (0, 1)
    assert await world.store.next_due_ms() == day(7)


@pytest.mark.parametrize("waiting", [parked, again(90)], ids=["for ever", "for long"])
async def test_an_activity_brings_a_user_forward_who_would_wait_longer(
    world: World, waiting: object
) -> None:
    assert callable(waiting)
    await world.tell(seen("ann", 0))
    await world.sweep(waiting, on=7)
    await world.tell(seen("ann", 8))
    assert await world.store.next_due_ms() == day(15)


async def test_a_late_activity_does_not_wake_a_user_who_waits(world: World) -> None:
    await world.tell(seen("ann", 2))
    await world.sweep(parked, on=9)
    await world.tell(seen("ann", 1), seen("ann", 2), on=9)
    assert await world.store.next_due_ms() is None


async def test_without_rules_nobody_becomes_due(world: World) -> None:
    await world.store.adopt(Adoption(revision="none", rearm_after_ms=None, sends_for_ms=0))
    await world.tell(seen("ann", 0), phone("ann"))
    assert await world.store.next_due_ms() is None


async def test_an_activity_after_the_silence_began_closes_its_episodes(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(opening(7), on=7)
    assert (await world.tell(seen("ann", 0), on=8)).episodes_returned == 0
    assert (await world.tell(seen("ann", 0.1), on=8)).episodes_returned == 1
    (episode,) = (await world.views())["ann"].episodes
    assert (episode.outcome, episode.closed_ms) == (EpisodeOutcome.RETURNED, day(8))
    assert (await world.tell(seen("ann", 9), on=9)).episodes_returned == 0


# --- who was it --------------------------------------------------------------------------------


async def test_an_activity_that_names_only_its_endpoint_is_its_owners(world: World) -> None:
    await world.tell(phone("ann"))
    await world.tell(seen(None, 3, endpoint_id="phone-ann"))
    assert (await world.views())["ann"].last_active_ms == day(3)


async def test_an_endpoint_without_a_user_stands_for_an_anonymous_one(world: World) -> None:
    applied = await world.tell(seen(None, 3, endpoint_id="e1"), phone(None, name="e1"))
    assert (applied.users_new, applied.activities_unknown) == (1, 0)
    (view,) = (await world.views()).values()
    assert view.user_id == "anonymous:e1"
    assert [(e.endpoint_id, e.user_id) for e in view.endpoints] == [("e1", None)]


async def test_an_anonymous_user_becomes_the_user_its_endpoint_is_named_for(world: World) -> None:
    await world.tell(seen(None, 3, endpoint_id="e1"), phone(None, name="e1"), seen("ann", 1))
    await world.sweep(opening(10), on=10)
    await world.tell(phone("ann", 11, name="e1"), on=11)
    views = await world.views()
    assert list(views) == ["ann"]
    assert views["ann"].last_active_ms == day(3)
    assert [send.at_ms for send in views["ann"].sends] == [day(10)], "caps count them on"


async def test_an_activity_before_its_endpoint_was_known_is_not_lost(world: World) -> None:
    await world.tell(seen(None, 3, endpoint_id="e1"))
    await world.tell(phone("ann", 2, name="e1"))
    views = await world.views()
    assert {user: view.last_active_ms for user, view in views.items()} == {"ann": day(3)}


async def test_a_click_is_the_users_whom_the_message_went_to(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    swept = await world.sweep(opening(7), on=7)
    sent = Sent(send_id=swept.deliveries[0].claim.send_id, message_id="m1")
    await world.settle(sent, state=ClaimState.SENT, on=7)
    applied = await world.tell(seen(None, 8, message_id="m1", address="x@example.com"), on=8)
    assert (applied.episodes_returned, applied.activities_unknown) == (1, 0)


async def test_a_click_on_a_shared_address_is_everybodys(world: World) -> None:
    await world.tell(mailbox("ann", "us@example.com"), mailbox("bob", "Us@Example.com"))
    applied = await world.tell(seen(None, 8, message_id="?", address="US@example.com"))
    assert applied.users_new == 2
    assert set(await world.views()) == {"ann", "bob"}


async def test_an_activity_of_nobody_known_is_counted(world: World) -> None:
    applied = await world.tell(seen(None, 8, message_id="?", address="who@example.com"))
    assert (applied.activities_unknown, applied.users_active) == (1, 0)


# --- address book ------------------------------------------------------------------------------


async def test_endpoints_come_back_as_they_were_told_newest_last(world: World) -> None:
    old, new = phone("ann", 2, name="e2"), phone("ann", 3, name="e1")
    await world.tell(new, old, seen("ann", 0))
    assert (await world.views())["ann"].endpoints == (old, new)


async def test_what_an_event_does_not_say_stays_known(world: World) -> None:
    known = phone("ann", 0)
    await world.tell(known, seen("ann", 0))
    await world.tell(Endpoint(endpoint_id="phone-ann", at_ms=day(1), opted_out=True))
    (endpoint,) = (await world.views())["ann"].endpoints
    assert endpoint == replace(known, at_ms=day(1), opted_out=True)


async def test_a_late_event_tells_only_what_no_newer_one_told(world: World) -> None:
    known = phone("ann", 0)
    await world.tell(known, seen("ann", 0))
    await world.tell(Endpoint(endpoint_id="phone-ann", at_ms=day(5), locale="en"))
    late = Endpoint(endpoint_id="phone-ann", at_ms=day(3), locale="de", timezone="Asia/Tokyo")
    await world.tell(late)
    (endpoint,) = (await world.views())["ann"].endpoints
    assert endpoint == replace(known, at_ms=day(5), locale="en", timezone="Asia/Tokyo")


async def test_an_endpoint_goes_with_its_address_to_its_new_user(world: World) -> None:
    await world.tell(seen("ann", 0), seen("bob", 0), phone("ann", name="e1"))
    await world.sweep(parked, on=7)
    await world.tell(phone("bob", 8, name="e1"), on=8)
    views = await world.views(on=8)
    assert views["ann"].endpoints == ()
    assert [e.endpoint_id for e in views["bob"].endpoints] == ["e1"]


async def test_a_push_token_belongs_to_whom_it_was_last_seen_with(world: World) -> None:
    await world.tell(seen("ann", 0), seen("bob", 0), phone("ann", 1, token="t"))
    await world.tell(phone("bob", 2, token="t"))
    await world.tell(phone("ann", 1.5, token="t"))
    views = await world.views()
    assert [e.active for e in views["ann"].endpoints] == [False]
    assert [e.active for e in views["bob"].endpoints] == [True]


async def test_a_token_two_endpoints_of_one_user_show_stays_live(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann", 1, name="e1", token="t"))
    await world.tell(phone("ann", 2, name="e2", token="t"))
    assert [e.active for e in (await world.views())["ann"].endpoints] == [True, True]


async def test_a_shared_mail_address_stays_everybodys(world: World) -> None:
    await world.tell(seen("ann", 0), seen("bob", 0), mailbox("ann", "us@example.com", 1))
    await world.tell(mailbox("bob", "us@example.com", 2))
    views = await world.views()
    assert [e.active for v in views.values() for e in v.endpoints] == [None, None]


async def test_a_changed_profile_is_looked_at_again_when_a_rule_can_want_something(
    world: World,
) -> None:
    await world.tell(seen("ann", 0), seen("bob", 5), phone("ann"), phone("bob"))
    await world.sweep(parked, on=20)
    for user in ("ann", "bob"):
        changed = replace(phone(user, 6), attributes={"plan": ("premium",)})
        await world.tell(changed, on=8)
    assert await world.due(on=8) == ["ann"], "silent for 7 days by then"
    assert await world.due(on=12) == ["bob"], "only now silent for 7 days"


async def test_an_unchanged_profile_wakes_nobody(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(parked, on=7)
    await world.tell(phone("ann", 8), on=8)
    assert await world.store.next_due_ms() is None


async def test_a_changed_profile_on_a_ladder_is_looked_at_at_once(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(opening(7), on=7)
    await world.store.adopt(
        Adoption(revision="slower", rearm_after_ms=30 * REARM_MS, sends_for_ms=SENDS_FOR_MS)
    )
    await world.views()
    await world.tell(replace(phone("ann", 8), opted_out=True), on=8)
    assert await world.store.next_due_ms() == day(8)


async def test_ids_may_hold_any_character(world: World) -> None:
    odd = "a\x00b\U0001f600'\""
    await world.tell(seen(odd, 0), phone(odd, name="e\x001"), seen("a", 1))
    await world.tell(seen(None, 2, endpoint_id="e\x001"))
    views = await world.views()
    assert views[odd].last_active_ms == day(2)
    assert [e.endpoint_id for e in views[odd].endpoints] == ["e\x001"]
    assert views["a"].endpoints == ()


# --- stops -------------------------------------------------------------------------------------


def stop(address: str, reason: StopReason, at: float, channel: Channel = Channel.EMAIL) -> Stop:
    return Stop(at_ms=day(at), channel=channel, reason=reason, address=address)


async def test_a_stopped_address_is_suppressed_however_it_is_spelt(world: World) -> None:
    await world.tell(seen("ann", 0), mailbox("ann", "Ann@Example.com"))
    await world.sweep(parked, on=7)
    await world.tell(stop("ANN@example.com", StopReason.COMPLAINED, 8), on=8)
    (endpoint,) = (await world.views(on=8))["ann"].endpoints
    assert endpoint.suppressed is StopReason.COMPLAINED


async def test_a_stop_holds_for_endpoints_that_come_later(world: World) -> None:
    await world.tell(stop("ann@example.com", StopReason.HARD_BOUNCED, 1))
    await world.tell(stop("ann@example.com", StopReason.UNSUBSCRIBED, 0.5))
    await world.tell(seen("ann", 2), mailbox("ann", "ann@example.com", 2))
    (endpoint,) = (await world.views())["ann"].endpoints
    assert endpoint.suppressed is StopReason.HARD_BOUNCED


# --- rule sets ---------------------------------------------------------------------------------


async def test_a_new_rule_set_looks_at_everybody_it_may_want_something_of(world: World) -> None:
    await world.tell(seen("ann", -9), seen("bob", -3), seen("eve", -1), phone("eve"))
    await world.sweep(opening(7), on=7)
    await world.store.adopt(Adoption(revision="second", rearm_after_ms=REARM_MS, sends_for_ms=0))
    assert set(await world.due(on=0)) == {"ann", "bob", "eve"}, "all of them are on a ladder"
    await world.tell(seen("ann", 0), seen("bob", -0.5), on=0)
    await world.views()
    await world.store.adopt(
        Adoption(revision="third", rearm_after_ms=REARM_MS // 7, sends_for_ms=0)
    )
    assert await world.due(on=0) == ["eve"]
    assert await world.due(on=1) == ["bob", "ann"]


async def test_the_same_rule_set_again_wakes_nobody(world: World) -> None:
    await world.tell(seen("ann", -9))
    await world.views()
    await world.store.adopt(Adoption(revision="first", rearm_after_ms=REARM_MS, sends_for_ms=0))
    assert await world.store.next_due_ms() is None


async def test_sends_reach_back_as_far_as_the_rule_set_needs(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(opening(7), on=7)
    await world.store.recover(now_ms=day(7))
    found: list[UserView] = []

    def look(view: UserView) -> Look:
        found.append(view)
        return Look(user_id=view.user_id, due_ms=day(10))

    for revision, sends_for in (("short", REARM_MS // 7), ("long", REARM_MS)):
        await world.store.adopt(
            Adoption(revision=revision, rearm_after_ms=REARM_MS, sends_for_ms=sends_for)
        )
        await world.sweep(look, on=10)
    assert [len(view.sends) for view in found] == [0, 1]
