"""What the demo must have done, judged from outside: the crowd's own story against what arrived.

Nothing here asks the worker. It compares, for every member, the messages the provider accepted with
the messages that member's habit calls for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.sandbox.crowd import COMES_BACK_AFTER, Crowd, Habit, Member

AFTER_SECONDS = {"email": 2.0, "sms": 3.0}
"""`after` of the stages in demo_rules/shop.yaml."""

CLOCK_SECONDS = 0.25
"""How much two processes' notes of one moment may differ."""

LADDER = ("push", "email", "sms")

EXPECTED: dict[Habit, tuple[str, ...]] = {
    Habit.STAYS: (),
    Habit.AFTER_PUSH: ("push",),
    Habit.AFTER_EMAIL: ("push", "email"),
    Habit.AFTER_SMS: ("push", "email", "sms"),
    Habit.NEVER: ("push", "email", "sms"),
    Habit.OPTED_OUT: (),
    Habit.DEAD_TOKEN: ("email",),
    Habit.NO_PUSH: ("email",),
    Habit.ASLEEP: (),
}
"""What each kind of user must have received when the demo ends."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and the users for whom it did not hold."""

    name: str
    broken_for: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.broken_for


def verdict(crowd: Crowd) -> list[Check]:
    """The demo's own checks."""
    checks: Sequence[tuple[str, Callable[[Member], bool]]] = (
        ("nobody got a stage twice", _no_stage_twice),
        ("nobody got a stage that fell due after coming back", nothing_after_return),
        ("nobody who opted out got anything", _silent(Habit.OPTED_OUT)),
        ("nobody was sent anything at night", _silent(Habit.ASLEEP)),
        ("nobody active got anything", _silent(Habit.STAYS)),
        ("everybody quiet got every stage that was due", _complete),
    )
    return [
        Check(name, tuple(m.user_id for m in crowd.members if not holds(m)))
        for name, holds in checks
    ]


def brought_back(crowd: Crowd) -> Counter[str]:
    """How many came back after which channel."""
    return Counter(COMES_BACK_AFTER[m.habit] for m in crowd.members if m.returned_at is not None)


def came_back_late(crowd: Crowd) -> int:
    """How many got a stage more than their habit calls for, as it was due before they returned."""
    return sum(
        member.returned_at is not None and len(member.received) > len(EXPECTED[member.habit])
        for member in crowd.members
    )


def _no_stage_twice(member: Member) -> bool:
    return max(Counter(channel for _, channel in member.received).values(), default=1) == 1


def nothing_after_return(member: Member) -> bool:
    """A stage that fell due before the return was in the stream may still have gone out; one that
    fell due later must not have."""
    if member.in_stream_at is None:
        return True
    return all(
        member.in_stream_at > sent_at + AFTER_SECONDS[channel] - CLOCK_SECONDS
        for (sent_at, _), (at, channel) in pairwise(member.received)
        if at > member.in_stream_at
    )


def _silent(habit: Habit) -> Callable[[Member], bool]:
    return lambda member: member.habit is not habit or not member.received


def _complete(member: Member) -> bool:
    """At least what the habit calls for, in the order of the ladder. A user who came back late may
    have a stage more; whether it was too late is the other check's question."""
    got = [channel for _, channel in member.received]
    expected = list(EXPECTED[member.habit])
    if member.returned_at is None:
        return got == expected
    return got[: len(expected)] == expected and got == sorted(got, key=LADDER.index)
