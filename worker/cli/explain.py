"""`comeback explain`: one user's story, and what comes next."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from worker.cli.words import columns, moment, relative, sentence_of
from worker.clock import SystemClock
from worker.errors import ProblemsFound, RulesError
from worker.ladder import look
from worker.model import Decision, UserView
from worker.quiet import zone_of
from worker.rules.load import load
from worker.rules.ruleset import RuleSet
from worker.settings import read_settings
from worker.situation import undeliverable
from worker.store.journal import JournalEntry
from worker.store.reading import SendRecord, StateReader

JOURNAL_LINES_MAX = 200
SENDS_MAX = 100

NEXT = "what comes next (by the rules; a stale stream or a paused channel can delay it)"


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one user, oldest first."""

    view: UserView
    journal: tuple[JournalEntry, ...]
    sends: tuple[SendRecord, ...]
    next: tuple[Decision, ...] | None
    """Per rule, what the ladder would answer now; None when the rules cannot be used."""


@click.command()
@click.argument("user")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def explain(user: str, *, as_json: bool) -> None:
    """Tell what happened to USER, what comes next and when, and why not sooner.

    USER is a user id, an endpoint id, or an address. Reads the state file (COMEBACK_STATE) and the
    rules (COMEBACK_RULES); works while the worker runs. With a mistake in the rules it tells what
    happened, and the problems on standard error.
    """
    settings = read_settings(os.environ)
    clock = SystemClock()
    now_ms = clock.now_ms()
    rules, problems = _rules(settings.rules)
    with StateReader(str(settings.state), clock=clock) as reader:
        stories = [_story(reader, name, rules, now_ms) for name in reader.find(user)]
    if not stories:
        raise ProblemsFound(f"{user}: nothing is known of such a user, endpoint or address")
    if as_json:
        click.echo(json.dumps([_as_json(story) for story in stories], indent=2))
    else:
        click.echo("\n\n".join(_as_text(story, now_ms) for story in stories))
    if problems:
        click.echo(
            f"comeback: what comes next is not known, the rules have problems:\n{problems}",
            err=True,
        )


def _rules(folder: Path) -> tuple[RuleSet | None, str]:
    """The rules, or their problems: a mistake in a rule must not hide what happened."""
    try:
        return load(folder), ""
    except RulesError as error:
        return None, str(error)


def _story(reader: StateReader, user_id: str, rules: RuleSet | None, now_ms: int) -> Story:
    view = reader.user(user_id)
    assert view is not None, "a user that was found is known"
    return Story(
        view=view,
        journal=tuple(reversed(reader.journal_of(user_id, JOURNAL_LINES_MAX))),
        sends=tuple(reversed(reader.claims_of(user_id, SENDS_MAX))),
        next=None if rules is None else _next(view, rules, now_ms),
    )


def _next(view: UserView, rules: RuleSet, now_ms: int) -> tuple[Decision, ...]:
    last = {decision.rule: decision for decision in look(view, rules, now_ms).decisions}
    return tuple(last.values())


def _as_text(story: Story, now_ms: int) -> str:
    view = story.view
    zone = zone_of(view)
    seen = view.last_active_ms
    head = [
        ("last active", f"{moment(seen)} ({relative(seen, now_ms)})" if seen else "never"),
        ("reachable by", _reachable(view)),
        ("zone", f"{', '.join(zone.names[:3]) or 'unknown'} (by {zone.source})"),
    ]
    sections = [f"user {view.user_id}\n{columns(head)}"]
    if story.journal:
        sections.append(f"what happened\n{columns([_journal_row(e) for e in story.journal])}")
    if story.sends:
        sections.append(f"sends\n{columns([_send_row(send) for send in story.sends])}")
    if story.next is not None:
        sections.append(f"{NEXT}\n{columns([_next_row(d, now_ms) for d in story.next])}")
    return "\n\n".join(sections)


def _reachable(view: UserView) -> str:
    """`push (2), email, sms: opted_out`; never an address (P11)."""
    states = Counter(
        (endpoint.channel.value, undeliverable(endpoint))
        for endpoint in view.endpoints
        if endpoint.channel is not None
    )
    shown = [
        channel + (f" ({count})" if count > 1 else "") + (f": {reason}" if reason else "")
        for (channel, reason), count in sorted(states.items(), key=str)
    ]
    return ", ".join(shown) or "nothing"


def _journal_row(entry: JournalEntry) -> tuple[str, ...]:
    until = f"until {moment(entry.until_ms)}" if entry.until_ms is not None else ""
    end = f"the episode ends as {entry.outcome}" if entry.outcome is not None else ""
    story = "; ".join(filter(None, (sentence_of(entry.reason), until, end)))
    return (moment(entry.at_ms), entry.rule or "-", entry.stage or "-", entry.reason, story)


def _send_row(send: SendRecord) -> tuple[str, ...]:
    claim = send.claim
    attempts = f"{claim.attempt} attempts" if claim.attempt > 1 else ""
    receipt = f"receipt: {send.receipt} {send.receipt_detail or ''}" if send.receipt else ""
    what = "; ".join(filter(None, (claim.reason or "", attempts, receipt.strip())))
    return (moment(claim.claimed_ms), claim.stage, claim.channel, claim.state, claim.send_id, what)


def _next_row(decision: Decision, now_ms: int) -> tuple[str, ...]:
    if decision.until_ms is not None:
        when = f"{moment(decision.until_ms)} ({relative(decision.until_ms, now_ms)})"
    else:
        when = "now" if decision.action != "wait" else "when something about the user changes"
    sentence = sentence_of(decision.reason)
    return (decision.rule, decision.stage or "-", decision.reason, when, sentence)


def _as_json(story: Story) -> dict[str, Any]:
    return {
        "user": story.view.user_id,
        "last_active_ms": story.view.last_active_ms,
        "reachable_by": _reachable(story.view),
        "journal": [
            {
                "at_ms": entry.at_ms,
                "rule": entry.rule,
                "stage": entry.stage,
                "action": entry.action,
                "reason": entry.reason,
                "until_ms": entry.until_ms,
                "outcome": entry.outcome,
            }
            for entry in story.journal
        ],
        "sends": [
            {
                "send_id": send.claim.send_id,
                "at_ms": send.claim.claimed_ms,
                "rule": send.claim.rule,
                "stage": send.claim.stage,
                "channel": send.claim.channel,
                "state": send.claim.state,
                "reason": send.claim.reason,
                "attempt": send.claim.attempt,
                "receipt": send.receipt,
            }
            for send in story.sends
        ],
        "next": None
        if story.next is None
        else [
            {
                "rule": decision.rule,
                "stage": decision.stage,
                "action": decision.action,
                "reason": decision.reason,
                "until_ms": decision.until_ms,
            }
            for decision in story.next
        ],
    }
