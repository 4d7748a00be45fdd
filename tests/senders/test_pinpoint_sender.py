"""What the sender makes of refusals, of cancelling and of its surroundings, against the stub."""

from __future__ import annotations

import asyncio

import pytest

from tests.senders.deliveries import crowd, delivery
from tests.senders.outcomes import judged
from worker.errors import SettingsError
from worker.model import (
    Channel,
    Delivery,
    Message,
    Outcome,
    Reason,
    Rejected,
    Sent,
)
from worker.sandbox.pinpoint import PinpointStub
from worker.sandbox.pinpoint_replies import ACCEPTED, Fault, Reply, always
from worker.senders.pinpoint import PinpointSender, open_pinpoint
from worker.senders.pinpoint_request import REQUEST_BYTES_MAX
from worker.senders.refusals import REFUSED_CALLS_MAX, REFUSED_IN_A_ROW_MAX

POISON = always(Reply(fault=Fault.BAD_REQUEST))


def poison(stub: PinpointStub, *deliveries: Delivery) -> None:
    stub.behaviours.update((one.address, POISON) for one in deliveries)


# --- one bad thing stays one bad thing --------------------------------------------------------


@pytest.mark.parametrize("bad", [(0,), (57,), (99,), (3, 4, 5, 6, 7), tuple(range(0, 100, 9))])
async def test_poison_addresses_harm_only_themselves(
    bad: tuple[int, ...], stub: PinpointStub, sender: PinpointSender
) -> None:
    deliveries = crowd(100)
    poison(stub, *(deliveries[number] for number in bad))
    outcomes = await sender.send(deliveries)
    assert [type(one) is Rejected for one in outcomes] == [n in bad for n in range(100)]
    assert sum(isinstance(one, Sent) for one in outcomes) == 100 - len(bad)
    assert len(stub.sends) == 100 - len(bad), "nobody is sent to twice"


async def test_one_poison_address_costs_few_calls(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    deliveries = crowd(100)
    poison(stub, deliveries[57])
    await sender.send(deliveries)
    assert len(stub.requests) <= 15


async def test_half_a_surrogate_harms_only_its_own_delivery(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    bad = delivery("token-x", message=Message(body="\udc00"))
    outcomes = await sender.send([*crowd(3), bad])
    assert [isinstance(outcome, Sent) for outcome in outcomes] == [True, True, True, False]
    assert len(stub.sends) == 3


async def test_what_is_too_much_for_one_call_is_sent_in_several(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    long = "x" * (REQUEST_BYTES_MAX // 4)
    deliveries = [delivery(a, message=Message(body=f"{a} {long}")) for a in "abcdefgh"]
    outcomes = await sender.send(deliveries)
    assert {type(outcome) for outcome in outcomes} == {Sent}
    assert 2 < len(stub.requests) <= 4


# --- whose fault it is ------------------------------------------------------------------------


async def test_when_nobody_is_taken_the_fault_is_ours_and_the_users_are_kept(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    stub.behaviour = POISON
    assert judged(await sender.send(crowd(100))) == {Reason.CHANNEL_PAUSED}
    assert len(stub.requests) == REFUSED_CALLS_MAX


async def test_singles_refused_in_a_row_are_our_fault_until_one_is_taken(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    stub.behaviour = POISON
    seen = [judged(await sender.send([one])) for one in crowd(REFUSED_IN_A_ROW_MAX + 1)]
    theirs: list[set[Reason | type[Outcome]]] = [{Rejected}] * (REFUSED_IN_A_ROW_MAX - 1)
    assert seen == [*theirs, {Reason.CHANNEL_PAUSED}, {Reason.CHANNEL_PAUSED}]
    stub.behaviour = always(ACCEPTED)
    assert judged(await sender.send(crowd(1))) == {Sent}
    stub.behaviour = POISON
    assert judged(await sender.send(crowd(1))) == {Rejected}


async def test_a_channel_that_works_does_not_vouch_for_another(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    bad = [delivery(f"+1555010{n:04}", channel=Channel.SMS) for n in range(REFUSED_IN_A_ROW_MAX)]
    poison(stub, *bad)
    for one in bad:
        last = await sender.send([one])
        await sender.send(crowd(1))
    assert judged(last) == {Reason.CHANNEL_PAUSED}


# --- the client ---------------------------------------------------------------------------------


async def test_the_region_is_taken_from_either_variable(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        with monkeypatch.context() as context:
            context.delenv("AWS_REGION")
            context.delenv("AWS_DEFAULT_REGION")
            context.setenv(name, "eu-west-1")
            async with open_pinpoint("app-1") as sender:
                assert judged(await sender.send(crowd(1))) == {Sent}


async def test_without_a_region_the_operator_is_told_what_to_set(
    stub: PinpointStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SettingsError, match="Set AWS_REGION"):
        async with open_pinpoint("app-1"):
            pass


# --- cancelling, closing ----------------------------------------------------------------------


async def test_a_cancelled_call_is_cancelled_and_the_next_one_works(
    stub: PinpointStub, sender: PinpointSender
) -> None:
    slow = delivery("slow")
    stub.behaviours["slow"] = always(Reply(delay_seconds=60))
    call = asyncio.create_task(sender.send([slow]))
    await stub.taken(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert judged(await sender.send(crowd(1))) == {Sent}


async def test_closing_twice_is_harmless(sender: PinpointSender) -> None:
    await sender.send(crowd(1))
    await sender.close()
    await sender.close()
