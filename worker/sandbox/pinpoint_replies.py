"""How the stubs answer: per address, per call, and ready-made crowds of both.

Statuses are Pinpoint's words; the stubs of the other services translate them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias


class Fault(StrEnum):
    """What can befall a whole call. One address that has a fault gives it to its call."""

    BAD_REQUEST = "bad_request"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    GARBLED = "garbled"
    """Taken, and answered 200 with something that is not JSON."""


TAKEN = frozenset({None, Fault.ERROR_AFTER, Fault.DROP_AFTER, Fault.GARBLED})
"""Faults that strike after the messages went out."""

ERRORS: Mapping[Fault, tuple[int, str]] = {
    Fault.BAD_REQUEST: (400, "BadRequestException"),
    Fault.FORBIDDEN: (403, "ForbiddenException"),
    Fault.THROTTLED: (429, "TooManyRequestsException"),
    Fault.ERROR_BEFORE: (500, "InternalServerErrorException"),
    Fault.ERROR_AFTER: (500, "InternalServerErrorException"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How one address is answered."""

    status: str = "SUCCESSFUL"
    code: int = 200
    message: str = ""
    updated_token: str | None = None
    fault: Fault | None = None
    delay_seconds: float = 0.0
    """The call's answer waits for the slowest of its addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Reply):
    """The exception that the whole call of the address is answered with; `code` is its status."""

    kind: str
    members: Mapping[str, Any] = field(default_factory=dict)
    """What it says besides its message: `Reason`, `Fields`, ..."""


ACCEPTED = Reply()
DEAD = Reply(status="PERMANENT_FAILURE", code=400, message="UNREGISTERED")
OPTED_OUT = Reply(status="OPT_OUT", code=400)
THROTTLED = Reply(status="THROTTLED", code=429)
TEMPORARY = Reply(status="TEMPORARY_FAILURE", code=500)
UNKNOWN = Reply(status="UNKNOWN_FAILURE", code=500)

Behaviour: TypeAlias = Callable[[str, int], Reply]
"""Address, and how many times it was asked for (1 is the first), to its answer."""


def always(reply: Reply) -> Behaviour:
    """The same answer every time."""
    return lambda _address, _attempt: reply


def first(times: int, reply: Reply) -> Behaviour:
    """That answer `times` times, and accepted afterwards."""
    return lambda _address, attempt: reply if attempt <= times else ACCEPTED


def crowd(address: str, attempt: int) -> Reply:
    """A mixed crowd, the same on every run: of a hundred addresses some two are dead, one has
    opted out, four are throttled and two fail for a moment the first time."""
    lot = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=4).digest(), "big") % 100
    if lot < 3:
        return DEAD if lot < 2 else OPTED_OUT
    if attempt == 1 and lot < 9:
        return THROTTLED if lot < 7 else TEMPORARY
    return ACCEPTED


PROFILES: Mapping[str, Behaviour] = {"calm": always(ACCEPTED), "crowd": crowd}
