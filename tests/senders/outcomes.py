"""Outcomes in few words."""

from __future__ import annotations

from worker.model import Outcome, Reason, Retry


def kinds(outcomes: object) -> set[str]:
    """Class, reason and detail of each, as one line."""
    assert isinstance(outcomes, list)
    return {
        f"{type(one).__name__} {getattr(one, 'reason', '')} {getattr(one, 'detail', '')}"
        for one in outcomes
    }


def judged(outcomes: object) -> set[Reason | type[Outcome]]:
    """The reason of what is retried, the class of everything else."""
    assert isinstance(outcomes, list)
    return {one.reason if isinstance(one, Retry) else type(one) for one in outcomes}
