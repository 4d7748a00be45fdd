"""Holds a story against the promises. Knows nothing of the worker: it sees what the world saw.

One module for each promise says what it demands, and what it forgives because nobody outside can
know it. `check` asks all of them.
"""

from __future__ import annotations

from tests.simulator.checkers import (
    p01_never_twice,
    p02_never_lost,
    p03_never_after_return,
    p04_never_on_stale_news,
    p05_never_to_the_wrong_address,
    p06_never_at_night,
    p07_never_too_much,
    p07_only_who_is_meant,
    p08_one_bad_thing,
    p12_bounded,
)
from tests.simulator.checkers.ledger import Ledger
from tests.simulator.checkers.violation import Violation
from tests.simulator.story import Story

CHECKERS = (
    p01_never_twice,
    p02_never_lost,
    p03_never_after_return,
    p04_never_on_stale_news,
    p05_never_to_the_wrong_address,
    p06_never_at_night,
    p07_never_too_much,
    p07_only_who_is_meant,
    p08_one_bad_thing,
    p12_bounded,
)


def check(story: Story) -> list[Violation]:
    """Everything the story breaks, the earliest first."""
    ledger = Ledger(story)
    found = [violation for checker in CHECKERS for violation in checker.check(ledger)]
    return sorted(found, key=lambda violation: (violation.at_ms, violation.promise))


__all__ = ["CHECKERS", "Violation", "check"]
