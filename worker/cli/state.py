"""`comeback state`: the state file in numbers."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from worker.cli.inforce import rules_in_force
from worker.cli.silence import as_document, row_of
from worker.cli.words import columns, moment, relative
from worker.clock import SystemClock
from worker.errors import RulesError
from worker.model import ClaimState, DeadLetter, Position
from worker.rules.load import inspect
from worker.settings import read_settings
from worker.store.reading import UNCERTAIN_LISTED, StateReader, StateSummary

DEAD_LETTERS_SHOWN_MAX = 1_000
UNCERTAIN_SHOWN_MAX = 100_000


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.option(
    "--dead-letters",
    type=click.IntRange(0, DEAD_LETTERS_SHOWN_MAX),
    default=0,
    metavar="N",
    help=f"Show the last N unreadable records, at most {DEAD_LETTERS_SHOWN_MAX:,}.",
)
@click.option(
    "--uncertain",
    type=click.IntRange(0, UNCERTAIN_SHOWN_MAX),
    default=UNCERTAIN_LISTED,
    show_default=True,
    metavar="N",
    help=f"Show the last N sends nobody knows the end of, at most {UNCERTAIN_SHOWN_MAX:,}.",
)
def state(*, as_json: bool, dead_letters: int, uncertain: int) -> None:
    """Show counts, holds made by hand, money, positions, uncertain sends and dead letters.

    Reads the file named by COMEBACK_STATE; works while the worker runs. The lag of a running worker
    is in its metrics (comeback_shard_lag_seconds).
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    now_ms = clock.now_ms()
    with StateReader(str(settings.state), clock=clock) as reader:
        summary = reader.summary(now_ms=now_ms, uncertain_max=uncertain)
        letters = reader.dead_letters(dead_letters)
        summary = _with_conversions_hoped_for(summary, reader, settings.rules)
    folder = _folder(settings.rules, summary.revision)
    if as_json:
        click.echo(_as_json(summary, folder, letters))
    else:
        click.echo(_as_text(summary, folder, letters, now_ms))


@dataclass(frozen=True, slots=True)
class _RulesFolder:
    """The rules folder beside what is in force."""

    path: Path
    revision: str | None
    """None: it has problems, or is not there."""
    problems: int
    in_force: bool

    def __str__(self) -> str:
        if not self.path.is_dir():
            return f"{self.path} is not there"
        if self.revision is None:
            count = f"{self.problems} problem{'s' if self.problems != 1 else ''}"
            return f"{self.path} has {count}, see `comeback check`; what is in force stays so"
        if self.in_force:
            return f"{self.path}, the same"
        return (
            f"{self.path}, DIFFERS: revision {self.revision} is not in force, see `comeback plan`"
        )

    @property
    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "path": str(self.path),
            "revision": self.revision,
            "problems": self.problems,
            "in_force": self.in_force,
        }


def _folder(path: Path, revision: str | None) -> _RulesFolder:
    found = inspect(path)
    own = None if found.rule_set is None else found.rule_set.revision
    in_force = own is not None and own == revision
    return _RulesFolder(path, own, len(found.problems), in_force)


def _with_conversions_hoped_for(
    summary: StateSummary, reader: StateReader, folder: Path
) -> StateSummary:
    """Without those of rules that hope for none and had none."""
    told = {rule for (rule, _, _), (_, converted) in summary.conversions.items() if converted}
    with suppress(RulesError):  # the head says that there are problems
        told |= {rule.name for rule in rules_in_force(reader, folder).rules.rules if rule.goal}
    kept = {key: counts for key, counts in summary.conversions.items() if key[0] in told}
    return replace(summary, conversions=kept)


def _as_text(
    summary: StateSummary, folder: _RulesFolder, letters: tuple[DeadLetter, ...], now_ms: int
) -> str:
    due = summary.next_due_ms
    active = ", ".join(f"{count:,} in {days}d" for days, count in summary.users_active.items())
    head = [
        (
            "state",
            f"{summary.path} ({summary.file_bytes / 1e6:,.1f} MB, schema {summary.schema_version})",
        ),
        ("rules", f"{summary.revision or 'none'}, since {moment(summary.adopted_ms)}"),
        ("rules folder", str(folder)),
        ("users", f"{summary.users:,}; active: {active}"),
        ("next due", f"{moment(due)} ({relative(due, now_ms)})" if due is not None else "nobody"),
    ]
    sections = [columns(head, indent=""), *_ladders(summary, now_ms), *_records(summary)]
    sections += _section(
        "last dead letters",
        [
            (
                moment(letter.arrival_ms),
                letter.shard_id,
                letter.sequence_number,
                letter.reason,
                letter.detail,
            )
            for letter in letters
        ],
    )
    return "\n\n".join(sections)


