"""Values that can be told apart from everything else, and where one of them came to light.

Each mark stands for one kind of thing that must stay inside. It is looked for as it is, and as
somebody's carelessness would spell it: in base64, in hex, with other cases.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Final

MARKS: Final[Mapping[str, str]] = {
    "mail address": "zq7mail",
    "phone number": "5550177",
    "token": "zq7token",
    "new token": "zq7fresh",
    "attribute": "zq7attribute",
    "user attribute": "zq7userattr",
    "name": "zq7name",
    "city": "zq7city",
    "message text": "zq7text",
    "text of the provider": "zq7provider",
    "text of an error": "zq7error",
    "malformed record": "zq7broken",
    "event attribute": "zq7event",
    "user id": "zq7user",
    "endpoint id": "zq7endpoint",
    "secret of the port": "zq7secret",
}
"""Kind to the piece that all values of that kind contain."""

IDENTITIES: Final = frozenset({"user id", "endpoint id"})
"""What a person who asks about a user gets to see; logs, metrics and the port do not say it."""

RULE_TEXTS: Final = frozenset({"message text"})
"""What the rules folder says to everybody; who looks at rules gets to see it."""


def mark(kind: str, more: object = "") -> str:
    """A value of a kind."""
    return f"{MARKS[kind]}{more}"


def found_in(text: str, *, but: frozenset[str] = frozenset()) -> dict[str, str]:
    """Kind to the surroundings in which its mark came to light, for each kind that did."""
    found = {}
    plain = text.casefold()
    for kind, piece in MARKS.items():
        if kind in but:
            continue
        for spelt in _spellings(piece):
            place = re.search(re.escape(spelt), plain if spelt == piece else text)
            if place:
                found[kind] = text[max(0, place.start() - 150) : place.end() + 50]
    return found


def _spellings(piece: str) -> set[str]:
    data = piece.encode()
    coded = {piece, data.hex(), data.hex().upper()}
    for shift in range(3):
        # What does not depend on the neighbours: whole groups of three bytes only.
        core = base64.b64encode(b"\0" * shift + data)[4 if shift else 0 :]
        whole = (len(data) - (3 - shift if shift else 0)) // 3 * 4
        coded.add(core[:whole].decode())
    return {one for one in coded if len(one) >= 6}
