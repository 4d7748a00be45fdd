"""A rule set as the ladder reads it: frozen, checked, durations in milliseconds.

Built by `rules.load` from YAML; nothing here knows about files. What the words mean is told once,
in docs/rules.md.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from math import nan
from typing import Protocol, TypeAlias

from worker.event_dialects import BUILTINS, Reader
from worker.model import MINUTE_MS, Adoption, Channel, Episode, Message
from worker.rules.limits import Limits, OnHit, Prices


class Mode(StrEnum):
    """Whether a rule sends. Nothing is sent unless a rule says `live` (P7)."""

    SHADOW = "shadow"
    LIVE = "live"


class ExitOn(StrEnum):
    """What closes an episode before its last stage."""

    ACTIVITY = "activity"
    OPT_OUT_ALL = "opt_out_all"
    USER_DELETED = "user_deleted"
    MATCH_LOST = "match_lost"


class OnEdit(StrEnum):
    """What an edit of a ladder does to users who are on it."""

    FINISH_OLD = "finish_old"
    MOVE = "move"
    CANCEL = "cancel"


class OnUndeliverable(StrEnum):
    """What becomes of a stage that cannot be delivered on its channel."""

    NEXT_STAGE = "next_stage"
    WAIT = "wait"
    END = "end"


class OnUncertain(StrEnum):
    """What becomes of a call whose result nobody knows (P1)."""

    KEEP = "keep"
    RESEND = "resend"


class OnFailed(StrEnum):
    """What becomes of the next stage when a stage was taken by the provider and did not arrive."""

    WAIT = "wait"
    NEXT_STAGE = "next_stage"


class Clocked(StrEnum):
    """Which of an event's two times says when the user was here."""

    EVENT_TIME = "event_time"
    ARRIVAL_TIME = "arrival_time"


COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def _number(text: str) -> float:
    """NaN, which compares as false with everything, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return nan


class Pattern(Protocol):
    """A compiled regular expression whose time is bounded by the length of the text."""

    def fullmatch(self, text: str) -> object | None:
        """Something when the text fits from end to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One Alertmanager matcher: `plan="premium"`, `country!="DE"`, `app=~"shop.*"`, `x!~"..."`;
    beyond Alertmanager `ltv>="50"`, and `>`, `<`, `<=`, which compare numbers.

    An attribute may have several values: `=`, `=~` and comparisons hold when any value fits, the
    negations when none does. A missing attribute is one empty value, as in Alertmanager. Regular
    expressions are anchored at both ends. A value that is no number fits no comparison.
    """

    name: str
    operator: str
    value: str
    pattern: Pattern | None = None
    number: float | None = None
    """`value`, when the operator compares numbers."""

    def matches(self, facts: Mapping[str, Sequence[str]]) -> bool:
        """True when the facts (name to values) fit."""
        values = facts.get(self.name) or ("",)
        if self.number is not None:
            compare = COMPARISONS[self.operator]
            return any(compare(number, self.number) for number in map(_number, values))
        if self.pattern is not None:
            fits = any(self.pattern.fullmatch(value) for value in values)
        else:
            fits = self.value in values
        return fits is not self.operator.startswith("!")

    def __str__(self) -> str:
        return f'{self.name}{self.operator}"{self.value}"'


MINUTES_PER_DAY = 24 * 60

OpenWeek: TypeAlias = tuple[tuple[tuple[int, int], ...], ...]
"""Monday to Sunday; of each day the spans [from, to) in which sending is allowed, in minutes since
local midnight, ordered, not touching; 1440 is the end of the day."""


def open_but(from_minute: int, to_minute: int) -> OpenWeek:
    """The week that is open but for the same span of every day, in minutes since midnight; `from`
    after `to` spans midnight."""
    day = [(0, from_minute), (to_minute, MINUTES_PER_DAY)]
    if from_minute > to_minute:
        day = [(to_minute, from_minute)]
    return (tuple((begin, end) for begin, end in day if begin < end),) * 7


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Hours of the user's own week in which nothing is sent: all but `open_week` (P6).

    `assume` says from what an unknown zone is taken, in order (`country`, `phone_prefix`);
    `otherwise` is an IANA zone or `defer_to_utc_midday`. `is_law`: it comes from the table of
    legal windows (rules/law.py), not from a rule file.
    """

    name: str
    open_week: OpenWeek
    matchers: tuple[Matcher, ...] = ()
    assume: tuple[str, ...] = ("country", "phone_prefix")
    otherwise: str = "defer_to_utc_midday"
    on_hit: OnHit = OnHit.DEFER
    is_law: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalText:
    """What the law wants at the beginning and the end of a message to the users it fits."""

    matchers: tuple[Matcher, ...]
    prefix: str = ""
    suffix: str = ""


