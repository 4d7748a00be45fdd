"""The simulator finds what is broken: mutants of the worker, each within few runs.

A simulator that finds nothing in a sound worker says little until it has found something in a
broken one, in a run that is clean without the mutant.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulator import shrink
from tests.simulator.mutants import MUTANTS, DoesNotFit, Edit, Mutant, applied, hunt, line
from worker.retry import backoff_ms

RUNS_MAX = 12
"""For each mutant; most need one. `python -m tests.simulator.mutants` looks for longer."""

MUTANTS_MIN = 18

HUNTED = MUTANTS[:16]
"""Those that need few runs; `python -m tests.simulator.mutants` hunts all of them."""


@pytest.mark.parametrize("mutant", HUNTED, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_every_mutant_is_found(mutant: Mutant) -> None:
    result = hunt(mutant, runs=RUNS_MAX)
    print(line(result))
    assert result.found, (
        f"{mutant.name} broke none of {sorted(mutant.promises)} in {RUNS_MAX} runs; play more:"
        f" python -m tests.simulator.mutants '{mutant.name}'"
    )


def test_there_are_many_mutants_and_every_promise_has_one() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    promises = {promise for mutant in MUTANTS for promise in mutant.promises}
    assert promises == {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P12"}


def test_a_mutant_is_gone_when_it_is_over() -> None:
    import worker.retry

    edit = Edit((worker.retry, "backoff_ms"), "return half +", "return -1 - half +")
    mutant = Mutant("backs off into the past", frozenset({"P1"}), (edit,))
    sound = backoff_ms("send", 1)
    with applied(mutant):
        assert backoff_ms("send", 1) < 0
    assert backoff_ms("send", 1) == sound
    stale = replace(mutant, edits=(replace(edit, old="what is not there"),))
    with pytest.raises(DoesNotFit, match="write the mutant anew"), applied(stale):
        pass


def test_the_shortest_story_tells_only_of_what_it_takes() -> None:
    mutant = MUTANTS[0]
    result = hunt(mutant, runs=RUNS_MAX)
    assert result.found
    with applied(mutant):
        lines = shrink.shortest(result.seed, days=90.0, violation=result.found[0], seconds=10)
    assert len(lines) <= shrink.LINES_MAX + shrink.LINES_AFTER_MAX + 6
    assert any("IS BROKEN HERE" in one for one in lines)
