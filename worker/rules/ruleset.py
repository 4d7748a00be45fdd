"""A rule set as the ladder reads it: frozen, checked, durations in milliseconds.

Built by `rules.load` from YAML; nothing here knows about files. What the words mean is told once,
in docs/rules.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Protocol

from worker.model import DAY_MS, MINUTE_MS, Channel, Message


class Mode(StrEnum):
    """Whether a rule sends. Nothing is sent unless a rule says `live` (P7)."""

    SHADOW = "shadow"
    LIVE = "live"


class ExitOn(StrEnum):
    """What closes an episode before its last stage."""

    ACTIVITY = "activity"
    OPT_OUT_ALL = "opt_out_all"
    MATCH_LOST = "match_lost"


class Window(StrEnum):
    """How a cap counts: any span of that length, or the user's own calendar days."""

    ROLLING = "rolling"
    CALENDAR = "calendar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One Alertmanager matcher: `plan="premium"`, `country!="DE"`, `app=~"shop.*"`, `x!~"..."`.

    An attribute may have several values: `=` and `=~` hold when any value fits, their negations
    when none does. A missing attribute is one empty value, as in Alertmanager. Regular expressions
    are anchored at both ends.
    """

    name: str
    operator: str
    value: str
    pattern: re.Pattern[str] | None = None

    def matches(self, facts: Mapping[str, Sequence[str]]) -> bool:
        """True when the facts (name to values) fit."""
        values = facts.get(self.name) or ("",)
        if self.pattern is not None:
            fits = any(self.pattern.fullmatch(value) for value in values)
        else:
            fits = self.value in values
        return fits is not self.operator.startswith("!")

    def __str__(self) -> str:
        return f'{self.name}{self.operator}"{self.value}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `max` stages to one user, over all rules, per `per_ms`.

    A calendar cap counts whole days of the user's own calendar; `per_ms` is then a number of days.
    """

    max: int
    per_ms: int
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds for one user over all rules of all files (P7)."""

    caps: tuple[Cap, ...] = ()
    min_gap_ms: int = 0

    @property
    def lookback_ms(self) -> int:
        """How far back past sends can matter. A calendar day may be 25 hours long, so a calendar
        cap looks one day further than its own length."""
        spans = [cap.per_ms + (DAY_MS if cap.window is Window.CALENDAR else 0) for cap in self.caps]
        return max([self.min_gap_ms, *spans])


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """A daily span, in the user's zone, in which nothing is sent (P6).

    Minutes since local midnight; `from_minute` > `to_minute` spans midnight. `assume` says from
    what an unknown zone is taken, in order (`country`, `phone_prefix`); `otherwise` is an IANA zone
    or `defer_to_utc_midday`.
    """

    name: str
    from_minute: int
    to_minute: int
    matchers: tuple[Matcher, ...] = ()
    assume: tuple[str, ...] = ("country", "phone_prefix")
    otherwise: str = "defer_to_utc_midday"


class MessageTemplate(Protocol):
    """A compiled message of a stage."""

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem when a value is missing or the text comes out unusable."""


class TemplateProblem(Exception):
    """A template could not be rendered for one user. The text names the variable, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A rung: wait `after_ms` since the previous stage was sent, then this message.

    After a stage that was skipped, for it could not be delivered, it is due at once.
    """

    name: str
    channel: Channel
    after_ms: int
    template: MessageTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who, after how long inactive, gets which ladder."""

    name: str
    revision: str
    """Digest of everything in the rule; changes when the rule does."""
    mode: Mode
    inactive_for_ms: int
    stages: tuple[Stage, ...]
    matchers: tuple[Matcher, ...] = ()
    max_inactive_ms: int | None = None
    cooldown_ms: int = 0
    exit_on: frozenset[ExitOn] = frozenset({ExitOn.ACTIVITY})
    file: str = ""
    line: int = 0

    def stage_named(self, name: str) -> Stage | None:
        """The stage of that name, if the rule (still) has one."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def stage_after(self, name: str) -> Stage | None:
        """The stage that follows, None after the last."""
        names = [stage.name for stage in self.stages]
        index = names.index(name) + 1
        return self.stages[index] if index < len(names) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityPolicy:
    """Which events say "the user was here" beyond the built-in list of `events.py`.

    Custom events count only when a pattern of `events` names them, for servers write them too;
    `not_events` takes events out again. Patterns are shell globs, case-sensitive.
    """

    events: tuple[str, ...] = ()
    not_events: tuple[str, ...] = ()
    max_future_skew_ms: int = 10 * MINUTE_MS

    def allows(self, event_type: str) -> bool | None:
        """True or False when a pattern decides, None when the built-in list does."""
        if any(fnmatchcase(event_type, pattern) for pattern in self.not_events):
            return False
        if any(fnmatchcase(event_type, pattern) for pattern in self.events):
            return True
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Everything in a rules folder, checked as one and swapped as one (P9)."""

    revision: str
    """Digest over all files that took part, templates included."""
    rules: tuple[Rule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    quiet_hours: tuple[QuietHours, ...] = ()
    activity: ActivityPolicy = field(default_factory=ActivityPolicy)

    @property
    def rearm_after_ms(self) -> int | None:
        """The shortest silence any rule waits for; None when there is no rule."""
        return min((rule.inactive_for_ms for rule in self.rules), default=None)

    def rule_named(self, name: str) -> Rule | None:
        """The rule of that name, if there is one."""
        return next((rule for rule in self.rules if rule.name == name), None)
