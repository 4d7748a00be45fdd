"""What every sender owes its caller (ports.Sender): the double and the adapters over HTTP alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

import pytest

from tests.senders.deliveries import address_of, crowd, delivery
from tests.senders.endpoint import point_at
from tests.senders.services import SERVICES, Service
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
from worker.sandbox.pinpoint_replies import (
    DEAD,
    OPTED_OUT,
    TEMPORARY,
    THROTTLED,
    UNKNOWN,
    Reply,
    first,
)
from worker.testing import ScriptedSender


class Fate(Enum):
    """What the provider shall make of an address, the first time it is asked."""

    DEAD = auto()
    OPTED_OUT = auto()
    THROTTLED = auto()
    TEMPORARY = auto()
    UNKNOWN = auto()
    NEW_TOKEN = auto()


Meaning: TypeAlias = tuple[type[Outcome], object]
"""The class of an outcome, and the word in it that matters: its stop, reason or new token."""

USUAL: Mapping[Fate, Meaning] = {
    Fate.DEAD: (Rejected, StopReason.DEAD),
    Fate.OPTED_OUT: (Rejected, StopReason.OPTED_OUT),
    Fate.THROTTLED: (Retry, Reason.PROVIDER_THROTTLED),
    Fate.TEMPORARY: (Retry, Reason.TEMPORARY_FAILURE),
    Fate.UNKNOWN: (Uncertain, None),
    Fate.NEW_TOKEN: (Sent, "token-new"),
}
"""What a fate means to a provider that can tell it."""

MEANINGS: Mapping[str, Mapping[Fate, Meaning]] = {
    "scripted": USUAL,
    "pinpoint": USUAL,
    # SES takes mail to any address and lets it bounce later, which is for the receipts to tell.
    "ses": {
        Fate.DEAD: (Rejected, None),
        **{fate: USUAL[fate] for fate in (Fate.THROTTLED, Fate.TEMPORARY, Fate.UNKNOWN)},
    },
    # "Try later" has one word here.
    "end_user_messaging": {
        Fate.TEMPORARY: USUAL[Fate.THROTTLED],
        **{fate: USUAL[fate] for fate in (Fate.DEAD, Fate.OPTED_OUT, Fate.THROTTLED, Fate.UNKNOWN)},
    },
}


@dataclass(frozen=True, slots=True)
class Provider:
    """A sender, and the strings behind it.

    `channel`: one that it serves. `reached`: addresses of every call it took; `taken` waits for
    that many of them; `stall` keeps the provider from answering what it takes.
    """

    sender: Sender
    channel: Channel
    decree: Callable[[str, Fate], None]
    reached: Callable[[], Sequence[str]]
    taken: Callable[[int], Awaitable[None]]
    stall: Callable[[], None]

    def crowd(self, size: int) -> list[Delivery]:
        """Messages of one text to that many users."""
        return crowd(size, self.channel)

    def address(self, number: int) -> str:
        """Where the crowd's user of that number is reached."""
        return address_of(number, self.channel)

    async def send(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """As many calls as it takes, one after the other."""
        outcomes: list[Outcome] = []
        for start in range(0, len(deliveries), self.sender.batch_max):
            part = deliveries[start : start + self.sender.batch_max]
            outcomes += await self.sender.send(part)
        return outcomes


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
        channel=Channel.PUSH,
        decree=decree,
        reached=lambda: [one.address for call in sender.calls for one in call],
        taken=sender.taken,
        stall=sender.gate.clear,
    )


