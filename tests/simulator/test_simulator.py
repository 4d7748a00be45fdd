"""The worker keeps its promises in many worlds; and the worlds are what they are said to be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulator.clock import WorkerClock, WorldTime
from tests.simulator.faults import KINDS
from tests.simulator.loop import VirtualLoop
from tests.simulator.run import judged, line
from tests.simulator.story import Called, Ended, Faulted, Given, Put, Story
from tests.simulator.world import play
from worker.kinesis.source import LISTING_SECONDS

ROOT = Path(__file__).resolve().parents[2]

SEEDS_OF_ONE_TEST = 8
TESTS = 4
RARE_DAYS = 400.0
"""Long enough for faults that are planned once or twice in a run."""


def text_of(story: Story) -> str:
    """All of a story, in a form two processes can compare."""
    facts = "\n".join(line(fact, 0) for fact in story.facts)
    return f"{story.seed} {story.days} {dict(story.settings)}\n{facts}"


@pytest.mark.parametrize("part", range(TESTS))
def test_every_promise_is_kept(part: int) -> None:
    for seed in range(part * SEEDS_OF_ONE_TEST, (part + 1) * SEEDS_OF_ONE_TEST):
        broken = judged(play(seed))
        told = "\n".join(f"{one.promise}: {one.says}" for one in broken[:5])
        assert not broken, f"seed {seed}, replay: make simulate SEED={seed} RUNS=1\n{told}"


def test_the_same_seed_tells_the_same_story_in_every_process() -> None:
    seed = 3
    script = (
        "import sys; from tests.simulator.test_simulator import text_of as text;"
        "from tests.simulator.world import play;"
        f"sys.stdout.write(text(play({seed}, days=60)))"
    )
    here = text_of(play(seed, days=60))
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout == here


def test_a_run_without_faults_has_none_and_lives_all_the_same() -> None:
    story = play(5, without=frozenset(KINDS))
    kinds = Counter(type(fact) for fact in story.facts)
    assert kinds[Faulted] == kinds[Ended] == 0
    assert kinds[Called] > 10
    assert kinds[Given] == kinds[Put], "everything that was written was read"
    assert not judged(story)


def test_faults_of_many_kinds_strike_together() -> None:
    struck: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in (1, 2, 4, 6):
        story = play(seed, days=RARE_DAYS / 4)
        struck.update(fact.kind for fact in story.facts if isinstance(fact, Faulted))
        ends.update(fact.how for fact in story.facts if isinstance(fact, Ended))
    assert len(struck) > len(KINDS) * 2 / 3, sorted(set(KINDS) - set(struck))
    assert ends["killed"] > 10
    assert ends["stopped"] > 3


def test_nothing_strikes_after_the_faults_end() -> None:
    story = play(2)
    quiet_ms = story.settings["quiet_end_ms"]
    late = {
        fact.kind for fact in story.facts if isinstance(fact, Faulted) and fact.at_ms > quiet_ms
    }
    assert late <= {"opt_out", "sign_in_late"}, "what people do goes on"
    assert not any(isinstance(fact, Ended) and fact.at_ms > quiet_ms + 1 for fact in story.facts)


def test_a_fault_that_is_left_out_does_not_strike() -> None:
    seed = 1
    kinds = {fact.kind for fact in play(seed).facts if isinstance(fact, Faulted)}
    left_out = frozenset(kind for kind in kinds if kind.startswith("stream_"))
    assert left_out, "the seed has some"
    again = play(seed, without=left_out)
    assert not any(isinstance(f, Faulted) and f.kind in left_out for f in again.facts)


def test_a_wait_that_ends_at_this_instant_is_not_stretched() -> None:
    loop = VirtualLoop()
    look = 10.0

    def horizon(_task: str, _seconds: float, _due: float, _wakeable: bool) -> float:
        return look if loop.time() < look else 1_000.0

    clock = WorkerClock(WorldTime(loop, 0), lambda: 0, horizon)
    loop.at(5.0, clock.recheck)
    loop.at(look, clock.recheck)  # before the wait's own timer
    loop.run_until_complete(clock.sleep(1.0))
    ended = loop.time()
    loop.close()
    assert ended == look


def test_a_stream_that_is_made_anew_is_noticed_as_soon_as_in_life() -> None:
    others = frozenset(KINDS) - {"recreated"}
    for seed in range(6):
        facts = play(seed, without=others, also=frozenset({"recreated"})).facts
        made = [f.at_ms for f in facts if isinstance(f, Faulted) and f.kind == "recreated"]
        ends = [f for f in facts if isinstance(f, Ended)]
        assert made
        assert [end.where for end in ends] == ["StreamRecreated"] * len(made)
        for made_ms, end in zip(made, ends, strict=True):
            assert 0 <= end.at_ms - made_ms <= 2 * LISTING_SECONDS * 1_000
