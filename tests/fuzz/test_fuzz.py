"""A fixed handful of what `python -m tests.fuzz` feeds by the million: the same inputs every time.

That the fuzzer would notice is shown on a target that fails, hangs or blames late.
"""

from __future__ import annotations

import time
from random import Random

import pytest

from tests.fuzz import running
from tests.fuzz.mutations import SPOILT_VALUES, spoil_bytes, spoil_lines, spoil_tokens, spoil_tree
from tests.fuzz.running import drawn, run
from tests.fuzz.target import Culprit, Target
from tests.fuzz.targets import TARGETS

SEED = 1
INPUTS = {
    "events": 3_000,
    "appevents": 1_000,
    "answers": 3_000,
    "verdicts": 3_000,
    "recordings": 3_000,
    "imports": 2_000,
    "rules": 120,
    "tests": 60,
    "templates": 600,
    "formats": 150,
    "settings": 1_000,
}
"""A few seconds each."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_input_brings_an_error_that_nobody_foresaw(target: type[Target]) -> None:
    inputs = INPUTS[target.name]
    figures = run(target(), seed=SEED, first=0, runs=inputs, seconds_max=float("inf"))
    assert figures.finding is None, str(figures.finding)
    assert figures.inputs == inputs


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_input_can_be_had_again_by_its_number(target: type[Target]) -> None:
    first = [drawn(target(), SEED, number) for number in range(30)]
    again = [drawn(target(), SEED, number) for number in reversed(range(30))]
    assert first == again[::-1]
    assert len(set(first)) > 20, "inputs differ"
    assert first != [drawn(target(), SEED + 1, number) for number in range(30)]


class Fragile:
    """Cannot take the number 7; `late` blames it only in the end, `slow` sits over it."""

    name = "fragile"

    def __init__(self, way: str) -> None:
        self._way = way
        self._gathered: list[bytes] = []

    def draw(self, chance: Random) -> bytes:
        return b"%d" % chance.randrange(20)

    def take(self, data: bytes) -> None:
        if data == b"7" and self._way == "at once":
            raise KeyError(data)
        if data == b"7" and self._way == "slow":
            time.sleep(0.5)  # this is the slow input
        self._gathered.append(data)

    def settle(self) -> None:
        if self._way == "late" and b"7" in self._gathered:
            raise Culprit(b"7")


@pytest.mark.parametrize("way", ["at once", "late", "slow"])
def test_a_finding_is_told_with_the_input_and_how_to_have_it_again(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "SECONDS_PER_INPUT_MAX", 0.4)
    figures = run(Fragile(way), seed=1, first=0, runs=200, seconds_max=60)
    assert figures.finding is not None
    assert figures.finding.data == b"7"
    assert "python -m tests.fuzz fragile --seed 1 --first" in str(figures.finding)
    assert run(Fragile("never"), seed=1, first=0, runs=200, seconds_max=60).finding is None


def test_spoiling_changes_what_it_is_given_and_leaves_its_own_stock_alone() -> None:
    stock = repr(SPOILT_VALUES)
    data = b'{"a": [1, {"b": "x"}], "c": null}'
    changed = 0
    for number in range(300):
        chance = Random(number)
        tree = spoil_tree(chance, {"a": [1, {"b": "x"}], "c": None})
        changed += tree != {"a": [1, {"b": "x"}], "c": None}
        changed += spoil_bytes(chance, data, data) != data
        changed += spoil_tokens(chance, data) != data
        changed += spoil_lines(chance, b"a: 1\nb: 2\n", (b"c: 3",)) != b"a: 1\nb: 2\n"
    assert changed > 1_000
    assert repr(SPOILT_VALUES) == stock
