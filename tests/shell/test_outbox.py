"""The sending half: what is claimed, called, paused, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog

from tests.core.timeline import day, rule, stage
from tests.shell.bench_world import Desk, desk, endpoint, seen
from worker.errors import StateUnwritable
from worker.model import (
    DAY_MS,
    Activity,
    Channel,
    Delivery,
    Outcome,
    Reason,
    Retry,
    Settlement,
    Stop,
    StopReason,
)
from worker.rules.ruleset import QuietHours, open_but
from worker.testing import settle_tasks


@asynccontextmanager
async def running(one: Desk) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(one.outbox.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await one.store.close()


def refused(send_id: str) -> Outcome:
    return Retry(send_id=send_id, reason=Reason.CHANNEL_PAUSED, detail="PERMANENT_FAILURE 403")


async def test_a_due_user_is_sent_to_and_the_next_stage_waits_for_its_day() -> None:
    one = await desk()
    await one.tell(
        seen("ann", 0), endpoint("ann", "GCM", "t"), endpoint("ann", "EMAIL", "a@x.test")
    )
    async with running(one):
        await one.clock.advance(5)
        assert one.sent == [("ann", "push", "t")]
        await one.pass_time(2)
        assert one.sent == [("ann", "push", "t"), ("ann", "email", "a@x.test")]


async def test_nothing_is_sent_while_the_stream_is_stale_or_unread() -> None:
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    async with running(one):
        one.source.lag_ms = None
        await one.clock.advance(60)
        one.source.lag_ms = 300_001
        await one.clock.advance(60)
        assert one.sent == []
        one.source.lag_ms = 1_000
        await one.clock.advance(60)
        assert one.sent == [("ann", "push", "t")]


async def test_a_return_that_is_in_the_state_wins_against_a_due_stage() -> None:
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    await one.tell(seen("ann", 7.9))
    async with running(one):
        await one.clock.advance(60)
        assert one.sent == []


async def test_a_stop_that_is_in_the_state_wins_too() -> None:
    one = await desk(rule(stages=(stage("email"),)))
    await one.tell(seen("ann", 0), endpoint("ann", "EMAIL", "a@x.test"))
    stop = Stop(
        at_ms=day(1), channel=Channel.EMAIL, reason=StopReason.COMPLAINED, address="a@x.test"
    )
    await one.tell(stop)
    async with running(one):
        await one.clock.advance(60)
        assert one.sent == []


async def test_night_is_judged_by_the_wall_clock_also_when_the_stream_lags() -> None:
    night = QuietHours(name="night", open_week=open_but(12 * 60, 20 * 60))
    one = await desk(quiet_hours=(night,), at_day=8)
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    one.source.lag_ms = 240_000
    async with running(one):
        await one.clock.advance(30)
        assert one.sent == [], "it is 12:00 on the wall and 11:56 in the stream"
        await one.pass_time(hours=8.1)
        assert one.sent == [("ann", "push", "t")]


async def test_a_user_who_needs_more_calls_than_are_free_waits_without_stopping_the_loop() -> None:
    one = await desk(
        rule("a", stages=(stage("push"),)), rule("b", stages=(stage("email"),)), calls=2
    )
    one.sender.batch_max = 1
    one.sender.gate.clear()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t1"))
    await one.tell(
        seen("bob", 0.1), endpoint("bob", "GCM", "t2"), endpoint("bob", "EMAIL", "b@x.test")
    )
    async with running(one):
        await one.clock.advance(10)
        assert [user for user, _, _ in one.sent] == ["ann"]
        one.sender.gate.set()
        await one.clock.advance(10)
        assert [user for user, _, _ in one.sent] == ["ann", "bob", "bob"]


async def test_calls_begin_before_the_rest_of_a_crowd_is_looked_at() -> None:
    one = await desk()
    await one.tell(seen("ann", -1), endpoint("ann", "GCM", "t"))
    await one.tell(*(seen(f"user-{number}", 0) for number in range(3_000)))
    looked_at_before: list[int] = []
    sweep = one.store.sweep

    async def counted(**arguments: object) -> object:
        swept = await sweep(**arguments)  # type: ignore[arg-type] # handed on as they came
        looked_at_before.append(len(one.sender.calls))
        return swept

    one.store.sweep = counted  # type: ignore[method-assign, assignment] # a spy
    async with running(one):
        await one.clock.advance(1)
        assert len(looked_at_before) > 5
        assert looked_at_before[:2] == [0, 1], "the call of the first sweep began before the next"


async def test_few_are_read_when_there_are_calls_for_few() -> None:
    one = await desk(calls=2)
    one.sender.batch_max = 1
    people = range(400)
    await one.tell(*(endpoint(f"user-{number}", "GCM", f"t{number}") for number in people))
    await one.tell(*(seen(f"user-{number}", 0) for number in people))
    read: list[int] = []
    sweep = one.store.sweep

    async def counted(*, users_max: int, **arguments: object) -> object:
        swept = await sweep(users_max=users_max, **arguments)  # type: ignore[arg-type] # as they came
        read.append(users_max if swept.more else swept.users)
        return swept

    one.store.sweep = counted  # type: ignore[method-assign, assignment] # a spy
    async with running(one):
        for _ in people:
            await one.clock.advance(1)
        assert len(one.sent) == len(people)
    assert sum(read) < 5 * len(people), "each is read a few times, not once for every call"


async def test_an_expired_certificate_of_one_kind_of_phone_does_not_silence_the_other() -> None:
    one = await desk(rule(stages=(stage("push"),)))
    for number in range(30):
        await one.tell(seen(f"i{number}", 0), endpoint(f"i{number}", "APNS", f"apple-{number}"))
        one.sender.script(f"apple-{number}", *([refused] * 50))
    for number in range(30):
        await one.tell(seen(f"a{number}", 1), endpoint(f"a{number}", "GCM", f"android-{number}"))
    async with running(one):
        await one.clock.advance(120)
        android = [address for _, _, address in one.sent if address.startswith("android")]
        apple = [call for call in one.sender.calls if call[0].channel_type == "APNS"]
        assert len(android) == len(set(android)) == 30
        assert len(apple) <= 6, "the paused kind is tried again ever more seldom"


async def test_a_user_reached_on_one_phone_is_not_held_up_by_a_paused_other() -> None:
    one = await desk()
    await one.tell(
        seen("ann", 0),
        endpoint("ann", "GCM", "android"),
        endpoint("ann", "APNS", "apple"),
        endpoint("ann", "EMAIL", "a@x.test"),
    )
    one.sender.script("apple", *([refused] * 1_000))
    async with running(one):
        await one.clock.advance(5)
        await one.pass_time(2)
        assert ("ann", "email", "a@x.test") in one.sent


async def test_a_channel_resumes_when_its_set_up_is_mended() -> None:
    one = await desk(rule(stages=(stage("push"),)))
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    one.sender.script("t", refused, refused)
    async with running(one):
        await one.clock.advance(60)
        assert [address for _, _, address in one.sent] == ["t", "t", "t"]
        assert len(one.sender.accepted) == 1
        text = one.metrics.exposition().decode()
        assert 'comeback_channel_paused{channel_type="GCM"} 0.0' in text


async def test_answers_wait_for_a_store_that_is_out_of_space() -> None:
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    settle, tries = one.store.settle, 0

    async def full(settlements: Sequence[Settlement], *, now_ms: int) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StateUnwritable("the disk is full")
        await settle(settlements, now_ms=now_ms)

    one.store.settle = full  # type: ignore[method-assign] # a disk that fills and empties
    with structlog.testing.capture_logs() as logs:
        async with running(one) as task:
            await one.clock.advance(30)
            assert not task.done()
    told = [entry["event"] for entry in logs if entry["event"].startswith("state_")]
    assert told == ["state_not_writable", "state_writable_again"], "once per change"
    assert tries == 4
    assert len(one.sent) == 1


async def test_an_answer_that_cannot_be_written_ends_the_worker_instead_of_parking_the_user() -> (
    None
):
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))

    async def broken(settlements: Sequence[Settlement], *, now_ms: int) -> None:
        raise RuntimeError("a bug")

    one.store.settle = broken  # type: ignore[method-assign] # a bug
    async with running(one) as task:
        await one.clock.advance(5)
        with pytest.raises(RuntimeError, match="a bug"):
            await task


async def test_a_drain_waits_and_then_cuts_off_and_what_is_cut_off_is_uncertain() -> None:
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    one.sender.gate.clear()
    async with running(one):
        await one.clock.advance(2)
        assert len(one.sent) == 1
        await one.outbox.drain(0.01)
        await settle_tasks()
        one.sender.gate.set()
        await one.pass_time(1)
        assert len(one.sent) == 1, "an uncertain send is not repeated"


async def test_a_sender_that_breaks_leaves_its_sends_uncertain() -> None:
    one = await desk(rule(stages=(stage("push"),)))
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))

    async def broken(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        one.sender.calls.append(tuple(deliveries))
        raise KeyError(deliveries[0].address)

    one.sender.send = broken  # type: ignore[method-assign] # a bug
    with structlog.testing.capture_logs() as logs:
        async with running(one) as task:
            await one.pass_time(hours=1)
            assert len(one.sent) == 1
            assert not task.done()
    (told,) = (entry for entry in logs if entry["event"] == "sender_failed")
    assert "exc_info" not in told, "the text of an error may quote an address"
    assert told["error"] == "KeyError"


async def test_who_was_written_to_before_being_named_is_not_written_to_again() -> None:
    """An anonymous phone gets the ladder; then somebody signs in on it without being active."""
    one = await desk(rule(stages=(stage("push"),), cooldown_ms=30 * DAY_MS))
    phone = endpoint(None, "GCM", "t", endpoint_id="phone")
    await one.tell(Activity(at_ms=day(0), event_type="_session.start", endpoint_id="phone"), phone)
    async with running(one):
        await one.clock.advance(60)
        assert len(one.sent) == 1
        await one.tell(endpoint("ann", "GCM", "t", endpoint_id="phone", at_ms=day(8)))
        await one.pass_time(20)
        assert len(one.sent) == 1


async def test_a_phone_that_comes_back_to_its_owner_gets_no_message_of_another() -> None:
    one = await desk(rule(stages=(stage("push"),)), at_day=20)
    await one.tell(seen("a", 0), endpoint("a", "GCM", "t"))
    await one.tell(seen("b", 1), endpoint("b", "GCM", "t", at_ms=day(1)))
    for number in (2, 5, 10, 15, 19):
        await one.tell(seen("a", number), endpoint("a", "GCM", "t", at_ms=day(number)))
    async with running(one):
        await one.clock.advance(60)
        assert one.sent == []


def throttled(send_id: str) -> Outcome:
    return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="THROTTLED 429")


async def throttled_call_seconds(*, users: int, calls: int, seconds: int) -> list[float]:
    """When calls of one user each were made to a provider that throttles all of them."""
    one = await desk(rule(stages=(stage("push"),)), calls=calls)
    one.sender.batch_max = 1
    began, made, send = one.clock.monotonic(), list[float](), one.sender.send
    for number in range(users):
        await one.tell(seen(f"u{number}", 0), endpoint(f"u{number}", "GCM", f"t{number}"))
        one.sender.script(f"t{number}", *([throttled] * 100))

    async def timed(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        made.append(one.clock.monotonic() - began)
        return await send(deliveries)

    one.sender.send = timed  # type: ignore[method-assign] # a stopwatch
    async with running(one):
        await one.clock.advance(seconds)
    return made


async def test_a_pause_doubles_from_5_seconds_to_5_minutes() -> None:
    made = await throttled_call_seconds(users=30, calls=1, seconds=1_300)
    gaps = [after - before for before, after in itertools.pairwise(made)]
    assert gaps == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300], abs=1.1)


async def test_several_throttled_calls_of_one_burst_are_one_pause() -> None:
    made = await throttled_call_seconds(users=24, calls=8, seconds=30)
    bursts = sorted({round(at) for at in made})
    assert len(made) > 2 * 8
    assert bursts == pytest.approx([0, 5, 15], abs=1)


@pytest.mark.parametrize(("lag_ms", "sends"), [(300_000, 1), (300_001, 0)])
async def test_as_stale_as_allowed_still_sends_and_one_millisecond_more_does_not(
    lag_ms: int, sends: int
) -> None:
    one = await desk()
    await one.tell(seen("ann", 0), endpoint("ann", "GCM", "t"))
    one.source.lag_ms = lag_ms
    async with running(one):
        await one.clock.advance(5)
        assert len(one.sent) == sends
        stale = one.metrics.registry.get_sample_value(
            "comeback_decisions_total", {"reason": "stale_stream"}
        )
        assert bool(stale) is (sends == 0)


async def test_a_stream_that_becomes_stale_is_a_warning_told_once_and_a_start_is_none() -> None:
    one = await desk()
    one.source.lag_ms = None
    with structlog.testing.capture_logs() as told:
        async with running(one):
            for lag_ms in (None, 0, 300_001, 0, None):
                one.source.lag_ms = lag_ms
                await one.clock.advance(10)
    assert [(line["log_level"], line["event"], line["sending"]) for line in told] == [
        ("info", "stream_fresh", True),
        ("warning", "stream_stale", False),
        ("info", "stream_fresh", True),
        ("warning", "stream_unread", False),
    ]
