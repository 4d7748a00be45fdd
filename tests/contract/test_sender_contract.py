"""What every sender owes its caller (ports.Sender): the double and Pinpoint over HTTP alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import Enum, auto

import pytest

from tests.senders.deliveries import delivery
from tests.senders.endpoint import point_at
from worker.model import (
    Channel,
    Delivery,
    Message,
    Outcome,
    Reason,
    Rejected,
    Retry,
    Sent,
    StopReason,
    Uncertain,
)
from worker.ports import Sender
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.pinpoint_replies import (
    DEAD,
    OPTED_OUT,
    TEMPORARY,
    THROTTLED,
    UNKNOWN,
    Reply,
    first,
)
from worker.senders.pinpoint import open_pinpoint
from worker.testing import ScriptedSender


class Fate(Enum):
    """What the provider shall make of an address, the first time it is asked."""

    DEAD = auto()
    OPTED_OUT = auto()
    THROTTLED = auto()
    TEMPORARY = auto()
    UNKNOWN = auto()
    NEW_TOKEN = auto()


@dataclass(frozen=True, slots=True)
class Provider:
    """A sender, and the strings behind it.

    `reached`: addresses of every call it took; `taken` waits for that many of them; `stall`
    keeps the provider from answering what it takes.
    """

    sender: Sender
    decree: Callable[[str, Fate], None]
    reached: Callable[[], Sequence[str]]
    taken: Callable[[int], Awaitable[None]]
    stall: Callable[[], None]


REPLIES = {
    Fate.DEAD: DEAD,
    Fate.OPTED_OUT: OPTED_OUT,
    Fate.THROTTLED: THROTTLED,
    Fate.TEMPORARY: TEMPORARY,
    Fate.UNKNOWN: UNKNOWN,
    Fate.NEW_TOKEN: Reply(updated_token="token-new"),
}


def outcome_for(fate: Fate, send_id: str) -> Outcome:
    match fate:
        case Fate.DEAD:
            return Rejected(send_id=send_id, detail="dead", stop=StopReason.DEAD)
        case Fate.OPTED_OUT:
            return Rejected(send_id=send_id, detail="out", stop=StopReason.OPTED_OUT)
        case Fate.THROTTLED:
            return Retry(send_id=send_id, reason=Reason.PROVIDER_THROTTLED, detail="busy")
        case Fate.TEMPORARY:
            return Retry(send_id=send_id, reason=Reason.TEMPORARY_FAILURE, detail="later")
        case Fate.UNKNOWN:
            return Uncertain(send_id=send_id, detail="unknown")
        case Fate.NEW_TOKEN:
            return Sent(send_id=send_id, updated_token="token-new")


def scripted() -> Provider:
    sender = ScriptedSender()

    def decree(address: str, fate: Fate) -> None:
        sender.script(address, lambda send_id: outcome_for(fate, send_id))

    return Provider(
        sender=sender,
        decree=decree,
        reached=lambda: [one.address for call in sender.calls for one in call],
        taken=sender.taken,
        stall=sender.gate.clear,
    )


async def over_http(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Provider:
    stub = PinpointStub()
    point_at(await stub.start(), monkeypatch)
    stack.push_async_callback(stub.stop)
    sender = await stack.enter_async_context(open_pinpoint("app-1"))

    def decree(address: str, fate: Fate) -> None:
        stub.behaviours[address] = first(1, REPLIES[fate])

    def stall() -> None:
        stub.behaviour = first(1_000, Reply(delay_seconds=60))

    return Provider(
        sender=sender,
        decree=decree,
        reached=lambda: [send.address for send in stub.sends],
        taken=stub.taken,
        stall=stall,
    )


@pytest.fixture(params=["scripted", "pinpoint"])
async def provider(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Provider]:
    async with AsyncExitStack() as stack:
        if request.param == "scripted":
            yield scripted()
        else:
            yield await over_http(stack, monkeypatch)


def crowd(size: int, channel: Channel = Channel.PUSH) -> list[Delivery]:
    return [delivery(f"to-{number}", channel=channel) for number in range(size)]


@pytest.mark.parametrize("channel", Channel)
async def test_a_call_is_answered_one_outcome_for_each_delivery_in_order(
    provider: Provider, channel: Channel
) -> None:
    deliveries = crowd(7, channel)[::-1]
    outcomes = await provider.sender.send(deliveries)
    assert [outcome.send_id for outcome in outcomes] == [d.claim.send_id for d in deliveries]
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert provider.reached() == [d.address for d in deliveries]


async def test_a_full_call_is_one_call_and_no_delivery_is_lost(provider: Provider) -> None:
    deliveries = crowd(provider.sender.batch_max)
    outcomes = await provider.sender.send(deliveries)
    assert len(outcomes) == len(deliveries)
    assert sorted(provider.reached()) == sorted(d.address for d in deliveries)


@pytest.mark.parametrize(
    ("fate", "outcome", "word"),
    [
        (Fate.DEAD, Rejected, StopReason.DEAD),
        (Fate.OPTED_OUT, Rejected, StopReason.OPTED_OUT),
        (Fate.THROTTLED, Retry, Reason.PROVIDER_THROTTLED),
        (Fate.TEMPORARY, Retry, Reason.TEMPORARY_FAILURE),
        (Fate.UNKNOWN, Uncertain, None),
        (Fate.NEW_TOKEN, Sent, "token-new"),
    ],
)
async def test_one_addresss_fate_is_its_own(
    provider: Provider, fate: Fate, outcome: type[Outcome], word: str | None
) -> None:
    provider.decree("to-1", fate)
    before, struck, after = await provider.sender.send(crowd(3))
    assert (type(before), type(after)) == (Sent, Sent)
    assert type(struck) is outcome
    said = [getattr(struck, name, None) for name in ("stop", "reason", "updated_token")]
    assert word is None or word in said


async def test_what_was_throttled_can_be_sent_again(provider: Provider) -> None:
    provider.decree("to-0", Fate.THROTTLED)
    assert isinstance((await provider.sender.send(crowd(1)))[0], Retry)
    assert isinstance((await provider.sender.send(crowd(1)))[0], Sent)


async def test_users_with_different_texts_may_share_a_push(provider: Provider) -> None:
    one, other = crowd(2)
    other = replace(other, message=Message(title="Lee!", body="another text"))
    assert provider.sender.call_kind(one) == provider.sender.call_kind(other)
    assert len(await provider.sender.send([one, other])) == 2


async def test_the_kind_depends_on_the_delivery_alone(provider: Provider) -> None:
    one = crowd(1)[0]
    kind = provider.sender.call_kind(one)
    await provider.sender.send([one])
    assert provider.sender.call_kind(replace(one)) == kind
    assert hash(provider.sender.call_kind(replace(one))) == hash(kind)


async def test_calls_may_be_under_way_together(provider: Provider) -> None:
    calls = [[delivery(f"to-{call}-{n}") for n in range(3)] for call in range(6)]
    answers = await asyncio.gather(*(provider.sender.send(call) for call in calls))
    for call, outcomes in zip(calls, answers, strict=True):
        assert [outcome.send_id for outcome in outcomes] == [d.claim.send_id for d in call]
    assert len(provider.reached()) == 18


async def test_cancelling_is_passed_on_though_the_messages_are_gone(provider: Provider) -> None:
    provider.stall()
    call = asyncio.create_task(provider.sender.send(crowd(2)))
    await provider.taken(2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(provider.reached()) == 2


async def test_two_messages_to_one_address_in_a_call_are_a_bug(provider: Provider) -> None:
    one = delivery("to-0", user_id="a")
    with pytest.raises(AssertionError):
        await provider.sender.send([one, delivery("to-0", user_id="b")])
    with pytest.raises(AssertionError):
        await provider.sender.send([])
    assert provider.reached() == []


async def test_it_closes(provider: Provider) -> None:
    await provider.sender.send(crowd(1))
    await provider.sender.close()
