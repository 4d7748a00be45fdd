"""One user's story as people and machines read it. Never an address (P11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worker.cli.grounds import zone_told
from worker.cli.standpoints import Standpoint, as_document, tree, why_not
from worker.cli.words import columns, moment, relative, sentence_of
from worker.model import Action, Decision, Reason, UserView
from worker.quiet import zone_of
from worker.rules.zones import UTC_MIDDAY
from worker.situation import undeliverable
from worker.store.journal import CREDIT, JournalEntry
from worker.store.reading import SendRecord

NEXT = (
    "what comes next (by the rules, if the user does not come back; a stale stream or a paused "
    "channel can delay it)"
)
PAST = "where it stood then (by the journal; the address book is not kept over time)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is known of one user, oldest first. What needs the rules is None when they cannot be
    used, or it is about the past."""

    view: UserView
    now_ms: int
    at_ms: int
    """The instant it is told for."""
    rules: str
    """Which rules it goes by; empty when there are none."""
    timezone: str | None
    journal: tuple[JournalEntry, ...]
    sends: tuple[SendRecord, ...]
    points: tuple[Standpoint, ...] | None
    next: tuple[Decision, ...] | None
    """From now on, also what happens before `at_ms` when that is to come."""
    why_not: str | None = None
    """Only this rule is asked about."""

    @property
    def is_past(self) -> bool:
        """Is it about an instant that is over?"""
        return self.at_ms < self.now_ms


def as_text(story: Story) -> str:
    """For people."""
    return "\n\n".join(filter(None, _sections(story)))


def _sections(story: Story) -> Iterator[str]:
    yield f"user {story.view.user_id}\n{columns(_head(story))}"
    if story.why_not is not None and story.points is not None:
        yield _answer(story, story.points)
        yield _standing(story, story.points)
        return
    if story.journal:
        yield f"what happened\n{columns([_journal_row(e) for e in story.journal])}"
    if story.sends:
        yield f"sends\n{columns([_send_row(send) for send in story.sends])}"
    if story.is_past:
        yield f"{PAST}\n{columns(_stood(story.journal)) or '  on no ladder'}"
        return
    to_come = story.at_ms > story.now_ms
    if to_come and story.next is not None:
        until = [d for d in story.next if d.at_ms <= story.at_ms]
        yield f"what happens until then, if nobody comes back\n{_steps(until, story.now_ms)}"
    if story.points is not None:
        yield _standing(story, story.points)
    if story.next is not None:
        steps = [d for d in story.next if not to_come or d.at_ms > story.at_ms]
        yield f"{NEXT}\n{_steps(steps, story.at_ms)}"


def _answer(story: Story, points: Sequence[Standpoint]) -> str:
    told = [line for point in points for line in why_not(point)]
    return "\n".join(told) or f"{story.why_not} does not ask for this user."


def _standing(story: Story, points: Sequence[Standpoint]) -> str:
    title = "how it will stand then" if story.at_ms > story.now_ms else "how it stands"
    lines = [f"  {line}" for point in points for line in tree(point)]
    return "\n".join([title, *(lines or ["  no rule asks for this user"])])


def _head(story: Story) -> list[tuple[str, ...]]:
    """What is known of the user now, and said to be so where the story is told for another time."""
    view = story.view
    zone = zone_of(view, otherwise=story.timezone or UTC_MIDDAY)
    seen = view.last_active_ms
    rows: list[tuple[str, ...]] = [
        ("last active", f"{moment(seen)} ({relative(seen, story.now_ms)})" if seen else "never"),
        ("reachable by", reachable(view)),
        ("zone", zone_told(zone).removeprefix("zones ").removeprefix("zone ")),
    ]
    if story.rules:
        rows.append(("rules", story.rules))
    if story.at_ms == story.now_ms:
        return rows
    told_for = f"{moment(story.at_ms)} ({relative(story.at_ms, story.now_ms)})"
    return [("told for", told_for), *((f"now: {label}", value) for label, value in rows)]


