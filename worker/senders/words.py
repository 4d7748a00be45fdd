"""Reads what providers say in prose without believing what strangers wrote into it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence


def letters_without(message: str, addresses: Sequence[str]) -> str:
    """The letters and digits of a status message, in lower case, without the addresses and domains
    it may quote.

    Addresses are chosen by strangers: "not-verified@..." must not be able to pause a channel.
    """
    said = message.casefold()
    for address in addresses:
        quoted = address.casefold()
        for part in (quoted, quoted.rpartition("@")[2]):
            said = said.replace(part, " ")
    return re.sub(r"[^a-z0-9]", "", said)
