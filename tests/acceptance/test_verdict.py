"""The judge of the acceptance ring, judged: each promise broken once, and caught."""

from __future__ import annotations

import pytest

from tests.acceptance.verdict import Doubt, Life, Step, missing, wrongs

LADDER = (Step("push", "GCM", 3_000), Step("email", "EMAIL", 2_000))


def test_a_ladder_climbed_in_time_is_right() -> None:
    life = Life([0, 1_000], [(4_100, "push"), (6_200, "email")])
    assert wrongs("u", life, LADDER) == []
    assert missing("u", life, LADDER, ()) == []


def test_a_second_silence_is_a_second_ladder() -> None:
    life = Life([0, 4_000], [(3_100, "push"), (7_200, "push"), (9_300, "email")])
    assert wrongs("u", life, LADDER) == []
    assert missing("u", life, LADDER, ()) == []


@pytest.mark.parametrize(
    ("life", "words"),
    [
        (Life([0], [(3_100, "push"), (5_000, "push")]), "twice"),
        (Life([0], [(2_000, "push")]), "was seen at"),
        (Life([0], [(3_100, "push"), (4_000, "email")]), "due 5100"),
        (Life([0, 4_000], [(3_100, "push"), (5_200, "email")]), "was back at 4000"),
        (Life([], [(3_100, "push")]), "was seen at"),
    ],
    ids=["twice", "too early", "the next too early", "after the return", "never seen"],
)
def test_what_breaks_a_promise_is_told(life: Life, words: str) -> None:
    (told,) = wrongs("u", life, LADDER)
    assert words in told


def test_a_stage_that_is_lost_is_told_and_one_in_doubt_is_not() -> None:
    life = Life([0], [(3_100, "push")])
    assert missing("u", life, LADDER, ()) == ["u lacks email"]
    assert missing("u", life, LADDER, [Doubt("u", "email", 5_100)]) == []
    assert missing("u", Life([0, 2_000, 4_000]), LADDER, [Doubt("u", "push", 1)]) == [
        "u lacks push",
        "u lacks email",
    ]
