"""Stable shares: who is in, how many, and that nobody moves for no reason."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.core.timeline import Text
from worker.rules.ruleset import Share, Variant
from worker.shares import is_in, variant_for

USERS = [f"user-{number}" for number in range(20_000)]


def test_a_share_holds_about_that_many() -> None:
    held = sum(is_in(Share(percent=10, salt="winback"), user) for user in USERS)
    assert 0.09 * len(USERS) < held < 0.11 * len(USERS)


def test_the_ends_are_nobody_and_everybody() -> None:
    assert not any(is_in(Share(percent=0, salt="s"), user) for user in USERS)
    assert all(is_in(Share(percent=100, salt="s"), user) for user in USERS)


@given(user=st.text(), salt=st.text(), low=st.floats(0, 100), high=st.floats(0, 100))
def test_raising_a_percentage_only_adds_users(
    user: str, salt: str, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    if is_in(Share(percent=low, salt=salt), user):
        assert is_in(Share(percent=high, salt=salt), user)


def test_the_hash_never_changes() -> None:
    """Moving users between arms would spoil every running comparison."""
    share = Share(percent=50, salt="winback-2026")
    drawn = "".join("x" if is_in(share, f"u{number}") else "." for number in range(12))
    assert drawn == ".x....x.xxx."


def test_two_salts_draw_independently() -> None:
    both = Counter(
        (is_in(Share(percent=50, salt="a"), user), is_in(Share(percent=50, salt="b"), user))
        for user in USERS
    )
    assert all(0.22 * len(USERS) < count < 0.28 * len(USERS) for count in both.values())
    assert len(both) == 4


def test_variants_follow_their_weights_whatever_these_sum_to() -> None:
    variants = [Variant(name=n, weight=w, template=Text()) for n, w in (("a", 1), ("b", 3))]
    drawn = Counter(variant_for(variants, "rule/stage", user).name for user in USERS)
    assert 0.23 * len(USERS) < drawn["a"] < 0.27 * len(USERS)
    assert drawn["a"] + drawn["b"] == len(USERS)
