"""What every Store does with what people decide: rule sets and their files, silences, money.

Written against the port, over each store there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.store.world import (
    FILES,
    REARM_MS,
    SENDS_FOR_MS,
    World,
    again,
    day,
    holding,
    opening,
    phone,
    seen,
)
from worker.model import (
    DAY_MS,
    HOUR_MS,
    SPEND_SPAN_MS,
    Adoption,
    Channel,
    ClaimState,
    Outcome,
    Reason,
    Receipt,
    ReceiptStatus,
    Rejected,
    Retry,
    Sent,
    Silence,
    SilenceKind,
    Spend,
    StopReason,
    Uncertain,
)


def adoption(
    revision: str, *, rules: Mapping[str, str], contents: Mapping[str, bytes] | None = None
) -> Adoption:
    return Adoption(
        revision=revision,
        rearm_after_ms=REARM_MS,
        sends_for_ms=SENDS_FOR_MS,
        rules=rules,
        contents={"shop.yaml": revision.encode()} if contents is None else contents,
    )


# --- ladders that open episodes began with -----------------------------------------------------


async def retired(world: World, **rules: str) -> dict[tuple[str, str], Mapping[str, bytes]]:
    told = await world.store.retired(rules)
    assert len({(one.rule, one.revision) for one in told}) == len(told)
    return {(one.rule, one.revision): one.contents for one in told}


async def test_a_ladder_somebody_walks_is_known_with_its_files(world: World) -> None:
    await world.claimed("ann", "bob")
    assert await retired(world, winback="r1") == {}, "it is one of those asked about"
    assert await retired(world, winback="r2") == {("winback", "r1"): FILES}
    assert await retired(world, other="r1") == {("winback", "r1"): FILES}
    await world.store.adopt(adoption("second", rules={"winback": "r2"}))
    assert await retired(world, winback="r2") == {("winback", "r1"): FILES}


async def test_a_ladder_nobody_walks_any_more_is_not(world: World) -> None:
    await world.claimed("ann")
    await world.tell(seen("ann", 8), on=8)
    assert await retired(world) == {}


async def test_the_files_are_those_of_the_newest_rule_set_that_has_the_ladder(
    world: World,
) -> None:
    await world.claimed("ann")
    await world.store.adopt(adoption("second", rules={"winback": "r1", "other": "r9"}))
    await world.store.adopt(adoption("third", rules={"winback": "r3"}))
    assert await retired(world, winback="r3") == {("winback", "r1"): {"shop.yaml": b"second"}}


async def test_every_ladder_that_is_walked_is_told_once(world: World) -> None:
    await world.tell(*(seen(user, 0) for user in ("ann", "bob", "eve")))
    for rule in ("winback", "again"):
        await world.sweep(opening(7, rule=rule), on=7)
        await world.store.adopt(adoption(rule, rules={"winback": "r1", "again": "r1"}))
    assert set(await retired(world)) == {("again", "r1"), ("winback", "r1")}
    assert set(await retired(world, winback="r1")) == {("again", "r1")}


async def test_a_ladder_whose_files_were_not_kept_is_missing(world: World) -> None:
    await world.store.adopt(adoption("bare", rules={"winback": "r1"}, contents={}))
    await world.claimed("ann")
    assert await retired(world) == {}


async def test_files_hold_any_bytes_under_any_name(world: World) -> None:
    contents = {'templates/안녕 "x".yaml': bytes(range(256)) * 5, "empty.yaml": b""}
    await world.store.adopt(adoption("odd", rules={"winback": "r1"}, contents=contents))
    await world.claimed("ann")
    assert await retired(world) == {("winback", "r1"): contents}


async def test_what_is_walked_outlives_what_is_forgotten(world: World) -> None:
    await world.claimed("ann")
    for number in range(3):
        await world.store.adopt(adoption(f"later {number}", rules={"winback": f"x{number}"}))
    for _ in range(3):
        await world.store.prune(now_ms=day(5_000))
    assert await retired(world) == {("winback", "r1"): FILES}


# --- silences ----------------------------------------------------------------------------------


def silenced(world: World, *, until: float | None = None, comment: str = "") -> Silence:
    return world.book.add(
        SilenceKind.PAUSE,
        ['rule="winback"', 'country=~"D.*"'],
        ends_ms=None if until is None else day(until),
        author="eve",
        comment=comment,
    )


async def test_a_silence_is_told_until_somebody_ends_it(world: World) -> None:
    assert await world.store.silences() == ()
    first, second = silenced(world, comment="a\x00b 안"), silenced(world)
    assert first.silence_id != second.silence_id
    assert (first.kind, first.begins_ms, first.ends_ms) == (SilenceKind.PAUSE, day(0), None)
    assert first.matchers == ('rule="winback"', 'country=~"D.*"')
    assert set(await world.store.silences()) == {first, second}
    world.clock.step_wall(DAY_MS)
    ended = world.book.end(first.silence_id, author="bob")
    assert ended.ends_ms == day(1)
    assert await world.store.silences() == (second,)


async def test_a_silence_ends_by_itself_at_its_end(world: World) -> None:
    silence = silenced(world, until=2)
    endless = silenced(world)
    world.clock.step_wall(2 * DAY_MS - 1)
    assert set(await world.store.silences()) == {silence, endless}
    world.clock.step_wall(1)
    assert await world.store.silences() == (endless,)


async def test_ending_a_silence_that_has_ended_leaves_it_as_it_is(world: World) -> None:
    silence = silenced(world, until=1)
    world.clock.step_wall(2 * DAY_MS)
    assert world.book.end(silence.silence_id, author="bob") == silence


async def test_the_same_object_says_that_nothing_changed(world: World) -> None:
    silenced(world, until=5)
    before = await world.store.silences()
    await world.tell(seen("ann", 0), phone("ann"))
    world.clock.step_wall(DAY_MS)
    assert await world.store.silences() is before
    silenced(world)
    assert await world.store.silences() is not before


# --- waking ------------------------------------------------------------------------------------


async def test_those_whose_stage_waits_for_it_become_due(world: World) -> None:
    for user, reason in (
        ("ann", Reason.SILENCED),
        ("bob", Reason.QUIET_HOURS),
        ("eve", Reason.PAUSED),
    ):
        await world.tell(seen(user, 0))
        await world.sweep(holding(7, reason), on=7)
    await world.tell(seen("dan", 0))
    await world.sweep(again(90), on=7)
    assert await world.store.next_due_ms() == day(90)
    await world.store.wake({Reason.SILENCED, Reason.PAUSED, Reason.CAP}, now_ms=day(8))
    assert await world.store.next_due_ms() == day(8)
    assert sorted(await world.due(on=8)) == ["ann", "eve"]


async def test_waking_delays_nobody(world: World) -> None:
    await world.tell(seen("ann", 0))
    await world.sweep(holding(7, Reason.SILENCED), on=7)
    await world.store.wake([Reason.SILENCED], now_ms=day(8))
    await world.store.wake([Reason.SILENCED], now_ms=day(9))
    await world.store.wake([], now_ms=day(7))
    assert await world.store.next_due_ms() == day(8)


async def test_who_returned_is_not_woken(world: World) -> None:
    await world.tell(seen("ann", 0))
    await world.sweep(holding(7, Reason.SILENCED), on=7)
    await world.tell(seen("ann", 8), on=8)
    await world.store.wake([Reason.SILENCED], now_ms=day(8))
    assert await world.store.next_due_ms() == day(15)


# --- money -------------------------------------------------------------------------------------


async def spent(world: World, since: float = 0) -> dict[tuple[int, Channel], int]:
    told = await world.store.spends(day(since))
    return {(spend.at_ms, spend.channel): spend.micros for spend in told}


async def test_claims_cost_what_they_are_expected_to(world: World) -> None:
    await world.claimed("ann", "bob", cost_micros=30)
    assert await world.store.spends(day(0)) == (
        Spend(channel=Channel.PUSH, at_ms=day(7), micros=60),
    )
    assert (await world.view_of("ann")).claims[0].cost_micros == 30


async def test_what_costs_nothing_is_no_spend(world: World) -> None:
    await world.claimed("ann")
    assert list(await world.store.spends(day(0))) == []


async def test_spends_are_kept_by_channel_and_quarter_of_an_hour(world: World) -> None:
    quarter = SPEND_SPAN_MS / DAY_MS
    for number, (minutes, channel) in enumerate(
        ((0, Channel.SMS), (14.99, Channel.SMS), (15, Channel.SMS), (16, Channel.PUSH))
    ):
        on = 7 + minutes / 1_440
        await world.tell(seen(f"u{number}", 0), phone(f"u{number}"))
        await world.sweep(opening(on, channel=channel, cost_micros=10**number), on=on)
    assert await spent(world) == {
        (day(7), Channel.SMS): 11,
        (day(7 + quarter), Channel.SMS): 100,
        (day(7 + quarter), Channel.PUSH): 1_000,
    }
    assert len(await spent(world, since=7 + quarter)) == 2, "the first span has ended by then"
    assert len(await spent(world, since=7 + 0.99 * quarter)) == 3
    assert await spent(world, since=7 + 2 * quarter) == {}


def retry(send_id: str) -> Retry:
    return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")


@pytest.mark.parametrize(
    ("outcome", "state", "left"),
    [
        (Sent(send_id=""), ClaimState.SENT, 30),
        (Uncertain(send_id="", detail="timeout"), ClaimState.UNCERTAIN, 30),
        (Uncertain(send_id="", detail="timeout"), ClaimState.RETRY, 30),
        (Rejected(send_id="", detail="no"), ClaimState.REJECTED, 0),
        (Rejected(send_id="", detail="410", stop=StopReason.DEAD), ClaimState.REJECTED, 0),
        (retry(""), ClaimState.RETRY, 0),
        (retry(""), ClaimState.REJECTED, 0),
    ],
    ids=str,
)
async def test_what_certainly_was_not_sent_is_given_back(
    world: World, outcome: Outcome, state: ClaimState, left: int
) -> None:
    send_ids = await world.claimed("ann", "bob", cost_micros=30)
    await world.settle(replace(outcome, send_id=send_ids[0]), state=state, on=7.5)
    assert await spent(world) == {(day(7), Channel.PUSH): 30 + left}


async def test_every_attempt_costs_again(world: World) -> None:
    (send_id,) = await world.claimed("ann", cost_micros=30, resend=True)
    uncertain = Uncertain(send_id=send_id, detail="timeout")
    await world.settle(uncertain, state=ClaimState.RETRY, on=7)
    await world.sweep(opening(8, cost_micros=40, resend=True), on=8)
    assert await spent(world) == {(day(7), Channel.PUSH): 30, (day(8), Channel.PUSH): 40}
    await world.settle(retry(send_id), state=ClaimState.RETRY, on=9)
    assert await spent(world) == {(day(7), Channel.PUSH): 30}, "only the last one is given back"


async def test_what_a_receipt_calls_delivered_stays_spent(world: World) -> None:
    (send_id,) = await world.claimed("ann", cost_micros=30)
    told = Receipt(
        at_ms=day(7),
        channel=Channel.PUSH,
        status=ReceiptStatus.DELIVERED,
        detail="",
        send_id=send_id,
    )
    await world.tell(told, on=7)
    await world.settle(retry(send_id), state=ClaimState.RETRY, on=7)
    assert await spent(world) == {(day(7), Channel.PUSH): 30}


async def test_a_refused_look_costs_nothing(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))
    await world.sweep(opening(7, cost_micros=30), on=7, admits=lambda _: False)
    assert list(await world.store.spends(day(0))) == []


async def test_what_was_spent_is_forgotten_after_days_not_hours(world: World) -> None:
    await world.claimed("ann", cost_micros=30)
    await world.store.prune(now_ms=day(7) + 50 * HOUR_MS)
    assert len(await spent(world)) == 1
    await world.store.prune(now_ms=day(100))
    assert await spent(world) == {}
