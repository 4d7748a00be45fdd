"""Whether two lists of matchers can hold for one user. Pure.

Only what is certain counts as exclusive: `plan="a"` against `plan="b"`, `ltv>=50` against
`ltv<50`. An attribute is taken to have one value, as they mostly do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from worker.rules.ruleset import COMPARISONS, Matcher

_LITERALS = re.compile(r"[\w @:/-]*(?:\|[\w @:/-]*)*")
"""A regular expression that is nothing but texts to choose from: `FR|BE|CH`."""


def exclude(mine: Sequence[Matcher], others: Sequence[Matcher]) -> bool:
    """True when no user can fit both lists."""
    return any(_exclude(one, other) for one in mine for other in others if one.name == other.name)


def clashing(matchers: Sequence[Matcher]) -> tuple[Matcher, Matcher] | None:
    """The first two of a list that no user can fit both; None when there are none."""
    for index, one in enumerate(matchers):
        for other in matchers[:index]:
            if exclude([other], [one]):
                return other, one
    return None


def fixed_facts(matchers: Sequence[Matcher]) -> dict[str, tuple[str, ...]]:
    """The names whose value the matchers leave no choice about."""
    return {m.name: (m.value,) for m in matchers if m.operator == "="}


def implied(matchers: Sequence[Matcher], facts: Mapping[str, tuple[str, ...]]) -> bool:
    """True when the facts alone make all matchers hold, whatever else is known."""
    return all(matcher.name in facts and matcher.matches(facts) for matcher in matchers)


def choices_of(matchers: Sequence[Matcher]) -> dict[str, frozenset[str]]:
    """The names for which one of the matchers leaves a few values to choose from, and these."""
    return {m.name: frozenset(choices) for m in matchers if (choices := _choices(m)) is not None}


def disjoint(mine: Mapping[str, frozenset[str]], others: Mapping[str, frozenset[str]]) -> bool:
    """True when `choices_of` two lists already show that they exclude one another."""
    return any(name in others and values.isdisjoint(others[name]) for name, values in mine.items())


def _exclude(one: Matcher, other: Matcher) -> bool:
    for first, second in ((one, other), (other, one)):
        values = _choices(first)
        if values is not None:
            return not any(second.matches({second.name: (value,)}) for value in values)
    if one.number is not None and other.number is not None:
        a, b = one.number, other.number
        points = (a, b, (a + b) / 2, min(a, b) - 1, max(a, b) + 1)
        return not any(_holds(one, point) and _holds(other, point) for point in points)
    return False


def _choices(matcher: Matcher) -> list[str] | None:
    if matcher.operator == "=":
        return [matcher.value]
    if matcher.operator == "=~" and _LITERALS.fullmatch(matcher.value):
        return matcher.value.split("|")
    return None


def _holds(matcher: Matcher, point: float) -> bool:
    assert matcher.number is not None
    return COMPARISONS[matcher.operator](point, matcher.number)
