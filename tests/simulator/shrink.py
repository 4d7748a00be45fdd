"""The shortest story that still breaks a promise: for people who have to find out why.

First the run is played again with fault after fault left out, for as long as it still breaks the
same promise; what is left are the faults it takes. Then only the facts about the user, the address
and the records in question are told, one line each: when, what, about whom.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.simulator.checkers import Violation, check
from tests.simulator.rulebook import Book
from tests.simulator.story import (
    Called,
    ClockStepped,
    Ended,
    Fact,
    Faulted,
    Given,
    Measured,
    Put,
    RulesPut,
    Silenced,
    Started,
    Story,
    Trimmed,
)
from tests.simulator.world import play

SECONDS_MAX = 60.0
"""How long faults are left out, one after the other."""

LINES_MAX = 60
"""Of a story: the last before the promise is broken."""

LINES_AFTER_MAX = 3


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A run that breaks the promise with no more faults than it takes."""

    story: Story
    violation: Violation
    needed: tuple[str, ...]
    """Kinds of faults that still strike in it."""
    left_out: frozenset[str]


def shortest(
    seed: int, *, days: float, violation: Violation, seconds: float = SECONDS_MAX
) -> Sequence[str]:
    """Lines that tell how a run breaks that promise, with as few faults and facts as can be."""
    return tuple(told(shrunk(seed, days=days, violation=violation, seconds=seconds)))


def shrunk(seed: int, *, days: float, violation: Violation, seconds: float) -> Shrunk:
    """Leaves out what the violation does not need: first all faults, then one kind at a time, those
    that struck most often first."""
    ends = time.monotonic() + seconds
    story = play(seed, days=days)
    best = _found(story, violation, frozenset()) or Shrunk(story, violation, (), frozenset())
    for kind in ("", *_kinds(story)):
        if time.monotonic() > ends:
            break
        out = frozenset(_kinds(story)) if not kind else best.left_out | {kind}
        if kind and kind not in best.needed:
            continue
        found = _found(play(seed, days=days, without=out), violation, out)
        best = found or best
    return best


def _found(story: Story, violation: Violation, out: frozenset[str]) -> Shrunk | None:
    same = [other for other in check(story) if other.promise == violation.promise]
    if not same:
        return None
    alike = [other for other in same if other.user == violation.user]
    return Shrunk(story, (alike or same)[0], _kinds(story), out)


def _kinds(story: Story) -> tuple[str, ...]:
    """The kinds that struck, the most frequent first."""
    counts: dict[str, int] = {}
    for fact in story.facts:
        if isinstance(fact, Faulted):
            counts[fact.kind] = counts.get(fact.kind, 0) + 1
    return tuple(sorted(counts, key=lambda kind: (-counts[kind], kind)))


def told(found: Shrunk) -> Iterator[str]:
    """The story in lines."""
    violation, story = found.violation, found.story
    yield f"{violation.promise} is broken: {violation.says}"
    yield f"about: {_about(violation)}"
    yield f"faults it takes: {', '.join(found.needed) or 'none'}"
    puts = [fact for fact in story.facts if isinstance(fact, Put)]
    records = frozenset(put.record for put in puts if _is_about(put, violation))
    facts = [fact for fact in story.facts if _concerns(fact, records, violation)]
    before = [fact for fact in facts if fact.at_ms <= violation.at_ms]
    after = [fact for fact in facts if fact.at_ms > violation.at_ms][:LINES_AFTER_MAX]
    shown = before[-LINES_MAX:]
    if len(before) > len(shown):
        yield f"({len(before) - len(shown)} facts before these are left out)"
    since_ms = shown[0].at_ms if shown else violation.at_ms
    for fact in shown:
        yield _line(fact, since_ms)
    yield f"{_when(violation.at_ms, since_ms)}  {violation.promise} IS BROKEN HERE"
    for fact in after:
        yield _line(fact, since_ms)


