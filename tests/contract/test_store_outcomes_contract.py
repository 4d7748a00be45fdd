"""What every Store does with answers and receipts, and what it forgets in time.

Written against the port, over each store there is.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.store.world import (
    World,
    day,
    opening,
    phone,
    seen,
)
from worker.model import (
    Channel,
    ClaimState,
    Endpoint,
    Reason,
    Receipt,
    ReceiptStatus,
    Rejected,
    Retry,
    Sent,
    Settlement,
    StopReason,
    Uncertain,
)
from worker.retry import TEMPORARY_ATTEMPTS_MAX

# --- outcomes ----------------------------------------------------------------------------------


async def test_an_outcome_is_written_and_its_user_looked_at(world: World) -> None:
    send_ids = await world.claimed("ann", "bob")
    uncertain = Uncertain(send_id=send_ids[1], detail="timeout")
    await world.settle(Sent(send_id=send_ids[0]), state=ClaimState.SENT, on=7.5)
    await world.settle(uncertain, state=ClaimState.UNCERTAIN, on=7.5)
    assert await world.store.next_due_ms() == day(7.5)
    views = await world.views(on=7.5)
    states = {user: [claim.state for claim in view.claims] for user, view in views.items()}
    assert states == {"ann": [ClaimState.SENT], "bob": [ClaimState.UNCERTAIN]}
    assert all(len(view.sends) == 1 for view in views.values()), "both may have gone out"


async def test_what_was_not_accepted_is_no_send(world: World) -> None:
    send_ids = await world.claimed("ann", "bob")
    retry = Retry(send_id=send_ids[0], reason=Reason.PROVIDER_THROTTLED, detail="429")
    await world.settle(retry, state=ClaimState.RETRY, on=7)
    await world.settle(Rejected(send_id=send_ids[1], detail="no"), state=ClaimState.REJECTED, on=7)
    views = await world.views(on=7)
    assert [view.sends for view in views.values()] == [(), ()]
    assert views["ann"].claims[0].retry_ms == day(8)


async def test_what_is_repeated_because_nobody_knows_counts_as_a_send(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    settlement = Settlement(
        outcome=Uncertain(send_id=send_id, detail="timeout"),
        state=ClaimState.RETRY,
        reason=Reason.UNCERTAIN.value,
        retry_ms=day(8),
    )
    await world.store.settle([settlement], now_ms=day(7))
    (view,) = (await world.views(on=7)).values()
    assert [send.stage for send in view.sends] == ["nudge"]


async def test_a_token_the_provider_renewed_is_used_from_then_on(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    sent = Sent(send_id=send_id, updated_token="new-token")
    await world.settle(sent, state=ClaimState.SENT, on=7)
    late = Endpoint(endpoint_id="phone-ann", at_ms=day(6), address="token-phone-ann")
    await world.tell(late)
    (endpoint,) = (await world.views())["ann"].endpoints
    assert endpoint.address == "new-token"


async def test_a_renewed_token_is_for_the_endpoint_that_had_the_old_one(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    await world.tell(phone("ann", 7.1, token="from-the-app"), on=7.1)
    sent = Sent(send_id=send_id, updated_token="new-token")
    await world.settle(sent, state=ClaimState.SENT, on=7.2)
    (endpoint,) = (await world.views())["ann"].endpoints
    assert endpoint.address == "from-the-app"


async def test_an_address_the_provider_calls_dead_is_suppressed(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    rejected = Rejected(send_id=send_id, detail="410", stop=StopReason.DEAD)
    await world.settle(rejected, state=ClaimState.REJECTED, on=7)
    (endpoint,) = (await world.views(on=7))["ann"].endpoints
    assert endpoint.suppressed is StopReason.DEAD


@pytest.mark.parametrize("times", [1, 2])
async def test_an_outcome_for_what_is_not_claimed_is_a_bug(world: World, times: int) -> None:
    (send_id,) = await world.claimed("ann")
    await world.settle(Sent(send_id=send_id), state=ClaimState.SENT, on=7)
    unknown = send_id if times == 2 else "unknown"
    settlement = Settlement(outcome=Sent(send_id=unknown), state=ClaimState.SENT, reason=None)
    with pytest.raises(AssertionError):
        await world.store.settle([settlement], now_ms=day(7))


async def test_claims_nobody_saw_the_end_of_are_uncertain(world: World) -> None:
    send_ids = await world.claimed("ann", "bob")
    await world.settle(Sent(send_id=send_ids[0]), state=ClaimState.SENT, on=7)
    await world.views(on=7)
    assert await world.store.recover(now_ms=day(8)) == 1
    assert await world.store.recover(now_ms=day(8)) == 0
    views = await world.views(on=8)
    assert [c.state for view in views.values() for c in view.claims] == [ClaimState.UNCERTAIN]


async def test_a_call_nobody_saw_the_end_of_is_repeated_where_the_rule_says_so(
    world: World,
) -> None:
    keep, resend = "ann", "bob"
    await world.claimed(keep)
    await world.claimed(resend, resend=True, variant="warm", cost_micros=5)
    assert await world.store.recover(now_ms=day(8)) == 2
    assert await world.store.recover(now_ms=day(8)) == 0
    views = await world.views(on=8)
    found = {user: view.claims[0] for user, view in views.items()}
    assert [(c.state, c.retry_ms) for c in (found[keep], found[resend])] == [
        (ClaimState.UNCERTAIN, None),
        (ClaimState.RETRY, day(8)),
    ]
    assert {claim.reason for claim in found.values()} == {"stopped_mid_call"}
    assert (found[resend].resend, found[resend].variant) == (True, "warm")
    assert [s.at_ms for s in views[keep].sends] == [day(7)]


async def test_what_a_receipt_calls_delivered_is_not_repeated(world: World) -> None:
    (send_id,) = await world.claimed("ann", resend=True)
    await world.tell(receipt(ReceiptStatus.DELIVERED, send_id=send_id))
    assert await world.store.recover(now_ms=day(8)) == 0
    (claim,) = (await world.views())["ann"].claims
    assert (claim.state, claim.retry_ms) == (ClaimState.SENT, None)


async def test_a_call_is_repeated_only_so_often(world: World) -> None:
    (send_id,) = await world.claimed("ann", resend=True)
    attempts = 0
    for attempt in range(1, 20):
        assert await world.store.recover(now_ms=day(7 + attempt)) == 1
        attempts = attempt
        if (await world.view_of("ann")).claims[0].state is ClaimState.UNCERTAIN:
            break
        await world.store.wake([], now_ms=day(7))
        await world.tell(replace(phone("ann", 7 + attempt), locale=f"l{attempt}"), on=7 + attempt)
        swept = await world.sweep(opening(7 + attempt, resend=True), on=7 + attempt)
        assert [d.claim.send_id for d in swept.deliveries] == [send_id]
    assert attempts == TEMPORARY_ATTEMPTS_MAX


# --- receipts ----------------------------------------------------------------------------------


def receipt(status: ReceiptStatus, **which: str) -> Receipt:
    return Receipt(at_ms=day(8), channel=Channel.PUSH, status=status, detail="said so", **which)


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (ReceiptStatus.DELIVERED, ClaimState.SENT),
        (ReceiptStatus.BUFFERED, ClaimState.SENT),
        (ReceiptStatus.FAILED, ClaimState.SENT),
        (ReceiptStatus.SOFT_BOUNCED, ClaimState.SENT),
    ],
)
async def test_a_receipt_resolves_an_uncertain_send(
    world: World, status: ReceiptStatus, becomes: ClaimState
) -> None:
    (send_id,) = await world.claimed("ann")
    await world.store.recover(now_ms=day(7))
    applied = await world.tell(receipt(status, send_id=send_id))
    assert applied.receipts_matched == 1
    assert [c.state for c in (await world.views())["ann"].claims] == [becomes]


async def test_what_was_delivered_is_not_tried_again(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    retry = Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")
    await world.settle(retry, state=ClaimState.RETRY, on=7)
    await world.tell(receipt(ReceiptStatus.DELIVERED, send_id=send_id))
    assert [c.state for c in (await world.views())["ann"].claims] == [ClaimState.SENT]


async def test_a_receipt_may_overtake_the_answer(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    await world.tell(receipt(ReceiptStatus.DELIVERED, send_id=send_id))
    uncertain = Uncertain(send_id=send_id, detail="timeout")
    await world.settle(uncertain, state=ClaimState.UNCERTAIN, on=8)
    assert [c.state for c in (await world.views())["ann"].claims] == [ClaimState.SENT]


async def test_a_receipt_finds_its_send_by_the_providers_message_id(world: World) -> None:
    (send_id,) = await world.claimed("ann")
    sent = Sent(send_id=send_id, message_id="m1")
    await world.settle(sent, state=ClaimState.SENT, on=7)
    for which, matched in (({"message_id": "m1"}, 1), ({"message_id": "m2"}, 0), ({}, 0)):
        applied = await world.tell(receipt(ReceiptStatus.DELIVERED, **which))
        assert applied.receipts_matched == matched


# --- forgetting --------------------------------------------------------------------------------


async def test_old_episodes_are_forgotten_but_the_latest_of_each_user_stays(world: World) -> None:
    for start in (0, 20, 40):
        await world.tell(seen("ann", start), phone("ann"), on=start)
        await world.sweep(opening(start + 7), on=start + 7)
    await world.tell(seen("ann", 60), on=60)
    assert await world.store.prune(now_ms=day(97)) == 0, "nothing is 90 days old"
    removed = [await world.store.prune(now_ms=day(1_000)) for _ in range(5)]
    assert removed[0] >= 4, "two episodes with a claim each"
    assert removed[-1] == 0
    (episode,) = (await world.views())["ann"].episodes
    assert episode.silence_since_ms == day(40)


async def test_an_open_episode_is_never_forgotten(world: World) -> None:
    await world.claimed("ann")
    await world.store.prune(now_ms=day(5_000))
    await world.store.recover(now_ms=day(300))
    view = (await world.views())["ann"]
    assert (len(view.episodes), len(view.claims)) == (1, 1)