async def over_http(
    service: Service, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> Provider:
    stub = service.stub()
    point_at(await stub.start(), monkeypatch)
    stack.push_async_callback(stub.stop)
    sender = await stack.enter_async_context(service.open())

    def decree(address: str, fate: Fate) -> None:
        stub.behaviours[address] = first(1, REPLIES[fate])

    def stall() -> None:
        stub.behaviour = first(1_000, Reply(delay_seconds=60))

    return Provider(
        sender=sender,
        channel=service.channel,
        decree=decree,
        reached=lambda: [send.address for send in stub.sends],
        taken=stub.taken,
        stall=stall,
    )


async def make(name: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Provider:
    if name == "scripted":
        return scripted()
    service = next(service for service in SERVICES if service.name == name)
    return await over_http(service, stack, monkeypatch)


@pytest.fixture(params=MEANINGS)
async def provider(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Provider]:
    async with AsyncExitStack() as stack:
        yield await make(request.param, stack, monkeypatch)


async def test_a_call_is_answered_one_outcome_for_each_delivery_in_order(
    provider: Provider,
) -> None:
    deliveries = provider.crowd(7)[::-1]
    outcomes = await provider.send(deliveries)
    assert [outcome.send_id for outcome in outcomes] == [d.claim.send_id for d in deliveries]
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert provider.reached() == [d.address for d in deliveries]


async def test_every_channel_it_names_is_served(provider: Provider) -> None:
    assert provider.channel in provider.sender.channels
    for channel in provider.sender.channels:
        outcomes = await provider.sender.send(crowd(1, channel))
        assert {type(outcome) for outcome in outcomes} == {Sent}


async def test_a_full_call_is_one_call_and_no_delivery_is_lost(provider: Provider) -> None:
    deliveries = provider.crowd(provider.sender.batch_max)
    outcomes = await provider.sender.send(deliveries)
    assert len(outcomes) == len(deliveries)
    assert sorted(provider.reached()) == sorted(d.address for d in deliveries)


def said_by(outcome: Outcome) -> object:
    match outcome:
        case Rejected(stop=stop):
            return stop
        case Retry(reason=reason):
            return reason
        case Sent(updated_token=token):
            return token
        case Uncertain():
            return None


@pytest.mark.parametrize(
    ("name", "fate"), [(name, fate) for name, fates in MEANINGS.items() for fate in fates]
)
@pytest.mark.parametrize("alone", [False, True], ids=["among others", "alone"])
async def test_one_addresss_fate_is_its_own(
    name: str, fate: Fate, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncExitStack() as stack:
        provider = await make(name, stack, monkeypatch)
        provider.decree(provider.address(1), fate)
        people = provider.crowd(3)
        others: list[Outcome] = []
        if alone:
            (struck,) = await provider.send(people[1:2])
        else:
            before, struck, after = await provider.send(people)
            others = [before, after]
        assert {type(other) for other in others} <= {Sent}
        outcome, word = MEANINGS[name][fate]
        if (name, fate, alone) == ("ses", Fate.TEMPORARY, True):
            # SendEmail has no word for a passing failure; what is said instead may mean anything.
            outcome, word = Uncertain, None
        assert type(struck) is outcome
        assert said_by(struck) == word


async def test_what_was_throttled_can_be_sent_again(provider: Provider) -> None:
    provider.decree(provider.address(0), Fate.THROTTLED)
    assert isinstance((await provider.send(provider.crowd(1)))[0], Retry)
    assert isinstance((await provider.send(provider.crowd(1)))[0], Sent)


async def test_users_with_different_texts_may_share_a_push(provider: Provider) -> None:
    if Channel.PUSH not in provider.sender.channels:
        return
    one, other = crowd(2, Channel.PUSH)
    other = replace(other, message=Message(title="Lee!", body="another text"))
    assert provider.sender.call_kind(one) == provider.sender.call_kind(other)
    assert len(await provider.sender.send([one, other])) == 2


async def test_the_kind_depends_on_the_delivery_alone(provider: Provider) -> None:
    one = provider.crowd(1)[0]
    kind = provider.sender.call_kind(one)
    await provider.sender.send([one])
    assert provider.sender.call_kind(replace(one)) == kind
    assert hash(provider.sender.call_kind(replace(one))) == hash(kind)


async def test_calls_may_be_under_way_together(provider: Provider) -> None:
    people = provider.crowd(18)
    calls = [people[start : start + 3] for start in range(0, 18, 3)]
    answers = await asyncio.gather(*(provider.send(call) for call in calls))
    for call, outcomes in zip(calls, answers, strict=True):
        assert [outcome.send_id for outcome in outcomes] == [d.claim.send_id for d in call]
    assert len(provider.reached()) == 18


async def test_cancelling_is_passed_on_though_the_messages_are_gone(provider: Provider) -> None:
    provider.stall()
    call = asyncio.create_task(provider.sender.send(provider.crowd(1)))
    await provider.taken(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(provider.reached()) == 1


async def test_two_messages_to_one_address_in_a_call_are_a_bug(provider: Provider) -> None:
    address = provider.address(0)
    one, other = (delivery(address, channel=provider.channel, user_id=u) for u in "ab")
    with pytest.raises(AssertionError):
        await provider.sender.send([one, other])
    with pytest.raises(AssertionError):
        await provider.sender.send([])
    assert provider.reached() == []


async def test_a_channel_it_does_not_have_is_a_bug(provider: Provider) -> None:
    for channel in set(Channel) - provider.sender.channels:
        with pytest.raises(AssertionError):
            await provider.sender.send(crowd(1, channel))
    assert provider.reached() == []


async def test_it_closes(provider: Provider) -> None:
    await provider.send(provider.crowd(1))
    await provider.sender.close()
