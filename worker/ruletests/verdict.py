"""What was expected of a test against what came of it: rows side by side, with what is off. Pure.

A row pairs one expectation with what fits it, else with what comes closest; of sends, what nobody
expected is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from worker.model import Reason
from worker.ruletests.case_expected import SendForm
from worker.ruletests.cases import Case
from worker.ruletests.compare import (
    Comparison,
    Decisions,
    Ladders,
    Outcomes,
    Sends,
    Shown,
    States,
)
from worker.ruletests.story import MadeDecision, MadeSend, Story


class _OfUser(Protocol):
    @property
    def user(self) -> str: ...


_Wanted = TypeVar("_Wanted")
_Made = TypeVar("_Made")
_Told = TypeVar("_Told", bound=_OfUser)
_Came = TypeVar("_Came", bound=_OfUser)
_About = TypeVar("_About", bound=_OfUser)

NOTHING = "nothing"
LAST_WORDS_MAX = 3
"""Rules whose last word is told where a send is missing."""


class Mark(StrEnum):
    """What a row says."""

    SAME = "="
    OTHER = "!"
    MISSING = "-"
    MORE = "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An expectation beside what came of it. `note`: what is off."""

    mark: Mark
    expected: str
    got: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The rows of one kind of expectation, such as `expect_sends`."""

    name: str
    rows: tuple[Row, ...]

    @property
    def holds(self) -> bool:
        """Did everything come as expected?"""
        return all(row.mark is Mark.SAME for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one test."""

    case: Case
    sections: tuple[Section, ...]
    troubles: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Did everything come as expected?"""
        return not self.troubles and all(section.holds for section in self.sections)


def judge(case: Case, story: Story) -> Verdict:
    """Holds a story against what its test expects."""
    form = case.form
    sections = []
    if form.expect_sends is not None:
        sections.append(Section(name="expect_sends", rows=_sends(form.expect_sends, story)))
    if form.expect_states:
        states = States()
        rows = [
            _beside(states, wanted, made)
            for wanted, made in zip(form.expect_states, story.stands, strict=True)
        ]
        sections.append(Section(name="expect_states", rows=tuple(rows)))
    if form.expect_outcomes:
        rows = _occurring(Outcomes(story.ladders), form.expect_outcomes, story.ended)
        sections.append(Section(name="expect_outcomes", rows=tuple(rows)))
    if form.expect_decisions:
        rows = _occurring(Decisions(story.ladders), form.expect_decisions, story.decisions)
        sections.append(Section(name="expect_decisions", rows=tuple(rows)))
    return Verdict(case=case, sections=tuple(sections), troubles=tuple(story.troubles))


def _sends(expected: Sequence[SendForm], story: Story) -> tuple[Row, ...]:
    """All sends, in order of time: those that fit, then those that come closest, then the rest."""
    came, said = _by_user(story.sends), _by_user(story.decisions)
    sends = Sends(story.ladders)
    rows: list[tuple[int, Row]] = []
    for user, wanted in _by_user(expected).items():
        rest = came.pop(user, [])
        paired = _paired(sends, wanted, rest)
        rows += [_unexpected(sends, made) for made in rest]
        for index, each in enumerate(wanted):
            if index in paired:
                row = _beside(sends, each, paired[index])
            else:
                note = _instead(each, said.get(user, []), story.ladders)
                row = Row(mark=Mark.MISSING, expected=sends.wanted(each), got=NOTHING, note=note)
            rows.append((each.at, row))
    for others in came.values():
        rows += [_unexpected(sends, made) for made in others]
    return tuple(row for _, row in sorted(rows, key=lambda timed: timed[0]))


def _paired(
    sends: Sends, expected: Sequence[SendForm], rest: list[MadeSend]
) -> dict[int, MadeSend]:
    """What is to one user, by the number of its expectation; takes it out of `rest`."""
    paired: dict[int, MadeSend] = {}
    # The choosiest first: one that states less must not take what only another can use.
    order = sorted(range(len(expected)), key=lambda i: -len(expected[i].model_fields_set))
    _take(paired, order, rest, lambda i, made: None if sends.off(expected[i], made) else 0)
    _take(paired, order, rest, lambda i, made: sends.distance(expected[i], made))
    return paired


def _unexpected(sends: Sends, made: MadeSend) -> tuple[int, Row]:
    return made.at_ms, Row(mark=Mark.MORE, expected=NOTHING, got=sends.made(made, None))


def _take(
    paired: dict[int, MadeSend],
    order: Sequence[int],
    rest: list[MadeSend],
    distance: Callable[[int, MadeSend], int | None],
) -> None:
    """Gives each expectation that has none the nearest send that is left."""
    for index in order:
        if index in paired:
            continue
        far = {n: distance(index, made) for n, made in enumerate(rest)}
        near = [(apart, n) for n, apart in far.items() if apart is not None]
        if near:
            paired[index] = rest.pop(min(near)[1])


def _instead(wanted: SendForm, said: Sequence[MadeDecision], ladders: Ladders) -> str:
    """What the rules with that stage said of a user at the time nothing was sent, or last before
    it."""
    last: dict[str, MadeDecision] = {}
    for decision in said:
        owns = wanted.stage in ladders[decision.rule]
        if owns and wanted.rule in (None, decision.rule) and decision.at_ms <= wanted.at:
            last[decision.rule] = decision
    if not last:
        return f"nobody ever looked at {wanted.user} before; was there any activity?"
    # One that began a ladder says more than one that is not for this user.
    told = sorted(last.values(), key=lambda decision: decision.reason is Reason.NOT_MATCHED)
    return "; ".join(
        f"the last word of rule {decision.rule}: {Decisions({}).made(decision, None)}"
        for decision in told[:LAST_WORDS_MAX]
    )


def _beside(kind: Shown[_Wanted, _Made], wanted: _Wanted, made: _Made) -> Row:
    off = kind.off(wanted, made)
    return Row(
        mark=Mark.OTHER if off else Mark.SAME,
        expected=kind.wanted(wanted),
        got=kind.made(made, wanted),
        note="; ".join(off),
    )


def _occurring(
    kind: Comparison[_Told, _Came], expected: Sequence[_Told], came: Sequence[_Came]
) -> list[Row]:
    """One row for each expectation: with what fits it, else with what comes closest."""
    rows = []
    by_user = _by_user(came)
    for wanted in expected:
        theirs = by_user.get(wanted.user, [])
        fits = next((made for made in theirs if not kind.off(wanted, made)), None)
        if fits is None:
            far = {n: kind.distance(wanted, made) for n, made in enumerate(theirs)}
            near = [(apart, n) for n, apart in far.items() if apart is not None]
            fits = theirs[min(near)[1]] if near else None
        if fits is None:
            rows.append(Row(mark=Mark.MISSING, expected=kind.wanted(wanted), got=NOTHING))
        else:
            rows.append(_beside(kind, wanted, fits))
    return rows


def _by_user(things: Iterable[_About]) -> dict[str, list[_About]]:
    found: dict[str, list[_About]] = {}
    for thing in things:
        found.setdefault(thing.user, []).append(thing)
    return found
