"""`python -m tests.fuzz [TARGET ...] [--runs N] [--seconds S] [--seed N] [--first N]`.

Feeds spoilt input to everything that reads what others write, and prints one line of figures a
target: inputs, inputs a second, the slowest. Ends with 1 at the first finding, with the line that
replays it. A number of inputs is the same work on every machine; the seconds are only a bound.
"""

from __future__ import annotations

import argparse

from tests.fuzz.running import run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """0 when nothing was found."""
    by_name = {target.name: target for target in TARGETS}
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(by_name))
    parser.add_argument("--runs", type=int, default=10_000, help="inputs a target")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most, a target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    options = parser.parse_args()
    unknown = set(options.targets) - set(by_name)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    for name in options.targets or by_name:
        figures = run(
            by_name[name](),
            seed=options.seed,
            first=options.first,
            runs=options.runs,
            seconds_max=options.seconds,
        )
        print(
            f"{name:<11}{figures.inputs:>10,} inputs {figures.inputs / figures.seconds:>9,.0f}/s"
            f"   slowest {figures.slowest_seconds * 1_000:,.0f} ms (no. {figures.slowest_number})",
            flush=True,
        )
        if figures.finding is not None:
            print(figures.finding)
            return 1
    return 0


raise SystemExit(main())
