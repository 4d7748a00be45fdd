"""`comeback plan`: what an edit of the rules would do to the users of a state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from worker.cli.inforce import InForce, rules_in_force, rules_of, with_old_ladders
from worker.cli.plan_report import Plan, as_json, as_text
from worker.cli.status_line import StatusLine
from worker.clock import SystemClock
from worker.errors import ChangesFound
from worker.model import DAY_MS, UserView
from worker.money import LOOKBACK_MS
from worker.rehearsal.forecast import STEPS, Forecast, Sample, forecast, may_be_affected
from worker.rules.diff import difference
from worker.rules.ruleset import RuleSet
from worker.settings import read_settings
from worker.store.reading import StateReader

DAYS_MAX = 90
SAMPLE_DEFAULT = 20_000
"""Users played when more are affected: about a minute, and one percent of error in what concerns
most of them."""
USERS_PER_READ = 500
"""Views read in one transaction: some 20 ms, in which the worker's log cannot be written back."""
RECENCIES_PER_READ = 20_000


@click.command()
@click.argument("new", type=click.Path(path_type=Path, exists=True), metavar="NEW")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FILE", help="[default: COMEBACK_STATE]"
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Compare with this folder instead of what is in force.",
)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=7,
    show_default=True,
    help="How far to look ahead.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=SAMPLE_DEFAULT,
    show_default=f"{SAMPLE_DEFAULT:,}",
    metavar="N",
    help="Play at most N users and estimate the rest.",
)
@click.option("--all", "everybody", is_flag=True, help="Play everybody, however long it takes.")
@click.option("--json", "json_wanted", is_flag=True, help="For machines.")
def plan(
    new: Path,
    state: Path | None,
    against: Path | None,
    *,
    days: int,
    sample: int,
    everybody: bool,
    json_wanted: bool,
) -> None:
    """Compare the rules in force with the folder NEW, over the users of the state.

    Tells what changed, key by key; per rule who would enter, move and leave; and the sends and the
    money of the next days with either, supposing that nobody comes back. Changes nothing, and works
    while the worker runs. A rule in shadow sends nothing, and is told as what it would send.

    \b
      comeback plan rules/                     before you deploy an edit
      comeback plan rules/ --days 30 --json

    Exit code 0: the rules mean the same; 3: they differ; 1: NEW has mistakes, which are listed.
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    after = rules_of(new)
    path = str(state or settings.state)
    with StateReader(path, clock=clock) as reader, StatusLine(clock) as line:
        if against is None:
            in_force = rules_in_force(reader, settings.rules)
        else:
            in_force = InForce(with_old_ladders(reader, rules_of(against)), str(against))
        sets = (in_force.rules, with_old_ladders(reader, after))
        now_ms = clock.now_ms()
        until_ms = now_ms + days * DAY_MS
        users = _chosen(reader, sets, now_ms, until_ms, None if everybody else sample, line)
        told = [
            _forecast(reader, rules, users, now_ms, until_ms, line, part)
            for part, rules in enumerate(sets)
        ]
    result = Plan(
        found=in_force.found,
        proposed=str(new),
        before=in_force.rules,
        after=after,
        changes=difference(in_force.rules, after),
        forecasts=(told[0], told[1]),
        now_ms=now_ms,
        days=days,
        users=users.known,
        affected=users.affected,
        played=len(users.views),
    )
    click.echo(as_json(result) if json_wanted else as_text(result))
    if result.changes:
        count = len(result.changes)
        raise ChangesFound(f"{count} change{'s' if count != 1 else ''} to the rules in force")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The users to play; of those affected which share they are, and how many users there are."""

    views: Sequence[UserView]
    affected: int
    known: int
    share: float


def _chosen(
    reader: StateReader,
    sets: Sequence[RuleSet],
    now_ms: int,
    until_ms: int,
    size_max: int | None,
    line: StatusLine,
) -> _Chosen:
    """Goes through everybody's recency, which is cheap, and reads the views of those it matters
    for."""
    affected, chosen = may_be_affected(sets, now_ms, until_ms), Sample(size_max)
    known, last = 0, ""
    while page := reader.recency(last, RECENCIES_PER_READ):
        for user_id, last_active_ms, on_ladder in page:
            if affected(last_active_ms, on_ladder):
                chosen.offer(user_id)
        known += len(page)
        last = page[-1][0]
        line.tell(f"looking for users who are affected: {chosen.offered:,} of {known:,}")
    user_ids = chosen.user_ids()
    views: list[UserView] = []
    for begin in range(0, len(user_ids), USERS_PER_READ):
        views += reader.views(user_ids[begin : begin + USERS_PER_READ])
        line.tell(f"reading users: {len(views):,} of {len(user_ids):,}")
    # Who was forgotten since the first pass is nobody's concern.
    there = [view for view in views if view.last_active_ms is not None]
    return _Chosen(there, chosen.offered, known, chosen.share)


def _forecast(
    reader: StateReader,
    rules: RuleSet,
    users: _Chosen,
    now_ms: int,
    until_ms: int,
    line: StatusLine,
    part: int,
) -> Forecast:
    which = ("the rules in force", "the proposed rules")[part]
    return forecast(
        rules,
        users.views,
        now_ms=now_ms,
        until_ms=until_ms,
        share=users.share,
        spends=reader.spends(now_ms - LOOKBACK_MS),
        silences=reader.silences(),
        progress=lambda step: line.tell(f"playing {which}: {100 * step // STEPS} %"),
    )
