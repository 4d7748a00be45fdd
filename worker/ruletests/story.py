"""What came of a test: the sends, decisions, ends of ladders and states of its users. Values.

Made by `timeline.py`, held against what was expected by `verdict.py`. Instants in milliseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from worker.model import EpisodeOutcome, Message, Reason
from worker.ruletests.case_expected import DecisionWord, State


@dataclass(slots=True, kw_only=True)
class MadeSend:
    """One stage that went out to one user, with all its calls up to the last."""

    at_ms: int
    """Of the last call: the one that was accepted, or not repeated."""
    user: str
    rule: str
    stage: str
    template: str | None
    variant: str
    deferred_by: Reason | None
    because: Reason | None
    addresses: tuple[str, ...]
    attempts: int
    message: Message


@dataclass(slots=True, kw_only=True)
class MadeDecision:
    """One step of the ladder. Never changed; there are too many for a frozen one."""

    at_ms: int
    user: str
    rule: str
    word: DecisionWord
    stage: str | None
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An episode that was closed."""

    user: str
    rule: str
    outcome: EpisodeOutcome
    reason: Reason
    closed_ms: int
    last_stage: str | None
    last_sent_ms: int | None
    converted_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where a user stands under a rule at an instant."""

    state: State
    reason: Reason
    stage: str | None = None
    until_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class Story:
    """All that came of one test. `stands` answer `expect_states`, one for one."""

    sends: list[MadeSend] = field(default_factory=list)
    decisions: list[MadeDecision] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    stands: list[Stand] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """Events that could not be read as meant, in words."""
    ladders: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The stages of each rule, by name."""
    end_ms: int = 0
    """How far it was told."""
