"""Plays many runs, holds each against the promises, and tells what happened.

    python -m tests.simulator [--seed N] [--runs N] [--days 90] [--jobs 2] [--json]

A run that breaks a promise is shrunk to the shortest story that still does, and printed with the
seed that replays it. Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from tests.simulator import shrink
from tests.simulator.checkers import Violation, check
from tests.simulator.faults import KINDS
from tests.simulator.story import Called, Fact, Faulted, Put, Story
from tests.simulator.world import play

CHUNK_RUNS = 25
"""Runs a process of its own plays before it reports."""

BUG = "bug"
"""Stands for a promise where the worker met an exception nobody foresaw."""

FACTS_SHOWN = 40
FAILURES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Failed:
    """One run that went wrong."""

    seed: int
    violations: Sequence[Violation]


@dataclass(slots=True)
class Tally:
    """What many runs came to."""

    runs: int = 0
    days: float = 0.0
    records: int = 0
    calls: int = 0
    sends: int = 0
    cpu_seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    """Kind to how often it struck."""
    runs_with: Counter[str] = field(default_factory=Counter)
    """Kind to the number of runs in which it did."""
    failed: list[Failed] = field(default_factory=list)

    def add(self, story: Story, violations: Sequence[Violation]) -> None:
        """One more run."""
        self.runs += 1
        self.days += story.days
        self.records += sum(isinstance(fact, Put) for fact in story.facts)
        calls = [fact for fact in story.facts if isinstance(fact, Called)]
        self.calls += len({call.call for call in calls})
        self.sends += sum(call.accepted for call in calls)
        struck = Counter(fact.kind for fact in story.facts if isinstance(fact, Faulted))
        self.faults.update(struck)
        self.runs_with.update(struck.keys())
        if violations:
            self.failed.append(Failed(story.seed, violations))

    def join(self, other: Tally) -> None:
        """All runs of another tally."""
        self.runs += other.runs
        self.days += other.days
        self.records += other.records
        self.calls += other.calls
        self.sends += other.sends
        self.cpu_seconds += other.cpu_seconds
        self.faults.update(other.faults)
        self.runs_with.update(other.runs_with)
        self.failed += other.failed


def judged(story: Story) -> list[Violation]:
    """Every broken promise, and every bug that came to light in the worker."""
    bugs: Sequence[str] = story.settings["bugs"]
    end_ms = story.settings["end_ms"]
    return check(story) + [Violation(promise=BUG, at_ms=end_ms, says=bug) for bug in bugs]


def tally_of(seeds: Sequence[int], days: float) -> Tally:
    """Plays and judges these runs."""
    tally, began = Tally(), time.process_time()
    for seed in seeds:
        story = play(seed, days=days)
        tally.add(story, judged(story))
    tally.cpu_seconds = time.process_time() - began
    return tally


def _tallies(seeds: range, days: float, jobs: int) -> Iterator[Tally]:
    chunks = [seeds[at : at + CHUNK_RUNS] for at in range(0, len(seeds), CHUNK_RUNS)]
    if jobs == 1 or len(chunks) == 1:
        yield from map(partial(tally_of, days=days), chunks)
        return
    with ProcessPoolExecutor(min(jobs, len(chunks))) as pool:
        yield from pool.map(partial(tally_of, days=days), chunks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--days", type=float, default=90.0, help="of stream time, for each run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="the result for machines")
    asked = parser.parse_args(arguments)
    seeds = range(asked.seed, asked.seed + asked.runs)
    total, began = Tally(), time.monotonic()
    for tally in _tallies(seeds, asked.days, asked.jobs):
        total.join(tally)
        progress = f"{total.runs:,} of {asked.runs:,} runs, {len(total.failed)} failed"
        print(f"\r{progress}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    seconds = time.monotonic() - began
    if asked.json:
        print(json.dumps(_result(total, seconds), indent=1))
    else:
        print("\n".join(_table(total, seconds)))
    for failed in islice(total.failed, 0 if asked.json else FAILURES_SHOWN):
        print("\n".join(_told(failed, asked.days)))
    if len(total.failed) > FAILURES_SHOWN and not asked.json:
        others = [str(failed.seed) for failed in islice(total.failed, FAILURES_SHOWN, None)]
        print("also broken:", *others)
    return 1 if total.failed else 0


# --- what is shown --------------------------------------------------------------------------------


def _figures(total: Tally, seconds: float) -> Mapping[str, float]:
    return {
        "runs": total.runs,
        "stream-days": total.days,
        "records": total.records,
        "calls": total.calls,
        "sends": total.sends,
        "faults that struck": total.faults.total(),
        "violations": sum(len(failed.violations) for failed in total.failed),
        "runs with violations": len(total.failed),
        "seconds": round(seconds, 1),
        "CPU seconds a run": round(total.cpu_seconds / max(1, total.runs), 3),
    }


def _table(total: Tally, seconds: float) -> Iterator[str]:
    for name, value in _figures(total, seconds).items():
        yield f"{name:<26}{value:>14,}"
    yield ""
    yield f"{'fault':<26}{'strikes':>14}{'runs':>10}"
    for kind in KINDS:
        yield f"{kind:<26}{total.faults[kind]:>14,}{total.runs_with[kind]:>10,}"


def _result(total: Tally, seconds: float) -> Mapping[str, object]:
    return {
        **_figures(total, seconds),
        "faults": {kind: total.faults[kind] for kind in KINDS},
        "failed": [
            {"seed": f.seed, "violations": [f"{v.promise}: {v.says}" for v in f.violations]}
            for f in total.failed
        ],
    }


def _told(failed: Failed, days: float) -> Iterator[str]:
    first = failed.violations[0]
    yield ""
    yield f"seed {failed.seed} breaks {first.promise}: {first.says}"
    yield f"replay: make simulate SEED={failed.seed} RUNS=1 DAYS={days:g}"
    if first.promise != BUG:
        yield from shrink.shortest(failed.seed, days=days, violation=first)
        return
    story = play(failed.seed, days=days)
    yield from (line(fact, story.settings["start_ms"]) for fact in story.facts[-FACTS_SHOWN:])


def line(fact: Fact, start_ms: int) -> str:
    """A fact in a line: days since the start, and what it says."""
    days = (fact.at_ms - start_ms) / 86_400_000
    said = {name: getattr(fact, name) for name in fact.__dataclass_fields__ if name != "at_ms"}
    told = " ".join(f"{name}={value}" for name, value in said.items() if value not in (None, ""))
    return f"{days:10.5f} d  {type(fact).__name__:<12} {told}"
