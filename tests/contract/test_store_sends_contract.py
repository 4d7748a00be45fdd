"""What every Store does with looks: sweeps, the views they read, the claims they make (P1).

Written against the port, over each store there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.store.world import (
    SENDS_FOR_MS,
    World,
    again,
    claim_of,
    day,
    delivery_of,
    opening,
    parked,
    phone,
    seen,
)
from worker.model import (
    Adoption,
    Arm,
    Channel,
    ClaimState,
    Delivery,
    Episode,
    EpisodeOutcome,
    Look,
    Reason,
    Retry,
    Sent,
    UserView,
)

# --- sweeps ------------------------------------------------------------------------------------


async def test_the_longest_due_are_looked_at_first_and_the_rest_is_left(world: World) -> None:
    await world.tell(seen("ann", 2), seen("bob", 1), seen("eve", 3), seen("dan", 90))
    looked: list[str] = []

    def look(view: UserView) -> Look:
        looked.append(view.user_id)
        return parked(view)

    first = await world.sweep(look, on=20, users_max=2)
    assert (first.users, first.more, looked) == (2, True, ["bob", "ann"])
    second = await world.sweep(look, on=20, users_max=2)
    assert (second.users, second.more, looked[2:]) == (1, False, ["eve"])
    assert await world.store.next_due_ms() == day(97)


async def test_a_look_says_when_to_look_again(world: World) -> None:
    await world.tell(seen("ann", 0))
    await world.sweep(again(9), on=7)
    assert await world.store.next_due_ms() == day(9)


async def test_a_look_sees_all_that_was_written_about_its_user(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    view = await world.view_of("ann")
    assert view.last_active_ms == day(0)
    assert [e.endpoint_id for e in view.endpoints] == ["phone-ann"]
    assert [(e.rule, e.stage, e.is_open) for e in view.episodes] == [("winback", "nudge", True)]
    assert [(c.send_id, c.state) for c in view.claims] == [(send_id, ClaimState.CLAIMED)]
    assert [(s.stage, s.at_ms) for s in view.sends] == [("nudge", day(7))]


async def test_a_look_sees_the_latest_closed_episode_of_every_rule(world: World) -> None:
    for number in range(3):
        start = 20 * number
        await world.tell(seen("ann", start), phone("ann"), on=start)
        await world.sweep(opening(start + 7), on=start + 7)
    await world.store.adopt(
        Adoption(revision="two rules", rearm_after_ms=1, sends_for_ms=SENDS_FOR_MS)
    )
    await world.sweep(opening(50, rule="other"), on=50)
    await world.tell(seen("ann", 60), on=60)
    episodes = (await world.view_of("ann")).episodes
    assert {(e.rule, e.silence_since_ms, e.outcome) for e in episodes} == {
        ("winback", day(40), EpisodeOutcome.RETURNED),
        ("other", day(40), EpisodeOutcome.RETURNED),
    }


async def test_a_stage_to_several_addresses_is_one_send_in_the_caps(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann", name="e1"), phone("ann", name="e2"))
    swept = await world.sweep(opening(7), on=7)
    assert len(swept.deliveries) == 2
    view = await world.view_of("ann")
    assert len(view.claims) == 2
    assert [(s.stage, s.channel) for s in view.sends] == [("nudge", Channel.PUSH)]


async def test_a_refused_look_writes_nothing_and_ends_the_sweep(world: World) -> None:
    for number, user in enumerate(("ann", "bob", "eve")):
        await world.tell(seen(user, number / 10), phone(user))
    asked: list[str] = []

    def admits(deliveries: Sequence[Delivery]) -> bool:
        asked.append(deliveries[0].claim.user_id)
        return asked[-1] != "bob"

    swept = await world.sweep(opening(8), on=8, admits=admits)
    assert asked == ["ann", "bob"]
    assert [d.claim.user_id for d in swept.deliveries] == ["ann"]
    assert (swept.users, swept.more) == (1, True)
    views = await world.views(on=8)
    assert {user: view.episodes for user, view in views.items()} == {"bob": (), "eve": ()}


async def test_a_look_without_deliveries_needs_no_admission(world: World) -> None:
    await world.tell(seen("ann", 0))
    swept = await world.sweep(parked, on=8, admits=lambda _: False)
    assert swept.users == 1


async def test_a_look_that_fails_harms_only_its_user(world: World) -> None:
    await world.tell(seen("ann", 0), seen("bob", 0), phone("ann"), phone("bob"))

    def look(view: UserView) -> Look:
        if view.user_id == "ann":
            raise ZeroDivisionError
        return opening(7)(view)

    swept = await world.sweep(look, on=7)
    assert [d.claim.user_id for d in swept.deliveries] == ["bob"]
    assert await world.due(on=7.04) == []
    assert await world.due(on=7.05) == ["ann"], "an hour later"


async def test_a_sweep_that_dies_has_done_nothing(world: World) -> None:
    await world.tell(seen("ann", 0), seen("bob", 0.1), phone("ann"), phone("bob"))

    def look(view: UserView) -> Look:
        if view.user_id == "bob":
            raise KeyboardInterrupt
        return opening(8)(view)

    with pytest.raises(KeyboardInterrupt):
        await world.sweep(look, on=8)
    views = await world.views(on=8)
    assert [(v.user_id, v.episodes, v.sends) for v in views.values()] == [
        ("ann", (), ()),
        ("bob", (), ()),
    ]


# --- claims (P1) -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [s for s in ClaimState if s is not ClaimState.RETRY])
async def test_a_send_is_never_claimed_twice(world: World, state: ClaimState) -> None:
    (send_id,) = await world.claimed("ann")
    if state is not ClaimState.CLAIMED:
        await world.settle(Sent(send_id=send_id), state=state, on=7)
    await world.store.adopt(Adoption(revision="again", rearm_after_ms=1, sends_for_ms=SENDS_FOR_MS))
    with pytest.raises(AssertionError, match="claimed twice"):
        await world.sweep(opening(8), on=8)
    assert [c.state for c in (await world.view_of("ann")).claims] == [state]


async def test_what_was_certainly_not_accepted_may_be_claimed_again(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    retry = Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")
    await world.settle(retry, state=ClaimState.RETRY, on=7)
    swept = await world.sweep(opening(8), on=8)
    assert [(d.claim.send_id, d.claim.attempt) for d in swept.deliveries] == [(send_id, 2)]
    (claim,) = (await world.view_of("ann")).claims
    assert (claim.state, claim.attempt, claim.claimed_ms) == (ClaimState.CLAIMED, 2, day(8))
    assert (claim.reason, claim.retry_ms) == (None, None)


async def test_a_retry_counts_its_attempts(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    retry = Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")
    await world.settle(retry, state=ClaimState.RETRY, on=7)

    def look(view: UserView) -> Look:
        skipping = delivery_of(view.claims[0], phone("ann"), attempt=3)
        claim = replace(skipping.claim, state=ClaimState.CLAIMED)
        return Look(user_id=view.user_id, due_ms=None, deliveries=(replace(skipping, claim=claim),))

    with pytest.raises(AssertionError):
        await world.sweep(look, on=8)


async def test_the_same_send_under_another_id_is_refused(world: World) -> None:
    await world.claimed("ann")
    await world.store.recover(now_ms=day(8))

    def look(view: UserView) -> Look:
        claim = claim_of(view.episodes[0], "token-phone-ann", 8)
        twin = delivery_of(replace(claim, send_id="twin"), phone("ann"))
        return Look(user_id=view.user_id, due_ms=None, deliveries=(twin,))

    with pytest.raises(AssertionError):
        await world.sweep(look, on=8)


async def test_a_claim_without_its_episode_is_refused(world: World) -> None:
    await world.tell(seen("ann", 0), phone("ann"))

    def look(view: UserView) -> Look:
        return replace(opening(7)(view), episodes=())

    with pytest.raises(AssertionError):
        await world.sweep(look, on=7)


async def test_an_open_episode_is_kept_as_a_look_leaves_it(world: World) -> None:
    await world.claimed("ann")
    before = (await world.view_of("ann")).episodes[0]
    after = replace(
        before,
        revision="r2",
        stage="mail",
        stage_due_ms=day(9),
        hold=Reason.QUIET_HOURS,
        held_ms=day(8),
        last_stage="nudge",
        last_sent_ms=day(7),
        arm=Arm.HOLDOUT,
    )
    ended = replace(
        after,
        stage=None,
        hold=None,
        held_ms=None,
        closed_ms=day(10),
        outcome=EpisodeOutcome.EXHAUSTED,
    )
    for episode in (after, ended):
        await world.store.adopt(
            Adoption(revision=str(episode.stage), rearm_after_ms=1, sends_for_ms=SENDS_FOR_MS)
        )
        await world.sweep(leaving(episode), on=9)
        await world.store.adopt(
            Adoption(revision="to see", rearm_after_ms=1, sends_for_ms=SENDS_FOR_MS)
        )
        assert (await world.views())["ann"].episodes == (episode,)


def leaving(episode: Episode) -> Callable[[UserView], Look]:
    """A look that leaves an episode like this."""
    return lambda view: replace(parked(view), episodes=(episode,))


async def test_a_closed_episode_is_never_written_again(world: World) -> None:
    await world.claimed("ann")
    await world.tell(seen("ann", 8), on=8)

    def look(view: UserView) -> Look:
        return Look(
            user_id=view.user_id,
            due_ms=None,
            episodes=(replace(view.episodes[0], closed_ms=None, outcome=None),),
        )

    with pytest.raises(AssertionError):
        await world.sweep(look, on=15)
