"""What every target of the fuzzer is."""

from __future__ import annotations

from random import Random
from typing import Protocol


class Target(Protocol):
    """One thing that takes what strangers, or people in a hurry, write."""

    name: str

    def draw(self, chance: Random) -> bytes:
        """An input."""

    def take(self, data: bytes) -> None:
        """Raises when something does not hold that must hold for every input."""

    def settle(self) -> None:
        """Takes what was only gathered until now."""


class Culprit(Exception):
    """An input that was found to be to blame after it had been taken."""

    def __init__(self, data: bytes) -> None:
        super().__init__(f"{len(data)} bytes")
        self.data = data
