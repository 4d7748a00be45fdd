"""The shape of a rule file: every key, its kind, its default, its meaning. Pure.

A key stands here only when it works. Relations between values (this longer than that, names given
once) are in `checks.py` and `checks_limits.py`; what ops read is docs/rules.md.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from worker.rules.forms import (
    Count,
    Duration,
    EventPattern,
    Form,
    Instant,
    Name,
    OnEditWord,
    OrPercent,
    Percent,
    Priority,
    Span,
    Words,
    Zone,
    as_written,
)
from worker.rules.ruleset import Clocked, ExitOn, Mode
from worker.rules.schema_ladder import STAGES_MAX, AnyStage, StageDefaults
from worker.rules.schema_limits import (
    LEGAL_TEXTS_MAX,
    QUIET_HOURS_MAX,
    LegalTextForm,
    LimitsForm,
    Matchers,
    PricesForm,
    QuietHoursForm,
)

RULES_PER_FILE_MAX = 1_000
PATTERNS_MAX = 200
LABELS_MAX = 20

_Patterns: TypeAlias = Annotated[list[EventPattern], Field(max_length=PATTERNS_MAX)]


class HoldoutForm(Form):
    """A stable part of the users who get nothing, to measure the others against."""

    percent: Percent = Field(
        description="How many of a hundred are held out; under 100.", examples=[10]
    )
    salt: Words | None = Field(
        default=None,
        description="Which users: the same salt, the same users. Left out: RULE/holdout.",
        examples=["winback-2026"],
    )
    log_as: Literal["would_send"] = Field(
        default="would_send",
        description="They walk the ladder, and the journal says so.",
        examples=["would_send"],
    )


class RolloutForm(Form):
    """A stable part of the users for whom the rule begins at all."""

    percent: Percent = Field(description="How many of a hundred; over 0.", examples=[25])
    salt: Words | None = Field(
        default=None,
        description="Which users: the same salt, the same users. Left out: RULE/rollout.",
        examples=["winback-2026"],
    )


class ConversionForm(Form):
    """What the rule hopes for."""

    event: EventPattern = Field(
        description="An event type; * stands for any text.", examples=["_session.start"]
    )
    within: Span = Field(description="At most so long after the last send.", examples=["7d"])
    compare: Literal["intent_to_treat"] = Field(
        default="intent_to_treat",
        description="Everybody who entered is compared with everybody held out.",
        examples=["intent_to_treat"],
    )


class _Named(Form):
    rule: Name = Field(
        description="Its name in metrics, logs and `explain`; unique over all files.",
        examples=["premium-winback"],
    )


class RuleKeys(Form):
    """What a rule may state, and may take from `defaults.rule`."""

    revision: Count | None = Field(
        default=None,
        description="Raised by hand: users who begin after that are on a new edition.",
        examples=[7],
    )
    owner: Words = Field(default="", description="Whom to ask about it.", examples=["growth-team"])
    labels: Annotated[dict[Name, Words], Field(max_length=LABELS_MAX)] = Field(
        default=as_written({}),
        description="For people: what it is about; changes nothing.",
        examples=[{"goal": "winback"}],
    )
    mode: Mode = Field(
        default=as_written("shadow"),
        description="shadow decides and counts; live sends.",
        examples=["shadow"],
    )
    priority: Priority = Field(
        default=as_written("0"),
        description="The higher goes first when two rules want the same slot.",
        examples=[50],
    )
    match: Matchers = Field(
        default=[],
        description="Who: Alertmanager matchers, all of which must hold; left out: everybody.",
        examples=[['plan="premium"', 'country=~"FR|BE|CH"', 'ltv>="50"']],
    )
    inactive_for: Span | None = Field(
        default=None,
        description="The silence after which the ladder begins.",
        examples=["7d"],
    )
    max_inactive: Span | None = Field(
        default=None,
        description="No ladder begins for users silent for longer.",
        examples=["60d"],
    )
    cooldown: Duration = Field(
        default=as_written("0s"),
        description="Rest after a ladder ended, however it ended.",
        examples=["30d"],
    )
    exit_on: Annotated[list[ExitOn], Field(min_length=1)] = Field(
        default=as_written(["activity", "opt_out_all"]),
        description="What ends the ladder early; activity must be among them.",
        examples=[["activity", "opt_out_all", "match_lost"]],
    )
    holdout: Annotated[HoldoutForm, OrPercent()] | None = Field(
        default=None,
        description="Users who walk the ladder and get nothing, to measure against.",
        examples=[10, {"percent": 10, "salt": "winback-2026"}],
    )
    rollout: Annotated[RolloutForm, OrPercent()] | None = Field(
        default=None,
        description="For how many of a hundred users the rule begins at all; left out: all.",
        examples=[25, {"percent": 25, "salt": "winback-2026"}],
    )
    conversion: ConversionForm | None = Field(
        default=None,
        description="What the rule hopes for; counted per stage, and for the holdout.",
        examples=[{"event": "_session.start", "within": "7d"}],
    )
    on_edit: OnEditWord = Field(
        default=as_written("finish_old"),
        description=(
            "Users on the ladder when it is edited: finish_old goes on with the ladder they "
            "began, move goes on with the new one by the name of their next stage, cancel ends."
        ),
        examples=["finish_old"],
    )
    enabled_from: Instant | None = Field(
        default=None,
        description="The rule does nothing before: an instant with its zone.",
        examples=["2026-11-27T09:00:00+01:00"],
    )
    enabled_until: Instant | None = Field(
        default=None,
        description="The rule does nothing from then on: an instant with its zone.",
        examples=["2026-12-24T00:00:00Z"],
    )


class RuleDefaults(RuleKeys):
    """Of every rule that leaves a key out."""


class RuleForm(RuleKeys, _Named):
    """Who, after how long inactive, gets which ladder."""

    inactive_for: Span = Field(
        description="The silence after which the ladder begins.", examples=["7d"]
    )
    stages: Annotated[list[AnyStage], Field(min_length=1, max_length=STAGES_MAX)] = Field(
        description="The ladder, in order.",
        examples=[[{"name": "push", "channel": "push", "template": "winback_push"}]],
    )


class ActivityForm(Form):
    """What counts as "the user was here" beyond the built-in events."""

    events: _Patterns = Field(
        default=[],
        description="Events that count as well; * stands for any text.",
        examples=[["app.*", "cart.add"]],
    )
    not_events: _Patterns = Field(
        default=[],
        description="Events that never count; stronger than `events`.",
        examples=[["app.background"]],
    )
    clock: Clocked = Field(
        default=as_written("event_time"),
        description="When the user was here: the event's own time, or that of its arrival.",
        examples=["event_time"],
    )
    max_future_skew: Duration = Field(
        default=as_written("10m"),
        description="How far ahead of its arrival an event may be stamped.",
        examples=["10m"],
    )


class DefaultsForm(Form):
    """What holds for all rules of all files."""

    timezone: Zone | None = Field(
        default=None,
        description="The zone of users of whom neither zone, country nor phone number is known.",
        examples=["UTC"],
    )
    activity: ActivityForm = Field(
        default=as_written({}),
        description='What counts as "the user was here".',
        examples=[{"events": ["app.*"]}],
    )
    rule: RuleDefaults = Field(
        default=as_written({}),
        description="Keys of every rule that does not state them.",
        examples=[{"max_inactive": "60d", "cooldown": "30d"}],
    )
    stage: StageDefaults = Field(
        default=as_written({}),
        description="Keys of every stage that does not state them.",
        examples=[{"on_undeliverable": "next_stage", "ttl": "12h"}],
    )


class RuleFile(Form):
    """One file of the rules folder of comeback; docs/rules.md tells what the words mean."""

    api_version: Literal["v1"] = Field(
        alias="apiVersion", description="Version of this format.", examples=["v1"]
    )
    defaults: DefaultsForm = Field(
        default=as_written({}),
        description="What holds for all rules of all files; in one file only.",
        examples=[{"timezone": "UTC", "rule": {"max_inactive": "60d"}}],
    )
    limits: LimitsForm = Field(
        default=as_written({}),
        description="What is sent at most, over all rules of all files; in one file only.",
        examples=[{"user": [{"max": 1, "per": "1d", "window": "calendar"}]}],
    )
    quiet_hours: Annotated[list[QuietHoursForm], Field(max_length=QUIET_HOURS_MAX)] = Field(
        default=[],
        description="When nothing is sent, by the user's own clock.",
        examples=[[{"name": "night", "from": "21:00", "to": "08:00"}]],
    )
    law_windows: Literal["enforce", "ignore"] = Field(
        default="enforce",
        description="The built-in table of legal sending hours; in one file only.",
        examples=["enforce"],
    )
    legal_texts: Annotated[list[LegalTextForm], Field(max_length=LEGAL_TEXTS_MAX)] = Field(
        default=[],
        description="What the law wants in a message.",
        examples=[[{"match": ['country="KR"'], "prefix": "(광고) "}]],
    )
    prices: PricesForm = Field(
        default=as_written({}),
        description="What one send is expected to cost; in one file only.",
        examples=[{"sms": {"default": "0.05 USD", "US": "0.00581 USD"}}],
    )
    rules: Annotated[list[RuleForm], Field(max_length=RULES_PER_FILE_MAX)] = Field(
        default=[],
        description="The rules.",
        examples=[
            [
                {
                    "rule": "winback",
                    "inactive_for": "7d",
                    "stages": [{"name": "push", "channel": "push", "template": "winback_push"}],
                }
            ]
        ],
    )
