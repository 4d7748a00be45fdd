"""Holds made by hand: which of several holds, what they fit, when they end."""

from __future__ import annotations

from worker.model import Silence, SilenceKind
from worker.silences import silenced, standing

FACTS = {"rule": ("shop",), "channel": ("sms",), "country": ("FR",)}


def held(
    *matchers: str,
    kind: SilenceKind = SilenceKind.SILENCE,
    ends_ms: int | None = 1_000,
    number: int = 1,
) -> Silence:
    return Silence(
        silence_id=number,
        kind=kind,
        matchers=matchers,
        begins_ms=100,
        ends_ms=ends_ms,
        author="a",
        comment="c",
    )


def who_holds(*silences: Silence, at_ms: int = 500) -> int | None:
    found = silenced(standing(silences), FACTS, at_ms)
    return found.silence_id if found else None


def test_all_matchers_must_fit() -> None:
    assert who_holds(held('country="FR"', 'channel="sms"')) == 1
    assert who_holds(held('country="FR"', 'channel="push"')) is None
    assert who_holds(held('rule=~"shop.*"')) == 1
    assert who_holds(held()) == 1


def test_it_holds_from_its_beginning_until_before_its_end() -> None:
    assert [who_holds(held(), at_ms=at) for at in (99, 100, 999, 1_000)] == [None, 1, 1, None]
    assert who_holds(held(ends_ms=None), at_ms=10**15) == 1


def test_the_strongest_kind_speaks_and_of_one_kind_the_longest() -> None:
    short, long = held(number=2), held(ends_ms=2_000, number=3)
    pause = held(kind=SilenceKind.PAUSE, ends_ms=None, number=4)
    kill = held(kind=SilenceKind.KILL, ends_ms=None, number=5)
    assert who_holds(short, long) == who_holds(long, short) == 3
    assert who_holds(long, pause) == 4
    assert who_holds(pause, kill, long) == 5


def test_a_kill_switch_holds_even_when_its_clock_is_ahead() -> None:
    assert who_holds(held(), at_ms=99) is None
    assert who_holds(held(kind=SilenceKind.KILL, ends_ms=None), at_ms=99) == 1
    assert who_holds(held(kind=SilenceKind.PAUSE, ends_ms=None), at_ms=99) == 1


def test_a_matcher_nobody_can_read_holds_more_and_not_less() -> None:
    assert who_holds(held("country ~~ FR", 'channel="sms"')) == 1
