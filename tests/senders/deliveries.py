"""Deliveries as a sweep makes them, with invented people."""

from __future__ import annotations

from worker.model import Channel, Claim, Delivery, Message, address_hash_of, send_id_of

CLAIMED_MS = 1_767_225_600_000
TYPE_OF = {Channel.PUSH: "GCM", Channel.EMAIL: "EMAIL", Channel.SMS: "SMS"}


def delivery(
    address: str = "token-1",
    *,
    channel: Channel = Channel.PUSH,
    channel_type: str | None = None,
    user_id: str = "shopper-1",
    attempt: int = 1,
    message: Message | None = None,
) -> Delivery:
    """One claim of the first stage of an episode, with what its sender needs."""
    return Delivery(
        claim=claim(address, channel=channel, user_id=user_id, attempt=attempt),
        channel_type=channel_type or TYPE_OF[channel],
        address=address,
        message=message or Message(title="We miss you", body="Your basket is waiting"),
    )


def claim(
    address: str = "token-1",
    *,
    channel: Channel = Channel.PUSH,
    user_id: str = "shopper-1",
    attempt: int = 1,
) -> Claim:
    """The durable half of a delivery."""
    return Claim(
        send_id=send_id_of(f"episode-of-{user_id}", "nudge", address),
        user_id=user_id,
        rule="quiet",
        revision="r1",
        episode_id=f"episode-of-{user_id}",
        stage="nudge",
        channel=channel,
        address_hash=address_hash_of(address),
        claimed_ms=CLAIMED_MS,
        attempt=attempt,
    )


def crowd(size: int, channel: Channel = Channel.PUSH) -> list[Delivery]:
    """Messages of one text to that many users, one each."""
    return [
        delivery(address_of(number, channel), channel=channel, user_id=f"user-{number}")
        for number in range(size)
    ]


def address_of(number: int, channel: Channel) -> str:
    """An address the channel's providers would take."""
    match channel:
        case Channel.PUSH:
            return f"token-{number}"
        case Channel.EMAIL:
            return f"user-{number}@example.com"
        case Channel.SMS:
            return f"+1555010{number:04}"
