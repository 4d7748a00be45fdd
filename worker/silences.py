"""Holds made by hand: silences, pauses and the kill switch, ready to be held against a stage. Pure.

Their matchers see the facts of the user, and `rule`, `stage` and `channel`. One without matchers
fits everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.model import Reason, Silence, SilenceKind
from worker.rules.matchers import parse_matcher
from worker.rules.problems import Refused
from worker.rules.ruleset import Matcher

REASONS: Mapping[SilenceKind, Reason] = {
    SilenceKind.SILENCE: Reason.SILENCED,
    SilenceKind.PAUSE: Reason.PAUSED,
    SilenceKind.KILL: Reason.KILL_SWITCH,
}

_RANK = (SilenceKind.SILENCE, SilenceKind.PAUSE, SilenceKind.KILL)


@dataclass(frozen=True, slots=True)
class Standing:
    """A silence with its matchers read."""

    silence: Silence
    matchers: tuple[Matcher, ...]


def standing(silences: Sequence[Silence]) -> tuple[Standing, ...]:
    """The silences, read, the strongest kind first. A matcher that another version wrote and this
    one cannot read is left out, so that the silence fits more and not less."""
    ordered = sorted(silences, key=lambda silence: -_RANK.index(silence.kind))
    return tuple(Standing(silence, tuple(_readable(silence))) for silence in ordered)


def silenced(
    standing: Sequence[Standing], facts: Mapping[str, Sequence[str]], wall_ms: int
) -> Silence | None:
    """The strongest silence that holds a stage with these facts; of one kind the longest."""
    found: Silence | None = None
    for candidate in standing:
        silence = candidate.silence
        # Who stops everything must not be kept waiting by a clock that is ahead of this one.
        begun = silence.kind is not SilenceKind.SILENCE or silence.begins_ms <= wall_ms
        if not begun or wall_ms >= _end_ms(silence):
            continue
        if found is not None and (
            found.kind is not silence.kind or _end_ms(silence) <= _end_ms(found)
        ):
            continue
        if all(matcher.matches(facts) for matcher in candidate.matchers):
            found = silence
    return found


def _end_ms(silence: Silence) -> float:
    return float("inf") if silence.ends_ms is None else silence.ends_ms


def _readable(silence: Silence) -> list[Matcher]:
    matchers = []
    for text in silence.matchers:
        try:
            matchers.append(parse_matcher(text))
        except Refused:
            continue
    return matchers
