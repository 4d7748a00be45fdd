"""What the demo must have done, judged from outside: the crowd's own story against what arrived.

Nothing here asks the worker. It compares, for every member, the messages the provider accepted with
the messages that member's habit calls for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.sandbox.crowd import Crowd, Habit, Member

AFTER_RETURN_SECONDS = 1.0
"""A message accepted this soon after a return was on its way when its reader came back."""

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
"""What each kind of user must have received when the demo ends: all of it and nothing else."""


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
        ("nobody got anything after coming back", _nothing_after_return),
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
    last = (m.received[-1][1] for m in crowd.members if m.returned_at is not None)
    return Counter(last)


def _no_stage_twice(member: Member) -> bool:
    return max(Counter(channel for _, channel in member.received).values(), default=1) == 1


def _nothing_after_return(member: Member) -> bool:
    if member.returned_at is None:
        return True
    late = member.returned_at + AFTER_RETURN_SECONDS
    return all(at <= late for at, _ in member.received)


def _silent(habit: Habit) -> Callable[[Member], bool]:
    return lambda member: member.habit is not habit or not member.received


def _complete(member: Member) -> bool:
    return tuple(channel for _, channel in member.received) == EXPECTED[member.habit]
