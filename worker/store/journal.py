"""The journal: what happened to a user and why, written with the change it tells of (P10).

Rows are plain text beside the enums of the model, because three things can happen to a user that
are no decision of the ladder: a look that failed, a call that nobody saw the end of, and a
conversion.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeAlias

from worker.model import Action, Decision, EpisodeOutcome
from worker.store import statements

LOOK_FAILED = "look_failed"
STOPPED_MID_CALL = "stopped_mid_call"
CONVERTED = "converted"

CREDIT = "credit"
"""The action of a conversion: the episode has it to its credit, and is otherwise as it was."""

_VALUES = attrgetter(*statements.JOURNAL_COLUMNS.split(", "))


Row: TypeAlias = tuple[int | str | None, ...]
"""Values of JOURNAL_COLUMNS. Plain text and no enums, which SQLite's adapter is slow to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One line of a user's story. `action` is a value of `Action`, or `CREDIT`; `reason` is a value
    of `Reason`, or one of the three above."""

    at_ms: int
    user_id: str
    action: str
    reason: str
    rule: str | None = None
    episode_id: str | None = None
    stage: str | None = None
    until_ms: int | None = None
    outcome: str | None = None


def row_of(user_id: str, decision: Decision) -> Row:
    """A decision of the ladder, as the journal keeps it."""
    outcome = decision.outcome
    return (
        decision.at_ms,
        user_id,
        decision.rule,
        decision.episode_id,
        decision.stage,
        decision.action.value,
        decision.reason.value,
        decision.until_ms,
        None if outcome is None else outcome.value,
    )


def failed_row(user_id: str, now_ms: int, again_ms: int) -> Row:
    """A look that failed, and when there will be another."""
    wait = Action.WAIT.value
    return (now_ms, user_id, None, None, None, wait, LOOK_FAILED, again_ms, None)


def closing(
    row: tuple[str, str, str, str | None], *, reason: str, outcome: EpisodeOutcome, at_ms: int
) -> JournalEntry:
    """An episode the store closed by itself; `row` is (user, rule, episode, stage)."""
    user_id, rule, episode_id, stage = row
    return JournalEntry(
        at_ms=at_ms,
        user_id=user_id,
        action=Action.CLOSE,
        reason=reason,
        rule=rule,
        episode_id=episode_id,
        stage=stage,
        outcome=outcome,
    )


def tell(connection: sqlite3.Connection, entries: Iterable[JournalEntry]) -> None:
    """Writes entries in the caller's transaction."""
    tell_rows(connection, map(_VALUES, entries))


def tell_rows(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """The same for rows."""
    connection.executemany(statements.TELL, rows)
