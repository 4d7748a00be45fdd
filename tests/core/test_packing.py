"""Which deliveries share a call, and when a user has to wait for one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from worker.model import Channel, Claim, Delivery, Message, address_hash_of
from worker.packing import Packing
from worker.ports import Sender
from worker.testing import ScriptedSender


def delivery(address: str, channel: Channel = Channel.PUSH) -> Delivery:
    return Delivery(
        claim=Claim(
            send_id=f"send-{address}",
            user_id="u",
            rule="r",
            revision="1",
            episode_id="e",
            stage="s",
            channel=channel,
            address_hash=address_hash_of(address),
            claimed_ms=0,
        ),
        channel_type="GCM",
        address=address,
        message=Message(body="b"),
    )


@pytest.fixture
def senders() -> Mapping[Channel, Sender]:
    sender = ScriptedSender(batch_max=3)
    return dict.fromkeys(Channel, sender)


def sizes(packing: Packing) -> list[int]:
    return [len(call.deliveries) for call in packing.calls]


def test_calls_are_filled_to_the_batch_size(senders: Mapping[Channel, Sender]) -> None:
    packing = Packing(senders, calls_max=2, idle=True)
    assert all(packing.admits([delivery(f"a{number}")]) for number in range(6))
    assert sizes(packing) == [3, 3]


def test_a_user_for_whom_no_call_is_free_is_refused_and_leaves_no_trace(
    senders: Mapping[Channel, Sender],
) -> None:
    packing = Packing(senders, calls_max=1, idle=True)
    assert packing.admits([delivery("a"), delivery("b")])
    assert not packing.admits([delivery("c"), delivery("d")])
    assert sizes(packing) == [2]
    assert packing.admits([delivery("c")])
    assert sizes(packing) == [3]


def test_two_users_of_one_address_are_sent_to_in_two_calls(
    senders: Mapping[Channel, Sender],
) -> None:
    packing = Packing(senders, calls_max=2, idle=True)
    assert packing.admits([delivery("shared")])
    assert packing.admits([delivery("shared")])
    assert sizes(packing) == [1, 1]


def test_channels_do_not_share_calls(senders: Mapping[Channel, Sender]) -> None:
    packing = Packing(senders, calls_max=2, idle=True)
    assert packing.admits([delivery("a"), delivery("b", Channel.EMAIL)])
    assert sorted(call.channel for call in packing.calls) == ["email", "push"]


def test_a_user_who_needs_more_calls_than_there_are_goes_when_nothing_else_is_under_way(
    senders: Mapping[Channel, Sender],
) -> None:
    many = [delivery(f"a{number}") for number in range(7)]
    assert not Packing(senders, calls_max=2, idle=False).admits(many)
    alone = Packing(senders, calls_max=2, idle=True)
    assert alone.admits(many)
    assert sizes(alone) == [3, 3, 1]
    assert not alone.admits([delivery("b", Channel.SMS)])
