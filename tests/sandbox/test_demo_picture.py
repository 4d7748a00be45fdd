"""What the demo says: how fast time runs, and why somebody got a message more."""

from __future__ import annotations

from collections import Counter

import pytest
from rich.console import Console

from worker.rules.load import load
from worker.sandbox.crowd import COMES_BACK_AFTER, Crowd, Habit
from worker.sandbox.demo import LADDER_SECONDS, RULES
from worker.sandbox.demo_picture import pace, summary
from worker.sandbox.demo_verdict import AFTER_SECONDS, EXPECTED, verdict

WINBACK = load(RULES).rules[0]


@pytest.fixture
def crowd() -> Crowd:
    """A crowd to whom everything happened as it should."""
    crowd = Crowd(users=200, seed=1, now_ms=1_793_448_000_000)
    for member in crowd.members:
        member.received = [(20.0, channel) for channel in EXPECTED[member.habit]]
        if member.habit in COMES_BACK_AFTER:
            member.returned_at = 26.0
    return crowd


def shown(crowd: Crowd) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary(crowd, Counter(push=1), verdict(crowd)))
    return capture.get()


def test_the_pace_is_that_of_the_rules() -> None:
    told = pace(WINBACK)
    assert told == (
        "a day is a second here: push after 7 s of silence, email 2 s later, sms 3 s later"
    )
    after = {stage.name: stage.after_ms / 1_000 for stage in WINBACK.stages[1:]}
    assert after == AFTER_SECONDS
    assert WINBACK.inactive_for_ms / 1_000 + sum(after.values()) == LADDER_SECONDS


def test_a_message_too_many_is_explained_and_only_then(crowd: Crowd) -> None:
    assert "too late" not in shown(crowd)
    late = next(member for member in crowd.members if member.habit is Habit.AFTER_PUSH)
    late.received.append((22.0, "email"))
    told = shown(crowd)
    assert "push + email (1)" in told
    assert "A message too many (1): came back too late, the next was already due." in told
