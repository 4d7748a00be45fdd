"""The demo's own checks can fail: each of them, for the fault it is there to find."""

from __future__ import annotations

import pytest

from worker.sandbox.crowd import COMES_BACK_AFTER, Crowd, Habit, Member
from worker.sandbox.demo_verdict import EXPECTED, brought_back, verdict

SENT_AT = {"push": 20.0, "email": 22.0, "sms": 25.0}


@pytest.fixture
def crowd() -> Crowd:
    """A crowd to whom everything happened as it should."""
    crowd = Crowd(users=400, seed=1, now_ms=1_793_448_000_000)
    assert {member.habit for member in crowd.members} == set(Habit)
    for member in crowd.members:
        member.received = [(SENT_AT[channel], channel) for channel in EXPECTED[member.habit]]
        if member.habit in COMES_BACK_AFTER:
            member.returned_at = member.received[-1][0] + 0.6
            member.in_stream_at = member.returned_at + 0.2
    return crowd


def first(crowd: Crowd, habit: Habit) -> Member:
    return next(member for member in crowd.members if member.habit is habit)


def broken(crowd: Crowd) -> set[str]:
    return {check.name for check in verdict(crowd) if not check.holds}


def test_a_demo_without_fault_passes(crowd: Crowd) -> None:
    assert broken(crowd) == set()
    assert set(brought_back(crowd)) == {"push", "email", "sms"}


@pytest.mark.parametrize(
    ("habit", "extra", "check"),
    [
        (Habit.NEVER, (27.0, "push"), "nobody got a stage twice"),
        (Habit.AFTER_PUSH, (22.0, "email"), "nobody got a stage that fell due after coming back"),
        (Habit.OPTED_OUT, (20.0, "push"), "nobody who opted out got anything"),
        (Habit.ASLEEP, (20.0, "push"), "nobody was sent anything at night"),
        (Habit.STAYS, (20.0, "push"), "nobody active got anything"),
    ],
)
def test_a_message_too_many_is_found(
    crowd: Crowd, habit: Habit, extra: tuple[float, str], check: str
) -> None:
    first(crowd, habit).received.append(extra)
    assert check in broken(crowd)


def test_a_stage_that_is_missing_is_found(crowd: Crowd) -> None:
    first(crowd, Habit.NEVER).received.pop(1)
    assert broken(crowd) == {"everybody quiet got every stage that was due"}


def test_a_stage_that_was_due_before_the_return_was_in_the_stream_is_no_fault(crowd: Crowd) -> None:
    late = first(crowd, Habit.AFTER_PUSH)
    late.in_stream_at = 22.1
    late.received.append((22.3, "email"))
    assert broken(crowd) == set()