def _about(violation: Violation) -> str:
    parts = [
        f"user {violation.user}" if violation.user else "",
        f"address {violation.address}" if violation.address else "",
        f"records {_numbers(violation.records)}" if violation.records else "",
        f"calls {_numbers(violation.calls)}" if violation.calls else "",
    ]
    return ", ".join(part for part in parts if part) or "the whole worker"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _concerns(fact: Fact, records: frozenset[int], violation: Violation) -> bool:
    """Is the fact part of this story?"""
    match fact:
        case Put() | Given() | Trimmed():
            return fact.record in records
        case Called():
            own = fact.text.rpartition("|")[2] == violation.user
            return own or fact.address == violation.address or fact.call in violation.calls
        case Faulted():
            return False
        case Measured():
            return violation.promise == "P12"
        case _:
            return True


def _is_about(put: Put, violation: Violation) -> bool:
    own = violation.user is not None and violation.user in (
        put.user,
        f"anonymous:{put.facts.get('endpoint')}",
    )
    at_address = violation.address is not None and put.address == violation.address
    return own or at_address or put.record in violation.records


# --- lines ----------------------------------------------------------------------------------------


def _line(fact: Fact, since_ms: int) -> str:
    return f"{_when(fact.at_ms, since_ms)}  {_says(fact)}"


def _when(at_ms: float, since_ms: int) -> str:
    seconds = (at_ms - since_ms) / 1_000
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    clock = datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%m-%d %H:%M:%S")
    return f"{clock}Z  +{days:3.0f}d {hours:02.0f}:{minutes:02.0f}:{rest:06.3f}"


def _says(fact: Fact) -> str:
    match fact:
        case Put():
            return f"put      record {fact.record} {fact.kind}{_of_put(fact)}"
        case Given():
            return f"given    record {fact.record}"
        case Trimmed():
            return f"trimmed  record {fact.record}"
        case Called():
            taken = "taken" if fact.accepted else "not taken"
            wrong_ms = fact.worker_ms - fact.at_ms
            clock = (
                f", worker's clock {wrong_ms / 3_600_000:+.2f} h" if abs(wrong_ms) > 5_000 else ""
            )
            return (
                f"CALLED   call {fact.call} {fact.channel} to {fact.address} {fact.text!r}:"
                f" {fact.answer}, {taken}{clock}"
            )
        case Started():
            return f"started  process {fact.process}"
        case Ended():
            return f"ended    process {fact.process}: {fact.how} {fact.where}"
        case ClockStepped():
            return f"clock    the worker's is {fact.offset_ms / 3_600_000:+.3f} h wrong now"
        case Silenced():
            until = "" if fact.until_ms is None else f" until {_clock(fact.until_ms)}"
            return f"silence  {fact.what} {fact.silence} {dict(fact.matchers) or ''}{until}"
        case RulesPut():
            return f"rules    {_book(fact.rules)}"
        case Measured():
            return f"measured {fact.name}: {fact.value:g} of {fact.bound:g}"
        case _:
            return type(fact).__name__


def _of_put(put: Put) -> str:
    told = [f" of {put.user or put.facts.get('endpoint')}" if put.user or put.facts else ""]
    if put.means_active:
        told.append(" (active)")
    if put.event_ms is not None and abs(put.event_ms - put.at_ms) > 5_000:
        told.append(f" stamped {_clock(put.event_ms)}")
    if put.channel:
        told.append(f" {put.channel} {put.address}")
    facts: Mapping[str, object] = put.facts
    if facts.get("opted_out"):
        told.append(" OPTED OUT")
    if facts.get("active") is False:
        told.append(" INACTIVE")
    told += [f" {name}={facts[name]}" for name in ("reason", "status", "told_ms") if name in facts]
    return "".join(told)


def _clock(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%m-%d %H:%M:%SZ")


def _book(book: Book | None) -> str:
    if book is None:
        return "broken"
    rules = []
    for rule in book.rules:
        stages = ", ".join(f"{s.name} {s.channel} +{s.after_ms / 3.6e6:g}h" for s in rule.stages)
        rules.append(
            f"{rule.name}/{rule.edition} {rule.mode} {rule.inactive_for_ms / 3.6e6:g}h: {stages}"
        )
    return f"book {book.number}: {'; '.join(rules)}"