def _ladders(summary: StateSummary, now_ms: int) -> list[str]:
    """What is under way, what holds it, and what has come of it."""
    told: list[str] = []
    told += _section(
        "held by hand (number, kind, what, until when, who, why)",
        [row_of(silence, now_ms) for silence in summary.silences],
    )
    told += _section(
        "open episodes (rule, stage, held for)",
        [
            (rule, stage or "-", hold or "-", f"{count:,}")
            for (rule, stage, hold), count in summary.episodes_open.items()
        ],
    )
    told += _section(
        "ladders that ended (rule, outcome)",
        [(*key, f"{count:,}") for key, count in summary.outcomes.items()],
    )
    told += _section("sends", [(*key, f"{count:,}") for key, count in summary.claims.items()])
    told += _section(
        "spent since midnight UTC, in the currency of the price list",
        [(channel, f"{micros / 1e6:,.2f}") for channel, micros in summary.spent_today.items()],
    )
    told += _section(
        "conversions (rule, arm, last stage, episodes, converted)",
        [
            (
                rule,
                arm,
                stage or "-",
                f"{episodes:,}",
                f"{converted:,} ({converted / episodes:.1%})",
            )
            for (rule, arm, stage), (episodes, converted) in summary.conversions.items()
        ],
    )
    return told


def _records(summary: StateSummary) -> list[str]:
    """What somebody may want to look into, and how far reading is."""
    told: list[str] = []
    count = sum(n for (state, _), n in summary.claims.items() if state == ClaimState.UNCERTAIN)
    shown = len(summary.uncertain)
    told += _section(
        "uncertain sends (nobody knows whether they went out; they are not repeated)"
        + (f", the last {shown:,} of {count:,}; --uncertain N shows more" if shown < count else ""),
        [
            (
                moment(s.claim.claimed_ms),
                s.claim.user_id,
                s.claim.stage,
                s.claim.send_id,
                s.claim.reason or "",
            )
            for s in summary.uncertain
        ],
    )
    told += _section(
        "positions", [(stream, p.shard_id, _position(p)) for stream, p in summary.positions]
    )
    told += _section(
        "dead letters", [(reason, f"{count:,}") for reason, count in summary.dead_letters.items()]
    )
    return told


def _section(title: str, rows: list[tuple[str, ...]]) -> list[str]:
    return [f"{title}\n{columns(rows)}"] if rows else []


def _position(position: Position) -> str:
    if position.ended:
        return "SHARD_END"
    if position.sequence_number is not None:
        return position.sequence_number
    return f"from {moment(position.start_at_ms)}" if position.start_at_ms else "TRIM_HORIZON"


def _as_json(summary: StateSummary, folder: _RulesFolder, letters: tuple[DeadLetter, ...]) -> str:
    document: dict[str, Any] = {
        "path": summary.path,
        "file_bytes": summary.file_bytes,
        "schema_version": summary.schema_version,
        "revision": summary.revision,
        "rules_folder": folder.document,
        "users": summary.users,
        "users_active_days": summary.users_active,
        "next_due_ms": summary.next_due_ms,
        "episodes_open": [
            {"rule": rule, "stage": stage, "hold": hold, "count": count}
            for (rule, stage, hold), count in summary.episodes_open.items()
        ],
        "episodes_ended": [
            {"rule": rule, "outcome": outcome, "count": count}
            for (rule, outcome), count in summary.outcomes.items()
        ],
        "sends": [
            {"state": state, "channel": channel, "count": count}
            for (state, channel), count in summary.claims.items()
        ],
        "silences": [as_document(silence) for silence in summary.silences],
        "spent_today_micros": summary.spent_today,
        "conversions": [
            {
                "rule": rule,
                "arm": arm,
                "stage": stage,
                "episodes": episodes,
                "converted": converted,
            }
            for (rule, arm, stage), (episodes, converted) in summary.conversions.items()
        ],
        "uncertain": [
            {
                "send_id": send.claim.send_id,
                "user": send.claim.user_id,
                "stage": send.claim.stage,
                "at_ms": send.claim.claimed_ms,
                "reason": send.claim.reason,
            }
            for send in summary.uncertain
        ],
        "positions": [
            {
                "stream": stream,
                "shard": position.shard_id,
                "sequence_number": position.sequence_number,
                "ended": position.ended,
            }
            for stream, position in summary.positions
        ],
        "dead_letters": summary.dead_letters,
        "last_dead_letters": [
            {
                "shard": letter.shard_id,
                "sequence_number": letter.sequence_number,
                "reason": letter.reason,
                "detail": letter.detail,
                "bytes": len(letter.data),
            }
            for letter in letters
        ],
    }
    return json.dumps(document, indent=2)