class MessageTemplate(Protocol):
    """A compiled message of a stage."""

    def render(self, context: Mapping[str, object]) -> Message:
        """Raises TemplateProblem when a value is missing or the text comes out unusable."""


class TemplateProblem(Exception):
    """A template could not be rendered for one user. The text names the variable, never a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the texts of a stage; users are spread over them by weight, by a stable hash."""

    name: str
    template: MessageTemplate
    weight: int = 1
    template_name: str | None = None
    """The file of templates/ it comes from, None when it stands in the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A rung: wait `after_ms` since the previous stage was sent or skipped, then one of these
    messages. After a stage that could not be delivered it is due at once, and after one that a
    receipt says did not arrive, where that stage says `on_failed: next_stage`.

    `variants` has at least one; the only one of a stage without variants is named "".
    """

    name: str
    channel: Channel
    after_ms: int
    variants: tuple[Variant, ...]
    only_if: tuple[Matcher, ...] = ()
    on_undeliverable: OnUndeliverable = OnUndeliverable.NEXT_STAGE
    on_uncertain: OnUncertain = OnUncertain.KEEP
    on_failed: OnFailed | None = None
    """None, which is `wait`, where the channel has no receipts."""
    soft_bounces: int | None = None
    """So many in a row make a mailbox one that failed. None, which is one: it is no e-mail."""
    max_price_micros: int | None = None
    ttl_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A stable part of the users: those whose hash with `salt` is below `percent`."""

    percent: float
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a rule hopes for: an event that fits `event` (a shell glob), at most `within_ms` after
    the last send."""

    event: str
    within_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who, after how long inactive, gets which ladder."""

    name: str
    revision: str
    """Digest of the ladder: `match`, `exit_on`, `stages` with their texts, `revision`. Other keys
    are switches, which hold at once for everybody."""
    mode: Mode
    inactive_for_ms: int
    stages: tuple[Stage, ...]
    matchers: tuple[Matcher, ...] = ()
    max_inactive_ms: int | None = None
    cooldown_ms: int = 0
    exit_on: frozenset[ExitOn] = frozenset({ExitOn.ACTIVITY})
    priority: int = 0
    """Higher is asked first, and so takes the slot two rules compete for."""
    holdout: Share | None = None
    rollout: Share | None = None
    goal: Goal | None = None
    on_edit: OnEdit = OnEdit.FINISH_OLD
    enabled_from_ms: int | None = None
    enabled_until_ms: int | None = None
    owner: str = ""
    file: str = ""
    line: int = 0

    def with_ladder_of(self, old: Rule) -> Rule:
        """This rule with the ladder of another revision of it."""
        return replace(
            self,
            revision=old.revision,
            matchers=old.matchers,
            exit_on=old.exit_on,
            stages=old.stages,
        )

    def stage_named(self, name: str) -> Stage | None:
        """The stage of that name, if the rule (still) has one."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def stage_after(self, name: str) -> Stage | None:
        """The stage that follows, None after the last."""
        names = [stage.name for stage in self.stages]
        index = names.index(name) + 1
        return self.stages[index] if index < len(names) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGoal:
    """The goal of one rule, for reading events."""

    rule: str
    goal: Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityPolicy:
    """Which events say "the user was here" beyond the built-in list (`event_meanings.py`), and
    which are the goal of a rule.

    Custom events count only when a pattern of `events` names them, for servers write them too;
    `not_events` takes events out again. Patterns are shell globs, case-sensitive.
    """

    events: tuple[str, ...] = ()
    not_events: tuple[str, ...] = ()
    clock: Clocked = Clocked.EVENT_TIME
    max_future_skew_ms: int = 10 * MINUTE_MS
    goals: tuple[RuleGoal, ...] = ()
    readers: tuple[Reader, ...] = BUILTINS
    """In which formats events are, the first that fits. From the settings, not from the files."""

    def allows(self, event_type: str) -> bool | None:
        """True or False when a pattern decides, None when the built-in list does."""
        if any(fnmatchcase(event_type, pattern) for pattern in self.not_events):
            return False
        if any(fnmatchcase(event_type, pattern) for pattern in self.events):
            return True
        return None

    def reading(self, readers: tuple[Reader, ...]) -> ActivityPolicy:
        """The same over events in these formats."""
        return replace(self, readers=readers)

    def goals_met(self, event_type: str) -> tuple[RuleGoal, ...]:
        """The goals such an event meets."""
        return tuple(g for g in self.goals if fnmatchcase(event_type, g.goal.event))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """Everything in a rules folder, checked as one and swapped as one (P9)."""

    revision: str
    """Digest over all files that took part, templates included."""
    rules: tuple[Rule, ...] = ()
    """By priority, the highest first; then by file and line."""
    limits: Limits = field(default_factory=Limits)
    quiet_hours: tuple[QuietHours, ...] = ()
    """Those of the files, then the legal windows unless the files say `law_windows: ignore`."""
    legal_texts: tuple[LegalText, ...] = ()
    prices: Prices = field(default_factory=Prices)
    activity: ActivityPolicy = field(default_factory=ActivityPolicy)
    timezone: str | None = None
    """`defaults.timezone`: the zone of users of whom nothing tells it; None: none is assumed."""
    contents: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """File name within the folder to its bytes."""
    retired: Mapping[tuple[str, str], Rule] = field(default_factory=dict, compare=False)
    """(rule, revision) to the ladder that open episodes began with and may finish."""

    def reading(self, readers: tuple[Reader, ...]) -> RuleSet:
        """The same rules over events in these formats."""
        return replace(self, activity=self.activity.reading(readers))

    @property
    def rearm_after_ms(self) -> int | None:
        """The shortest silence any rule waits for; None when there is no rule."""
        return min((rule.inactive_for_ms for rule in self.rules), default=None)

    @property
    def adoption(self) -> Adoption:
        """What the state must know of this set."""
        return Adoption(
            revision=self.revision,
            rearm_after_ms=self.rearm_after_ms,
            sends_for_ms=self.limits.lookback_ms,
            rules={rule.name: rule.revision for rule in self.rules},
            contents=self.contents,
        )

    def rule_named(self, name: str) -> Rule | None:
        """The rule of that name, if there is one."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def rule_of(self, episode: Episode) -> Rule | None:
        """The ladder an open episode goes on with; None when it goes on with none.

        `on_edit` of the rule as it is now says which. The switches are always those of now: a rule
        that is put back to `shadow` sends nothing to anybody.
        """
        rule = self.rule_named(episode.rule)
        if rule is None or rule.revision == episode.revision:
            return rule
        # None: nobody knows the old ladder any more, for instance after a restore.
        old = self.retired.get((episode.rule, episode.revision))
        match rule.on_edit:
            case OnEdit.MOVE:
                return rule
            case OnEdit.CANCEL:
                return rule if old is None else None
            case OnEdit.FINISH_OLD:
                return rule if old is None else rule.with_ladder_of(old)
