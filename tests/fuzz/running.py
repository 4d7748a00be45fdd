"""One run over a target: inputs by number, each from a seed of its own, until one is a finding."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from random import Random

from tests.fuzz.target import Culprit, Target

SECONDS_PER_INPUT_MAX = 5.0
"""One input that takes longer is a finding too. A generous bound, for machines are shared."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an input brought to light."""

    target: str
    seed: int
    number: int
    data: bytes
    told: str

    def __str__(self) -> str:
        return (
            f"{self.told}\n{self.target}: input {self.data[:2_000]!r}\n"
            f"replay: .venv/bin/python -m tests.fuzz {self.target} --seed {self.seed}"
            f" --first {self.number} --runs 1"
        )


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run did."""

    inputs: int
    seconds: float
    slowest_seconds: float
    slowest_number: int
    finding: Finding | None


def drawn(target: Target, seed: int, number: int) -> bytes:
    """Input `number` of a seed."""
    return target.draw(Random(f"{target.name} {seed} {number}"))


def run(target: Target, *, seed: int, first: int, runs: int, seconds_max: float) -> Figures:
    """Takes inputs `first` up to `first + runs`, or as many as the seconds allow."""
    began = time.monotonic()
    slowest, slowest_number = 0.0, first
    finding: Finding | None = None
    taken = 0
    for number in range(first, first + runs):
        data = drawn(target, seed, number)
        start = time.monotonic()
        finding = _taken(target, data, seed, number)
        spent = time.monotonic() - start
        taken += 1
        if spent > slowest:
            slowest, slowest_number = spent, number
        if finding is None and spent > SECONDS_PER_INPUT_MAX:
            finding = Finding(
                target=target.name, seed=seed, number=number, data=data, told=f"{spent:.1f} s"
            )
        if finding is not None or time.monotonic() - began > seconds_max:
            break
    if finding is None:
        finding = _settled(target, seed, first + taken - 1)
    return Figures(
        inputs=taken,
        seconds=time.monotonic() - began,
        slowest_seconds=slowest,
        slowest_number=slowest_number,
        finding=finding,
    )


def _taken(target: Target, data: bytes, seed: int, number: int) -> Finding | None:
    try:
        target.take(data)
    except Exception as error:  # noqa: BLE001 - any exception at all is what is looked for
        blamed = error.data if isinstance(error, Culprit) else data
        told = "".join(traceback.format_exception(error))
        return Finding(target=target.name, seed=seed, number=number, data=blamed, told=told)
    return None


def _settled(target: Target, seed: int, number: int) -> Finding | None:
    try:
        target.settle()
    except Exception as error:  # noqa: BLE001 - any exception at all is what is looked for
        blamed = error.data if isinstance(error, Culprit) else b""
        told = "".join(traceback.format_exception(error))
        return Finding(target=target.name, seed=seed, number=number, data=blamed, told=told)
    return None
