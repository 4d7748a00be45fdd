"""Judges one ladder from outside: when users were seen, and what the provider took.

Nothing of the worker is asked but its own list of sends in doubt. Times are milliseconds since the
epoch, as the peers noted them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from worker.sandbox.provider import Send

CLOCK_MS = 300
"""How much the notes of two processes about one moment may differ."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stage as the judge knows it. `after_ms`: from the stage before it; of the first, from the
    last time the user was seen."""

    stage: str
    channel_type: str
    after_ms: int


@dataclass(slots=True)
class Life:
    """What is known of one user."""

    seen_ms: list[int] = field(default_factory=list)
    took: list[tuple[int, str]] = field(default_factory=list)
    """(moment, stage) of every message the provider accepted, in order."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A send nobody knows the end of, as `comeback state` lists it."""

    user: str
    stage: str
    at_ms: int


def doubts_of(state: Mapping[str, object]) -> list[Doubt]:
    """The uncertain sends of `comeback state --json`."""
    listed = state["uncertain"]
    assert isinstance(listed, list)
    return [Doubt(send["user"], send["stage"], send["at_ms"]) for send in listed]


def wrongs(name: str, life: Life, ladder: Sequence[Step], lag_ms: int = 0) -> list[str]:
    """What this user should not have got: a stage before its time (P4), a stage that fell due after
    a return (P3), a stage twice in one silence (P1).

    A wait begins at the claim, in stream time; the provider notes the call, in the world's. How far
    these may be apart where wires are slow is `lag_ms`.
    """
    found: list[str] = []
    silences = _silences(life, ladder[0].after_ms)
    got: dict[tuple[int, str], int] = {}
    order = [step.stage for step in ladder]
    for at_ms, stage in life.took:
        mine = [s for s in silences if s[0] + ladder[0].after_ms - CLOCK_MS <= at_ms]
        if not mine:
            found.append(f"{name} got {stage} at {at_ms} and was seen at {life.seen_ms}")
            continue
        begin_ms, end_ms = mine[-1]
        if (begin_ms, stage) in got:
            found.append(f"{name} got {stage} twice in the silence since {begin_ms}")
        got[begin_ms, stage] = at_ms
        number = order.index(stage)
        before = begin_ms if number == 0 else got.get((begin_ms, order[number - 1]))
        if before is None:
            continue  # the stage before is in doubt: its moment is not known here
        due_ms = before + ladder[number].after_ms - (lag_ms if number else 0)
        if at_ms < due_ms - CLOCK_MS:
            found.append(f"{name} got {stage} at {at_ms}, due {due_ms}")
        if end_ms < due_ms - CLOCK_MS:
            found.append(f"{name} was back at {end_ms} and got {stage}, due {due_ms}")
    return found


def missing(name: str, life: Life, ladder: Sequence[Step], doubts: Collection[Doubt]) -> list[str]:
    """Stages of the last silence that neither went out nor are in doubt (P2)."""
    silences = _silences(life, ladder[0].after_ms)
    if not silences or silences[-1][1] != inf:
        return []
    since_ms = silences[-1][0]
    got = {stage for at_ms, stage in life.took if at_ms >= since_ms}
    got |= {d.stage for d in doubts if d.user == name and d.at_ms >= since_ms}
    return [f"{name} lacks {step.stage}" for step in ladder if step.stage not in got]


def _silences(life: Life, inactive_ms: int) -> list[tuple[int, float]]:
    """(begin, end) of every time the user was away long enough; the last one has no end."""
    seen = [*sorted(life.seen_ms), inf]
    return [
        (int(one), other) for one, other in pairwise(seen) if other - one >= inactive_ms - CLOCK_MS
    ]


def lives(
    seen: Mapping[str, Sequence[int]],
    sends: Sequence[Send],
    ladder: Sequence[Step],
    owner_of: Mapping[str, str],
) -> dict[str, Life]:
    """Every user's life, from the visits put into the stream and what the provider took.

    `owner_of`: address to user. An address nobody has is a failure."""
    stage_of = {step.channel_type: step.stage for step in ladder}
    found = {name: Life(seen_ms=list(moments)) for name, moments in seen.items()}
    for send in sends:
        if send.status == "SUCCESSFUL":
            told = (round(send.time * 1_000), stage_of[send.channel_type])
            found[owner_of[send.address]].took.append(told)
    return found
