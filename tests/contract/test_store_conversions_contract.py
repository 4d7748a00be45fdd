"""What every Store does with conversions: whom they are credited to, once, in any order.

Written against the port, over each store there is. Day 7 is the usual day of the last send.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.store.world import World, again, day, episode_of, goal, parked, phone, seen, sending
from worker.model import Arm, Conversion, EpisodeOutcome, Look, UserView

NOT_RULE = replace(goal("ann", 8), rule="other")


async def converted(world: World, user: str = "ann") -> list[int | None]:
    """When the latest closed and the open episode of a user converted, the oldest silence first."""
    episodes = (await world.view_of(user)).episodes
    return [e.converted_ms for e in sorted(episodes, key=lambda e: e.silence_since_ms)]


@pytest.mark.parametrize(
    ("conversion", "is_credited"),
    [
        (goal("ann", 7), True),
        (goal("ann", 8), True),
        (goal("ann", 10), True),
        (goal("ann", 10.001), False),
        (goal("ann", 6.999), False),
        (goal("bob", 8), False),
        (NOT_RULE, False),
        (goal(None, 8, endpoint_id="phone-ann"), True),
        (goal(None, 8, endpoint_id="phone-nobody"), False),
        (goal(None, 8), False),
    ],
    ids=str,
)
async def test_a_conversion_is_credited_within_its_window_after_the_last_send(
    world: World, conversion: Conversion, is_credited: bool
) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    applied = await world.tell(conversion, on=11)
    assert applied.conversions_credited == is_credited
    assert await converted(world) == [conversion.at_ms if is_credited else None]


async def test_what_was_never_sent_has_no_conversion(world: World) -> None:
    await world.claimed("ann")
    assert (await world.tell(goal("ann", 8), on=8)).conversions_credited == 0


async def test_a_holdout_converts_too(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7, arm=Arm.HOLDOUT)
    assert (await world.tell(goal("ann", 8), on=8)).conversions_credited == 1
    (episode,) = (await world.view_of("ann")).episodes
    assert (episode.arm, episode.converted_ms) == (Arm.HOLDOUT, day(8))


@pytest.mark.parametrize("together", [True, False])
async def test_who_returns_with_a_conversion_has_both(world: World, together: bool) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    if together:
        applied = await world.tell(seen("ann", 8), goal("ann", 8), on=8)
        assert (applied.episodes_returned, applied.conversions_credited) == (1, 1)
    else:
        await world.tell(seen("ann", 8), on=8)
        assert (await world.tell(goal("ann", 8), on=9)).conversions_credited == 1
    (episode,) = (await world.view_of("ann")).episodes
    assert (episode.outcome, episode.converted_ms) == (EpisodeOutcome.RETURNED, day(8))
    assert (episode.closed_ms, episode.last_stage) == (day(8), "nudge"), "as it was closed"


async def test_of_two_episodes_the_one_sent_last_before_it_is_credited(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    await world.tell(seen("ann", 8), on=8)
    await world.on_ladder("ann", since=8, sent=16)
    for at, within, expected in (
        (15.5, 3, [None, None]),
        (15.5, 9, [day(15.5), None]),
        (16.5, 30, [day(15.5), day(16.5)]),
        (17.5, 30, [day(15.5), day(16.5)]),
    ):
        await world.tell(goal("ann", at, within=within), on=18)
        assert await converted(world) == expected


async def test_an_episode_before_the_latest_closed_one_is_left_alone(world: World) -> None:
    for start in (0, 20):
        await world.on_ladder("ann", since=start, sent=start + 7)
        await world.tell(seen("ann", start + 8), on=start + 8)
    assert (await world.tell(goal("ann", 9), on=30)).conversions_credited == 0


async def test_an_episode_converts_once_and_at_its_earliest(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    told = [goal("ann", at) for at in (8.5, 8, 9, 8)]
    random.shuffle(told)
    credited = [(await world.tell(conversion, on=9)).conversions_credited for conversion in told]
    assert sum(credited) == 1
    assert await converted(world) == [day(8)]


async def test_several_in_one_batch_are_one(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    applied = await world.tell(goal("ann", 9), goal("ann", 8), goal("bob", 8), on=9)
    assert applied.conversions_credited == 1
    assert await converted(world) == [day(8)]


async def test_an_endpoint_named_in_the_same_batch_says_whose_conversion_it_is(
    world: World,
) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    applied = await world.tell(phone("ann", 8, name="e1"), goal(None, 8, endpoint_id="e1"), on=8)
    assert applied.conversions_credited == 1


async def test_a_stranger_converts_and_has_done_so_as_the_user_they_become(world: World) -> None:
    stranger = "anonymous:e1"
    await world.tell(seen(None, 0, endpoint_id="e1"))

    def would_send(view: UserView) -> Look:
        sent = replace(episode_of(view, 7), last_stage="nudge", last_sent_ms=day(7))
        return replace(parked(view), episodes=(sent,))

    await world.sweep(would_send, on=7)
    await world.tell(goal(None, 8, endpoint_id="e1"), on=8)
    assert await converted(world, stranger) == [day(8)]
    await world.tell(phone("ann", 9, name="e1"), on=9)
    assert await converted(world, "ann") == [day(8)]


async def test_a_look_after_a_conversion_takes_nothing_back(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    before = (await world.view_of("ann")).episodes[0]
    await world.tell(goal("ann", 8), on=8)
    await world.view_of("ann")
    await world.tell(replace(phone("ann", 9), opted_out=True), on=9)
    await world.sweep(sending(9), on=9)
    (episode,) = (await world.view_of("ann")).episodes
    assert before.converted_ms is None
    assert (episode.converted_ms, episode.last_sent_ms) == (day(8), day(9))


async def test_a_person_who_was_two_rests_from_the_ladder_that_ended_last(world: World) -> None:
    await world.tell(seen("ann", 0), seen(None, 0.5, endpoint_id="e1"))

    def ends_it(user: str, on: float) -> Callable[[UserView], Look]:
        def decide(view: UserView) -> Look:
            if view.user_id != user:
                return again(9)(view)
            over = replace(
                episode_of(view, on),
                stage=None,
                closed_ms=day(on),
                outcome=EpisodeOutcome.EXHAUSTED,
            )
            return replace(parked(view), episodes=(over,))

        return decide

    await world.sweep(ends_it("anonymous:e1", 8), on=8)
    await world.sweep(ends_it("ann", 9), on=9)
    await world.tell(phone("ann", 9.5, name="e1"), on=9.5)
    view = await world.view_of("ann")
    assert [episode.closed_ms for episode in view.episodes] == [day(8)], "of the latest silence"
    assert view.ended == {"winback": day(9)}
