"""The shape of a rule file: every key, its kind, its default, its meaning. Pure.

A key stands here only when it works. Relations between values (this longer than that, names given
once) are in `checks.py`; what ops read is docs/rules.md.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from worker.model import MINUTE_MS
from worker.rules.forms import (
    Count,
    Duration,
    EventPattern,
    Form,
    MatcherText,
    Name,
    Otherwise,
    Span,
    TimeOfDay,
)
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage
from worker.rules.ruleset import ExitOn, Mode, Window
from worker.rules.zones import UTC_MIDDAY

RULES_PER_FILE_MAX = 1_000
STAGES_MAX = 20
MATCHERS_MAX = 50
LIMITS_MAX = 20
QUIET_HOURS_MAX = 200
PATTERNS_MAX = 200
LABELS_MAX = 20

Matchers: TypeAlias = Annotated[
    list[MatcherText],
    Field(max_length=MATCHERS_MAX, description="Alertmanager matchers; all of them must hold."),
]
Patterns: TypeAlias = Annotated[list[EventPattern], Field(max_length=PATTERNS_MAX)]


class ActivityForm(Form):
    """What counts as "the user was here" beyond the built-in events."""

    events: Patterns = Field(default_factory=list, description="Events that count as well.")
    not_events: Patterns = Field(default_factory=list, description="Events that never count.")
    max_future_skew: Duration = Field(
        default=10 * MINUTE_MS, description="How far ahead of its arrival an event may be stamped."
    )


class DefaultsForm(Form):
    """What holds for all rules of all files."""

    activity: ActivityForm = Field(default_factory=ActivityForm)


class UserLimitForm(Form):
    """Either a cap (`max`, `per`, `window`) or a distance (`min_gap`)."""

    max: Count | None = Field(default=None, description="The most stages one user gets ...")
    per: Span | None = Field(default=None, description="... in this time.")
    window: Window = Field(
        default=Window.ROLLING, description="rolling: any such span; calendar: the user's own days."
    )
    min_gap: Span | None = Field(default=None, description="The least time between two stages.")


class LimitsForm(Form):
    """What one user gets at most, over all rules of all files."""

    user: Annotated[list[UserLimitForm], Field(max_length=LIMITS_MAX)] = Field(default_factory=list)


class UnknownTimezoneForm(Form):
    """Where a user's zone is taken from when no endpoint names one."""

    assume: Annotated[list[Literal["country", "phone_prefix"]], Field(max_length=2)] = Field(
        default=["country", "phone_prefix"], description="What to go by, in this order."
    )
    otherwise: Otherwise = Field(
        default=UTC_MIDDAY, alias="else", description="An IANA zone, or defer_to_utc_midday."
    )


class QuietHoursForm(Form):
    """A daily span in the user's zone in which nothing is sent."""

    name: Name = Field(description="Its name in `explain`.")
    begin: TimeOfDay = Field(alias="from", description="The first quiet minute, HH:MM.")
    end: TimeOfDay = Field(alias="to", description="The first minute after it, HH:MM.")
    match: Matchers = Field(default_factory=list)
    unknown_timezone: UnknownTimezoneForm = Field(default_factory=UnknownTimezoneForm)


class StageForm(Form):
    """A rung of the ladder: wait, then this message, stated here or in a file."""

    name: Name = Field(description="Its name within the rule.")
    after: Duration = Field(default=0, description="Wait since the previous stage was sent.")
    template: Name | None = Field(
        default=None, description="A file of templates/ without its ending, instead of `message`."
    )


class PushStage(StageForm):
    """A push notification."""

    channel: Literal["push"]
    message: PushMessage | None = None


class EmailStage(StageForm):
    """An e-mail."""

    channel: Literal["email"]
    message: EmailMessage | None = None


class SmsStage(StageForm):
    """A text message."""

    channel: Literal["sms"]
    message: SmsMessage | None = None


StageForms: TypeAlias = PushStage | EmailStage | SmsStage
_AnyStage: TypeAlias = Annotated[StageForms, Field(discriminator="channel")]


class RuleForm(Form):
    """Who, after how long inactive, gets which ladder."""

    rule: Name = Field(description="Its name; unique over all files.")
    owner: str = Field(default="", description="Who to ask about it.")
    labels: Annotated[dict[Name, str], Field(max_length=LABELS_MAX)] = Field(
        default_factory=dict, description="For people: what it is about."
    )
    mode: Mode = Field(default=Mode.SHADOW, description="shadow decides and counts; live sends.")
    match: Matchers = Field(default_factory=list)
    inactive_for: Span = Field(description="The silence after which the ladder begins.")
    max_inactive: Span | None = Field(
        default=None, description="No ladder begins for users silent for longer."
    )
    cooldown: Duration = Field(
        default=0, description="Rest after a ladder ended, however it ended."
    )
    exit_on: Annotated[list[ExitOn], Field(min_length=1)] = Field(
        default=[ExitOn.ACTIVITY, ExitOn.OPT_OUT_ALL], description="What ends the ladder early."
    )
    stages: Annotated[list[_AnyStage], Field(min_length=1, max_length=STAGES_MAX)] = Field(
        description="The ladder, in order."
    )


class RuleFile(Form):
    """One file of the rules folder."""

    api_version: Literal["v1"] = Field(alias="apiVersion", description="Version of this format.")
    defaults: DefaultsForm = Field(default_factory=DefaultsForm)
    limits: LimitsForm = Field(default_factory=LimitsForm)
    quiet_hours: Annotated[list[QuietHoursForm], Field(max_length=QUIET_HOURS_MAX)] = Field(
        default_factory=list
    )
    rules: Annotated[list[RuleForm], Field(max_length=RULES_PER_FILE_MAX)] = Field(
        default_factory=list
    )
