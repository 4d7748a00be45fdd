"""One spelling for each address, so that an event, an export file and a provider's answer meet.

Used by every part that stores or looks up an address: events, import, store, senders. Pure; it
judges no address valid or invalid, it only removes differences that do not matter.
"""

from __future__ import annotations

from typing import Final

from worker.model import Channel

PHONE_DIGITS_MIN: Final = 10
"""A number without "+" and at least this long is taken to begin with its country code, as the
files people import into Pinpoint have it ("12065550182"). Shorter ones are national numbers or
short codes, whose country nobody knows."""

CHANNEL_TYPE_OF: Final = {Channel.EMAIL: "EMAIL", Channel.SMS: "SMS"}

_PHONE_TYPES: Final = frozenset({"SMS", "VOICE"})
_PHONE_PUNCTUATION: Final = {ord(mark): None for mark in " \t\u00a0()-."}


def normalise_address(channel_type: str | None, address: str) -> str:
    """The spelling under which an address is kept. `channel_type` is Pinpoint's ChannelType.

    EMAIL: without a display name, lower case. SMS, VOICE: "+" and digits where the country code
    is there. All others (push tokens) are case-sensitive and only stripped. May return "".
    Normalising twice changes nothing.
    """
    bare = address.strip()
    if channel_type == "EMAIL":
        return _mailbox(bare).lower()
    if channel_type in _PHONE_TYPES:
        return _phone(bare)
    return bare


def _mailbox(address: str) -> str:
    """`Ann <ann@example.com>` is how SES may report a recipient."""
    if address.endswith(">") and "<" in address:
        return address[address.rindex("<") + 1 : -1].strip()
    return address


def _phone(number: str) -> str:
    if number.startswith("+") and number[1:].isdigit():
        return number
    bare = number.translate(_PHONE_PUNCTUATION)
    # No country code begins with 0: such a number is national and stays as it is.
    international = bare.isascii() and bare.isdigit() and not bare.startswith("0")
    return f"+{bare}" if international and len(bare) >= PHONE_DIGITS_MIN else bare
