"""What every Store does with receipts and with stops that name a message: in any order, any number
of times, before or after the answer of the call they are about.

Written against the port, over each store there is. `winback`'s stage goes out on day 7.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.core.timeline import rule, rule_set, stage
from tests.store.world import (
    World,
    claim_of,
    day,
    delivery_of,
    goal,
    mailbox,
    opening,
    phone,
    seen,
    sending,
)
from worker.ladder import look
from worker.model import (
    Channel,
    Claim,
    ClaimState,
    Endpoint,
    Look,
    Outcome,
    Reason,
    Receipt,
    ReceiptStatus,
    Rejected,
    Retry,
    Sent,
    Stop,
    StopReason,
    Uncertain,
    UserView,
)
from worker.retry import settle
from worker.rules.ruleset import OnFailed

BUFFERED, DELIVERED = ReceiptStatus.BUFFERED, ReceiptStatus.DELIVERED
SOFT, FAILED = ReceiptStatus.SOFT_BOUNCED, ReceiptStatus.FAILED

MAIL = Channel.EMAIL


def receipt(status: ReceiptStatus, at: float = 8, **which: Any) -> Receipt:
    return Receipt(at_ms=day(at), channel=MAIL, status=status, detail=f"at {at}", **which)


def stop(reason: StopReason = StopReason.HARD_BOUNCED, at: float = 8, **which: Any) -> Stop:
    return Stop(at_ms=day(at), channel=MAIL, reason=reason, **which)


async def answered(world: World, *outcomes: Outcome, on: float = 7.5) -> None:
    """Writes the answers for calls under way, as the retry policy takes them."""
    views = await world.views(on=7)
    claims = [claim for view in views.values() for claim in view.claims]
    found = {claim.send_id: claim for claim in claims}
    made = [settle(o, found.get(o.send_id, blank(o.send_id)), day(on)) for o in outcomes]
    await world.store.settle(made, now_ms=day(on))


def blank(send_id: str) -> Claim:
    """Enough of a claim for `settle`; the store knows the whole."""
    return Claim(
        send_id=send_id,
        user_id="",
        rule="",
        revision="",
        episode_id="",
        stage="",
        channel=MAIL,
        address_hash="",
        claimed_ms=0,
    )


async def claim(world: World, user: str = "ann") -> Claim:
    """The one claim of a user."""
    (found,) = (await world.view_of(user)).claims
    return found


def uncertain(send_id: str) -> Outcome:
    return Uncertain(send_id=send_id, detail="timeout")


def sent(send_id: str) -> Outcome:
    return Sent(send_id=send_id, message_id="m1")


def throttled(send_id: str) -> Outcome:
    return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="429")


def refused(send_id: str) -> Outcome:
    return Rejected(send_id=send_id, detail="400")


# --- what becomes of a claim -------------------------------------------------------------------

STATES = [
    (uncertain, BUFFERED, ClaimState.SENT),
    (uncertain, DELIVERED, ClaimState.SENT),
    (uncertain, SOFT, ClaimState.SENT),
    (uncertain, FAILED, ClaimState.SENT),
    (throttled, BUFFERED, ClaimState.SENT),
    (throttled, DELIVERED, ClaimState.SENT),
    (throttled, SOFT, ClaimState.RETRY),
    (throttled, FAILED, ClaimState.RETRY),
    (refused, DELIVERED, ClaimState.REJECTED),
    (refused, FAILED, ClaimState.REJECTED),
    (sent, FAILED, ClaimState.SENT),
]


@pytest.mark.parametrize(("answer", "status", "state"), STATES)
@pytest.mark.parametrize("overtakes", [True, False], ids=["receipt-first", "answer-first"])
async def test_what_a_receipt_makes_of_an_answer(
    world: World,
    answer: Callable[[str], Outcome],
    status: ReceiptStatus,
    state: ClaimState,
    overtakes: bool,
) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL, cost_micros=40)
    told = receipt(status, send_id=send_id)
    if overtakes:
        assert (await world.tell(told, on=8)).receipts_matched == 1
    await answered(world, answer(send_id))
    if not overtakes:
        assert (await world.tell(told, on=8)).receipts_matched == 1
    found = await claim(world)
    assert (found.state, found.receipt) == (state, status)
    spent = [spend.micros for spend in await world.store.spends(0)]
    gone = state in (ClaimState.SENT, ClaimState.UNCERTAIN)
    assert spent == ([40] if gone else []), (
        "what was accepted costs money, whether it arrives or not"
    )


@pytest.mark.parametrize("status", [BUFFERED, FAILED])
async def test_a_call_cut_short_is_resolved_by_a_receipt_from_before_the_restart(
    world: World, status: ReceiptStatus
) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await world.tell(receipt(status, send_id=send_id))
    assert await world.store.recover(now_ms=day(9)) == 0
    assert (await claim(world)).state is ClaimState.SENT


async def test_what_failed_was_sent_and_counts_in_the_caps(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await world.tell(receipt(FAILED, send_id=send_id))
    await answered(world, uncertain(send_id))
    assert [s.stage for s in (await world.view_of("ann")).sends] == ["nudge"]


async def test_a_receipt_that_resolves_a_retry_takes_the_money_again(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL, cost_micros=40)
    await answered(world, throttled(send_id))
    assert list(await world.store.spends(0)) == []
    for _ in range(2):
        await world.tell(receipt(DELIVERED, send_id=send_id))
    assert [spend.micros for spend in await world.store.spends(0)] == [40]


# --- orders and repetitions --------------------------------------------------------------------

HISTORIES: dict[str, tuple[Callable[[str], Outcome], list[tuple[ReceiptStatus, float]]]] = {
    "uncertain": (uncertain, [(BUFFERED, 8), (SOFT, 8.5), (DELIVERED, 9)]),
    "throttled": (throttled, [(FAILED, 8), (BUFFERED, 8.5), (SOFT, 9)]),
    "two finals at one instant": (sent, [(FAILED, 8), (DELIVERED, 8), (SOFT, 8)]),
    "bounced thrice": (sent, [(SOFT, 8), (SOFT, 8.5), (SOFT, 9)]),
    "refused": (refused, [(BUFFERED, 8), (DELIVERED, 9), (FAILED, 8.5)]),
}


@pytest.mark.parametrize(
    ("history", "by"),
    [
        (name, by)
        for name, (answer, _) in HISTORIES.items()
        for by in (("send", "message") if answer is sent else ("send",))
    ],
)
async def test_no_order_and_no_repetition_changes_what_is_known(
    world: World, history: str, by: str
) -> None:
    """One user each lives through one order of the same sayings, some of them said twice. Only what
    was accepted has a message id."""
    answer, receipts = HISTORIES[history]
    orders = list(itertools.permutations(range(len(receipts) + 1)))
    users = [f"user{number:02d}" for number in range(len(orders))]
    send_ids = await world.claimed(*users, channel=MAIL, cost_micros=3)
    for number, (user, send_id, order) in enumerate(zip(users, send_ids, orders, strict=True)):
        which = {"send_id": send_id} if by == "send" else {"message_id": f"m{number}"}
        sayings: list[Outcome | Receipt] = [
            Sent(send_id=send_id, message_id=f"m{number}") if answer is sent else answer(send_id),
            *(
                receipt(status, at, address=f"token-phone-{user}", **which)
                for status, at in receipts
            ),
        ]
        for place in order:
            saying = sayings[place]
            if isinstance(saying, Receipt):
                for _ in range(1 + number % 2):
                    await world.tell(saying, on=9)
            else:
                await answered(world, saying)
    views = {user: await world.view_of(user) for user in users}
    known = {
        (c.state, c.receipt, c.soft_bounces, bool(view.sends))
        for view in views.values()
        for c in view.claims
    }
    assert len(known) == 1
    ((state, _, _, _),) = known
    unsent = state in (ClaimState.RETRY, ClaimState.REJECTED)
    spent = sum(spend.micros for spend in await world.store.spends(0))
    assert spent == (0 if unsent else 3 * len(users))


# --- which claim it is -------------------------------------------------------------------------


async def two_mailboxes(world: World) -> Sequence[str]:
    """Two sends under one message id, to ann and to bob; their send ids."""
    send_ids = await world.claimed("ann", "bob", channel=MAIL)
    await answered(world, *map(sent, send_ids))
    return send_ids


async def test_of_several_destinations_the_address_says_which(world: World) -> None:
    await two_mailboxes(world)
    one = receipt(FAILED, message_id="m1", address="Token-Phone-Ann")
    assert (await world.tell(one)).receipts_matched == 1
    assert [(await claim(world, user)).receipt for user in ("ann", "bob")] == [FAILED, None]
    stranger = receipt(FAILED, message_id="m1", address="who@example.com")
    assert (await world.tell(stranger)).receipts_matched == 0


async def test_without_an_address_it_is_about_the_whole_message(world: World) -> None:
    await two_mailboxes(world)
    assert (await world.tell(receipt(DELIVERED, message_id="m1"))).receipts_matched == 2
    assert {(await claim(world, user)).receipt for user in ("ann", "bob")} == {DELIVERED}


async def test_our_send_id_needs_no_address(world: World) -> None:
    ann, _ = await two_mailboxes(world)
    told = receipt(DELIVERED, send_id=ann, message_id="m1", address="as-the-provider-spells-it")
    assert (await world.tell(told)).receipts_matched == 1
    assert [(await claim(world, user)).receipt for user in ("ann", "bob")] == [DELIVERED, None]


@pytest.mark.parametrize(
    "which", [{"send_id": "?"}, {"message_id": "?"}, {"send_id": "?", "message_id": "?"}, {}]
)
async def test_a_receipt_of_a_strangers_message_changes_nothing(
    world: World, which: dict[str, Any]
) -> None:
    await world.claimed("ann", channel=MAIL)
    applied = await world.tell(receipt(FAILED, **which), stop(**which))
    assert applied.receipts_matched == 0
    (view,) = [await world.view_of("ann")]
    assert [c.receipt for c in view.claims] == [None]
    assert [e.suppressed for e in view.endpoints] == [None]


async def test_a_click_in_a_mail_to_several_is_that_of_the_address_it_names(world: World) -> None:
    await two_mailboxes(world)
    await world.tell(seen(None, 8, message_id="m1", address="token-phone-bob"), on=8)
    open_ones = {
        user: [e.is_open for e in (await world.view_of(user)).episodes] for user in ("ann", "bob")
    }
    assert open_ones == {"ann": [True], "bob": [False]}


# --- before the answer -------------------------------------------------------------------------


async def test_what_names_only_the_message_may_come_before_the_answer(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    told = receipt(SOFT, message_id="m1", address="token-phone-ann")
    assert (await world.tell(told, told, stop(message_id="m1"))).receipts_matched == 0
    await answered(world, sent(send_id))
    found = await claim(world)
    assert (found.receipt, found.soft_bounces) == (SOFT, 1)
    (endpoint,) = (await world.view_of("ann")).endpoints
    assert endpoint.suppressed is StopReason.HARD_BOUNCED


@pytest.mark.parametrize(
    "told",
    [
        receipt(FAILED, message_id="m1", address="token-phone-bob"),
        replace(receipt(FAILED, message_id="m1"), channel=Channel.SMS),
        receipt(FAILED, message_id="m2"),
    ],
    ids=["another address", "another channel", "another message"],
)
async def test_what_no_call_under_way_can_be_about_is_not_kept(world: World, told: Receipt) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await world.tell(told)
    await answered(world, sent(send_id))
    (bob,) = await world.claimed("bob", channel=MAIL)
    await answered(world, Sent(send_id=bob, message_id=told.message_id))
    assert [(await claim(world, user)).receipt for user in ("ann", "bob")] == [None, None]


async def test_what_is_told_before_a_call_is_made_is_not_about_it(world: World) -> None:
    (ann,) = await world.claimed("ann", channel=MAIL)
    await world.tell(receipt(FAILED, message_id="m1", address="token-phone-bob"))
    (bob,) = await world.claimed("bob", channel=MAIL)
    await answered(world, sent(ann), sent(bob))
    assert [(await claim(world, user)).receipt for user in ("ann", "bob")] == [None, None]


async def test_a_crash_forgets_what_was_kept_for_an_answer(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL, resend=True)
    await world.tell(receipt(DELIVERED, message_id="m1"))
    assert await world.store.recover(now_ms=day(7)) == 1
    await world.sweep(opening(8, channel=MAIL), on=8)
    await answered(world, sent(send_id), on=8)
    assert (await claim(world)).receipt is None


# --- stops -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["send_id", "message_id"])
@pytest.mark.parametrize(
    "reason", [StopReason.HARD_BOUNCED, StopReason.COMPLAINED, StopReason.OPTED_OUT]
)
async def test_a_stop_that_names_a_message_is_about_its_address(
    world: World, reason: StopReason, by: str
) -> None:
    send_ids = await world.claimed("ann", "bob", channel=MAIL)
    answers = [Sent(send_id=one, message_id=f"m-{one}") for one in send_ids]
    await answered(world, *answers)
    await world.views(on=8)
    named = send_ids[0] if by == "send_id" else f"m-{send_ids[0]}"
    names: dict[str, Any] = {by: named}
    await world.tell(stop(reason, **names), on=8)
    assert await world.store.next_due_ms() == day(8), "its user is looked at again"
    found = {
        user: [e.suppressed for e in (await world.view_of(user)).endpoints]
        for user in ("ann", "bob")
    }
    assert found == {"ann": [reason], "bob": [None]}


async def test_a_stop_holds_whoever_has_the_address_later(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await world.tell(stop(send_id=send_id))
    await world.tell(seen("eve", 8), phone("eve", 8, token="token-phone-ann"), on=8)
    assert [e.suppressed for e in (await world.view_of("eve")).endpoints] == [
        StopReason.HARD_BOUNCED
    ]


async def test_of_two_stops_at_one_instant_it_is_always_the_same_that_is_kept(
    world: World,
) -> None:
    users = ("ann", "bob")
    send_ids = dict(zip(users, await world.claimed(*users, channel=MAIL), strict=True))
    reasons = [StopReason.COMPLAINED, StopReason.HARD_BOUNCED]
    for user, order in zip(users, (reasons, reasons[::-1]), strict=True):
        for reason in order:
            await world.tell(stop(reason, send_id=send_ids[user]))
    kept = {user: [e.suppressed for e in (await world.view_of(user)).endpoints] for user in users}
    assert kept["ann"] == kept["bob"]


# --- who is looked at --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "is_due"), [(BUFFERED, False), (DELIVERED, False), (SOFT, True), (FAILED, True)]
)
async def test_who_did_not_get_it_is_looked_at_again(
    world: World, status: ReceiptStatus, is_due: bool
) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await answered(world, sent(send_id))
    await world.views(on=8)
    told = receipt(status, send_id=send_id)
    await world.tell(told, on=8.5)
    assert await world.store.next_due_ms() == (day(8.5) if is_due else None)
    await world.views(on=9)
    await world.tell(told, on=9.5)
    assert await world.store.next_due_ms() is None, "what says nothing new wakes nobody"


async def test_a_ladder_that_is_over_is_not_looked_at(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await answered(world, sent(send_id))
    await world.tell(seen("ann", 8), on=8)
    due_ms = await world.store.next_due_ms()
    await world.views(on=14.5)
    await world.tell(receipt(FAILED, 8.2, send_id=send_id), on=14.6)
    assert due_ms is not None
    assert await world.store.next_due_ms() is None


# --- soft bounces ------------------------------------------------------------------------------


def again(on: float, stage: str) -> Callable[[UserView], Look]:
    """One more stage to the same mailbox."""

    def look(view: UserView) -> Look:
        episode = next(e for e in view.episodes if e.is_open)
        claim = claim_of(episode, "token-phone-ann", on, stage=stage, channel=MAIL)
        (endpoint,) = view.endpoints
        delivery = delivery_of(claim, endpoint)
        return Look(
            user_id=view.user_id,
            due_ms=None,
            episodes=(replace(episode, stage=stage),),
            deliveries=(delivery,),
        )

    return look


async def bounced(world: World, stages: Sequence[tuple[str, ReceiptStatus]]) -> dict[str, int]:
    """Stages to one mailbox, a day each, with what is told of them; how many bounces in a row each
    one then has."""
    (first,) = await world.claimed("ann", channel=MAIL)
    await answered(world, sent(first))
    for number, (name, status) in enumerate(stages):
        if number:
            await world.store.wake([], now_ms=day(7))
            await world.tell(replace(phone("ann", 7 + number), locale=name), on=7 + number)
            (made,) = (await world.sweep(again(7 + number, name), on=7 + number)).deliveries
            first = made.claim.send_id
            settled = settle(Sent(send_id=first), made.claim, day(7 + number))
            await world.store.settle([settled], now_ms=day(7 + number))
        await world.tell(receipt(status, 7.5 + number, send_id=first), on=8 + number)
    return {c.stage: c.soft_bounces for c in (await world.view_of("ann")).claims}


async def test_soft_bounces_of_a_mailbox_count_in_a_row(world: World) -> None:
    found = await bounced(
        world, [("nudge", SOFT), ("two", SOFT), ("three", BUFFERED), ("four", SOFT)]
    )
    assert found == {"nudge": 1, "two": 2, "three": 0, "four": 3}


async def test_what_arrives_begins_the_count_anew(world: World) -> None:
    found = await bounced(world, [("nudge", SOFT), ("two", DELIVERED), ("three", SOFT)])
    assert found == {"nudge": 1, "two": 0, "three": 1}


async def test_a_repeated_report_is_one_bounce_and_a_later_one_another(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    for at, count in ((8.5, 1), (8.5, 1), (8, 2), (9, 3)):
        await world.tell(receipt(SOFT, at, send_id=send_id))
        assert (await claim(world)).soft_bounces == count
    for number in range(20):
        await world.tell(receipt(SOFT, 10 + number, send_id=send_id))
    assert (await claim(world)).soft_bounces == 10, "bounded"


# --- calls that are repeated -------------------------------------------------------------------


async def test_a_failure_of_an_earlier_call_is_not_that_of_the_next(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await answered(world, throttled(send_id), on=7)
    await world.tell(receipt(FAILED, 7.2, send_id=send_id), on=7.5)
    await world.sweep(opening(8, channel=MAIL), on=8)
    await world.tell(receipt(FAILED, 7.2, send_id=send_id), receipt(SOFT, 7.3, send_id=send_id))
    await answered_again(world, send_id)
    assert (await claim(world)).receipt is None
    for status in (BUFFERED, FAILED):
        await world.tell(receipt(status, 8.1, send_id=send_id))
        assert (await claim(world)).receipt is status


async def test_what_an_earlier_call_delivered_was_delivered(world: World) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL, resend=True)
    assert await world.store.recover(now_ms=day(7.5)) == 1
    await world.sweep(opening(8, channel=MAIL, resend=True, maybe_sent=True), on=8)
    await world.tell(receipt(DELIVERED, 7.2, send_id=send_id))
    assert await world.store.recover(now_ms=day(9)) == 0
    found = await claim(world)
    assert (found.state, found.receipt) == (ClaimState.SENT, DELIVERED)


async def answered_again(world: World, send_id: str) -> None:
    settled = settle(Sent(send_id=send_id), blank(send_id), day(8))
    await world.store.settle([settled], now_ms=day(8))


# --- conversions -------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [sent, uncertain])
@pytest.mark.parametrize("status", [None, DELIVERED, FAILED])
async def test_a_conversion_is_owed_to_the_stage_that_was_tried(
    world: World, answer: Callable[[str], Outcome], status: ReceiptStatus | None
) -> None:
    (send_id,) = await world.claimed("ann", channel=MAIL)
    await answered(world, answer(send_id))
    if status is not None:
        await world.tell(receipt(status, send_id=send_id))
    await world.sweep(sending(7), on=8)
    assert (await world.tell(goal("ann", 9), on=9)).conversions_credited == 1
    (episode,) = (await world.view_of("ann")).episodes
    assert (episode.converted_ms, episode.converted_stage) == (day(9), "nudge")


async def test_a_stage_sent_later_does_not_take_a_conversion_over(world: World) -> None:
    await world.on_ladder("ann", since=0, sent=7)
    await world.tell(goal("ann", 9), on=9)
    await world.tell(replace(phone("ann", 9), locale="x"), on=9)
    await world.sweep(sending(10), on=9)
    (episode,) = (await world.view_of("ann")).episodes
    assert (episode.last_stage, episode.converted_stage) == ("mail", "nudge")


# --- with the ladder ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "sms_on"),
    [
        ([], 10),
        ([(DELIVERED, 8)], 10),
        ([(FAILED, 8)], 8),
        ([(SOFT, 8)], 10),
        ([(SOFT, 8), (SOFT, 8)], 10),
        ([(SOFT, 8), (SOFT, 8.5)], 8.5),
    ],
    ids=str,
)
async def test_the_next_stage_goes_out_when_the_one_before_did_not_arrive(
    world: World, told: list[tuple[ReceiptStatus, float]], sms_on: float
) -> None:
    """E-mail on day 7, SMS on day 10 or, after two soft bounces in a row or a failure, at once."""
    email = stage("email", on_failed=OnFailed.NEXT_STAGE, soft_bounces=2)
    rules = rule_set(rule(stages=(email, stage("sms", 3))))
    await world.tell(seen("ann", 0), mailbox("ann", "Ann@example.com"), text_phone("ann"))
    calls: list[tuple[int, str]] = []
    for at in sorted({7, 8, 8.5, 9, 10, *(at for _, at in told)}):
        sayings = [
            receipt(status, then, message_id="m1", address="ANN@example.com")
            for status, then in told
            if then == at
        ]
        if sayings:
            await world.tell(*sayings, on=at)
        for _ in range(3):
            swept = await world.sweep(partial(look, rules=rules, now_ms=day(at)), on=at)
            made = [
                settle(Sent(send_id=d.claim.send_id, message_id="m1"), d.claim, day(at))
                for d in swept.deliveries
            ]
            calls += [(day(at), d.claim.stage) for d in swept.deliveries]
            await world.store.settle(made, now_ms=day(at))
        due_ms = await world.store.next_due_ms()
        assert due_ms is None or due_ms > day(at)
    assert calls == [(day(7), "email"), (day(sms_on), "sms")]


def text_phone(user: str) -> Endpoint:
    return Endpoint(
        endpoint_id=f"sms-{user}",
        at_ms=day(0),
        user_id=user,
        channel_type="SMS",
        address="+821055501234",
        timezone="UTC",
    )
