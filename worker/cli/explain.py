"""`comeback explain`: one user's story, why nothing is sent right now, and what comes next."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from math import inf
from pathlib import Path

import click

from worker.cli.inforce import InForce, rules_in_force
from worker.cli.standpoints import standpoints
from worker.cli.story import Story, as_json, as_text
from worker.clock import SystemClock
from worker.errors import ProblemsFound, RulesError, UsageError
from worker.model import UserView
from worker.moment import Moment
from worker.money import LOOKBACK_MS, Purse
from worker.rehearsal.projection import HORIZON_MS, project
from worker.rules.durations import parse_duration
from worker.rules.instants import parse_instant
from worker.rules.problems import Refused, not_allowed
from worker.settings import read_settings
from worker.silences import standing
from worker.store.reading import StateReader

JOURNAL_LINES_MAX = 200
JOURNAL_READ_MAX = 10_000
"""Lines gone through to find those before an instant that is over."""
SENDS_MAX = 100
SENDS_READ_MAX = 1_000


@click.command()
@click.argument("user")
@click.option(
    "--at",
    metavar="TIME",
    help="Tell it for then: 2026-11-27T09:00:00Z, 2h from now, or -3d ago.",
)
@click.option(
    "--why-not",
    metavar="RULE",
    help="Why is this rule not sending? Only the answer, and the conditions behind it.",
)
@click.option("--json", "json_wanted", is_flag=True, help="For machines.")
def explain(user: str, *, at: str | None, why_not: str | None, json_wanted: bool) -> None:
    """Tell what happened to USER, what comes next and when, and why not sooner.

    USER is a user id, an endpoint id, or an address. Reads the state file (COMEBACK_STATE), also
    for the rules in force; works while the worker runs. Where the rules cannot be read it tells
    what happened, and the problems on standard error.

    \b
      comeback explain u-123
      comeback explain u-123 --why-not premium-winback
      comeback explain u-123 --at -3d          as it stood three days ago
      comeback explain u-123 --at 2d           as it will stand, if nobody comes back
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    now_ms = clock.now_ms()
    at_ms = now_ms if at is None else _instant(at, now_ms)
    with StateReader(str(settings.state), clock=clock) as reader:
        in_force, problems = _rules(reader, settings.rules)
        if why_not is not None and in_force is not None:
            _require_rule(in_force, why_not)
        stories = [
            _story(reader, name, in_force, now_ms, at_ms, why_not) for name in reader.find(user)
        ]
    if not stories:
        raise ProblemsFound(f"{user}: nothing is known of such a user, endpoint or address")
    if json_wanted:
        click.echo(json.dumps([as_json(story) for story in stories], indent=2))
    else:
        click.echo("\n\n".join(map(as_text, stories)))
    if problems:
        click.echo(
            f"comeback: what comes next is not known, the rules have problems:\n{problems}",
            err=True,
        )


def _instant(text: str, now_ms: int) -> int:
    """An instant, or a duration from now, or with a minus before now."""
    if found := re.fullmatch(r"([-+]?)(\d+[a-z].*)", text):
        try:
            distance_ms = parse_duration(found[2])
        except Refused as refused:
            raise UsageError(f"--at: {refused}") from refused
        at_ms = now_ms - distance_ms if found[1] == "-" else now_ms + distance_ms
    else:
        try:
            at_ms = parse_instant(text)
        except Refused as refused:
            raise UsageError(f"--at: {refused}; or a distance, such as 2h or -3d") from refused
    if at_ms > now_ms + HORIZON_MS:
        raise UsageError("--at: nothing is foreseen for longer than 400 days; name an earlier time")
    return at_ms


def _rules(reader: StateReader, folder: Path) -> tuple[InForce | None, str]:
    """The rules, or their problems: a mistake in a rule must not hide what happened."""
    try:
        return rules_in_force(reader, folder), ""
    except RulesError as error:
        return None, str(error)


def _require_rule(in_force: InForce, name: str) -> None:
    names = [rule.name for rule in in_force.rules.rules]
    if name not in names:
        raise UsageError(not_allowed("--why-not: there is no rule", name, names))


def _story(
    reader: StateReader,
    user_id: str,
    in_force: InForce | None,
    now_ms: int,
    at_ms: int,
    why_not: str | None,
) -> Story:
    view = reader.user(user_id)
    assert view is not None, "a user that was found is known"
    is_past = at_ms < now_ms
    entries = reader.journal_of(user_id, JOURNAL_READ_MAX if is_past else JOURNAL_LINES_MAX)
    # The worker's clock may be ahead of this one: only what is asked for is left out.
    until_ms = at_ms if is_past else inf
    journal = [e for e in entries if e.at_ms <= until_ms and why_not in (None, e.rule)]
    claims = reader.claims_of(user_id, SENDS_READ_MAX if is_past else SENDS_MAX)
    sends = [
        send
        for send in claims
        if send.claim.claimed_ms <= until_ms and why_not in (None, send.claim.rule)
    ]
    story = Story(
        view=view,
        now_ms=now_ms,
        at_ms=at_ms,
        rules="",
        timezone=None,
        journal=tuple(reversed(journal[:JOURNAL_LINES_MAX])),
        sends=tuple(reversed(sends[:SENDS_MAX])),
        points=None,
        next=None,
        why_not=why_not,
    )
    if in_force is None:
        return story
    story = replace(
        story,
        rules=f"revision {in_force.rules.revision}, by {in_force.found}",
        timezone=in_force.rules.timezone,
    )
    return story if is_past else _with_future(reader, story, view, in_force)


def _with_future(reader: StateReader, story: Story, view: UserView, in_force: InForce) -> Story:
    """The story with where the user stands at its instant, and what comes."""
    rules, silences = in_force.rules, reader.silences()
    spends = reader.spends(story.now_ms - LOOKBACK_MS)
    then = view
    if story.at_ms > story.now_ms:
        lived = project(
            rules,
            view,
            now_ms=story.now_ms,
            until_ms=story.at_ms,
            spends=spends,
            silences=silences,
        )
        then, spent = lived.view, lived.spends
    else:
        spent = spends
    at = Moment(
        now_ms=story.at_ms, wall_ms=story.at_ms, silences=standing(silences), purse=Purse(spent)
    )
    points = standpoints(then, rules, at)
    steps = project(rules, view, now_ms=story.now_ms, spends=spends, silences=silences).steps
    return replace(
        story,
        points=tuple(p for p in points if story.why_not in (None, p.rule)),
        next=tuple(step for step in steps if story.why_not in (None, step.rule)),
    )
