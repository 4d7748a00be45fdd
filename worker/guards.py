"""The guards of the ladder: two tables that answer any situation with one decision. Pure.

    no open episode:  ENTRY guards   -> WAIT or OPEN
    open episode:     STAGE guards   -> WAIT, SEND, ADVANCE, SKIP or CLOSE

The first guard that has something to say decides, and gives the one reason. The order is also the
order in which `comeback explain` tells why a user is not sent anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.guards_entry import ENTRY
from worker.guards_stage import STAGE
from worker.model import Decision
from worker.situation import Check, Situation

__all__ = ["ENTRY", "STAGE", "passed", "step"]


def _table_of(situation: Situation) -> Sequence[Check]:
    return ENTRY if situation.episode is None else STAGE


def step(situation: Situation) -> Decision:
    """The one decision about a situation: the first guard that has something to say."""
    for _, guard in _table_of(situation):
        decision = guard(situation)
        if decision is not None:
            return decision
    raise AssertionError("the last guard of each table always decides")


def passed(situation: Situation) -> Iterator[str]:
    """What holds in a situation, in the order it is asked, up to the check that decides."""
    for check in _table_of(situation):
        if check.guard(situation) is not None:
            return
        yield check.holds
