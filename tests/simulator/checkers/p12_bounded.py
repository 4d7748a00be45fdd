"""P12, bounded: nothing that has a bound was ever found fuller than it may be.

Demanded: every measurement of the run is at most its bound. Nothing is forgiven.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulator.checkers.ledger import Ledger
from tests.simulator.checkers.violation import Violation
from tests.simulator.story import Measured


def check(ledger: Ledger) -> Iterator[Violation]:
    """What ran over."""
    for fact in ledger.story.facts:
        if isinstance(fact, Measured) and fact.value > fact.bound:
            yield Violation(
                promise="P12",
                at_ms=fact.at_ms,
                says=f"{fact.name} reached {fact.value:g}; {fact.bound:g} is the most it may",
            )
