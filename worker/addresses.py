"""One spelling for each address, so that an event, an export file and a provider's answer meet.

Used by every part that stores or looks up an address: events, import, store, senders. Pure; it
judges no address valid or invalid, it only removes differences that do not matter.
"""

from __future__ import annotations

from typing import Final

import phonenumbers

from worker.model import Channel, address_hash_of

CHANNEL_TYPE_OF: Final = {Channel.EMAIL: "EMAIL", Channel.SMS: "SMS"}

_PHONE_TYPES: Final = frozenset({"SMS", "VOICE"})
_PHONE_PUNCTUATION: Final = {ord(mark): None for mark in " \t\u00a0()-."}


def normalise_address(channel_type: str | None, address: str, country: str | None = None) -> str:
    """The spelling under which an address is kept. `channel_type` is Pinpoint's ChannelType.

    EMAIL: without a display name, lower case. SMS, VOICE: "+" and digits; a number without "+", as
    the files people imported into Pinpoint have it, only where `country` (alpha-2) tells how to
    read it: "2025550191" is one number in the US and another in Egypt, and a guess would write to
    a stranger (P5). All others (push tokens) are case-sensitive and only stripped. May return "".
    Normalising twice changes nothing.
    """
    bare = address.strip()
    if channel_type == "EMAIL":
        return _mailbox(bare).lower()
    if channel_type in _PHONE_TYPES:
        return _phone(bare, country)
    return bare


def hash_of(channel: Channel, address: str) -> str:
    """How an address that a stop or an activity names is found in the address book."""
    return address_hash_of(normalise_address(CHANNEL_TYPE_OF.get(channel), address))


def _mailbox(address: str) -> str:
    """`Ann <ann@example.com>` is how SES may report a recipient."""
    if address.endswith(">") and "<" in address:
        return address[address.rindex("<") + 1 : -1].strip()
    return address


def _phone(number: str, country: str | None) -> str:
    if number.startswith("+") and number[1:].isdigit():
        return number
    bare = number.translate(_PHONE_PUNCTUATION)
    if bare.startswith("+") or country is None or not (bare.isascii() and bare.isdigit()):
        return bare
    try:
        parsed = phonenumbers.parse(bare, country)
    except phonenumbers.NumberParseException:
        return bare
    if not phonenumbers.is_valid_number(parsed):
        return bare
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))
