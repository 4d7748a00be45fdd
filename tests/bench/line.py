"""One line of a benchmark: `name  measured  ratio  goal  ok|short`. Ratios are of one run."""

from __future__ import annotations


def report(name: str, measured: str, ratio: float, goal: float) -> None:
    """Prints the line; a ratio is a cost, so up to the goal is ok."""
    verdict = "ok" if ratio <= goal else "short"
    print(f"{name:<34} {measured:>18}  {ratio:6.2f}  {goal:6.2f}  {verdict}", flush=True)


def report_share(name: str, measured: str, ratio: float, goal: float) -> None:
    """The same where more is better: from the goal on is ok."""
    verdict = "ok" if ratio >= goal else "short"
    print(f"{name:<34} {measured:>18}  {ratio:6.2f}  {goal:6.2f}  {verdict}", flush=True)