def reachable(view: UserView) -> str:
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
    variant = f"variant {claim.variant}" if claim.variant else ""
    attempts = f"{claim.attempt} attempts" if claim.attempt > 1 else ""
    receipt = f"receipt: {send.receipt} {send.receipt_detail or ''}" if send.receipt else ""
    what = "; ".join(filter(None, (claim.reason or "", variant, attempts, receipt.strip())))
    return (moment(claim.claimed_ms), claim.stage, claim.channel, claim.state, claim.send_id, what)


def _stood(journal: Sequence[JournalEntry]) -> list[tuple[str, ...]]:
    """Per rule the ladder at the last entry, and that entry."""
    rows: list[tuple[str, ...]] = []
    told = [entry for entry in journal if entry.action != CREDIT]
    for rule in dict.fromkeys(entry.rule for entry in told if entry.rule):
        own = [entry for entry in told if entry.rule == rule]
        last, opened = own[-1], next((e for e in reversed(own) if e.action == Action.OPEN), None)
        if last.action == Action.CLOSE:
            where = f"no ladder, the last one ended {moment(last.at_ms)} as {last.outcome}"
        elif opened is None:
            where = "on its ladder"
        else:
            where = f"on its ladder since {moment(opened.at_ms)}"
        until = f" until {moment(last.until_ms)}" if last.until_ms is not None else ""
        stage = f"{last.stage}: " if last.stage else ""
        rows.append((rule, where, f"last: {stage}{last.reason}{until}"))
    return rows


def _steps(steps: Sequence[Decision], from_ms: int) -> str:
    if not steps:
        return "  nothing, until something about the user changes"
    return columns([_step_row(step, from_ms) for step in steps])


def _step_row(step: Decision, from_ms: int) -> tuple[str, ...]:
    when = relative(step.at_ms, from_ms) if step.at_ms > from_ms else "now"
    until = f"until {moment(step.until_ms)}" if step.until_ms is not None else ""
    end = f"the ladder ends as {step.outcome}" if step.outcome is not None else ""
    sentence = _GOES_OUT if step.reason is Reason.SENT else sentence_of(step.reason)
    what = "; ".join(filter(None, (_WILL.get(step.action, ""), sentence)))
    story = "; ".join(filter(None, (what, until, end)))
    return (moment(step.at_ms), when, step.rule, step.stage or "-", step.reason, story)


_GOES_OUT = "goes out"
_WILL = {
    Action.WAIT: "has to wait",
    Action.SKIP: "is left out",
    Action.HASTEN: "does not wait its time",
}


def as_json(story: Story) -> dict[str, Any]:
    """For machines."""
    return {
        "user": story.view.user_id,
        "at_ms": story.at_ms,
        "last_active_ms": story.view.last_active_ms,
        "reachable_by": reachable(story.view),
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
        "sends": [_send_document(send) for send in story.sends],
        "rules": None if story.points is None else [as_document(p) for p in story.points],
        "why_not": None
        if story.why_not is None or story.points is None
        else [line for point in story.points for line in why_not(point)],
        "next": None
        if story.next is None
        else [
            {
                "at_ms": step.at_ms,
                "rule": step.rule,
                "stage": step.stage,
                "action": step.action,
                "reason": step.reason,
                "until_ms": step.until_ms,
                "outcome": step.outcome,
            }
            for step in story.next
        ],
    }


def _send_document(send: SendRecord) -> dict[str, Any]:
    return {
        "send_id": send.claim.send_id,
        "at_ms": send.claim.claimed_ms,
        "rule": send.claim.rule,
        "stage": send.claim.stage,
        "channel": send.claim.channel,
        "variant": send.claim.variant or None,
        "state": send.claim.state,
        "reason": send.claim.reason,
        "attempt": send.claim.attempt,
        "receipt": send.receipt,
    }
