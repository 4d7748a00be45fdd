"""The shape of what holds over all rules: limits, quiet hours, legal texts, prices. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from worker.model import Channel
from worker.rules.forms import (
    Count,
    Day,
    Days,
    Form,
    LegalPart,
    MatcherText,
    Money,
    Name,
    Otherwise,
    PriceOf,
    RateSpan,
    Span,
    Spans,
    TimeOfDay,
    Zone,
    as_written,
)
from worker.rules.limits import OnHit, Window
from worker.rules.zones import UTC_MIDDAY

MATCHERS_MAX = 50
LIMITS_MAX = 20
QUIET_HOURS_MAX = 200
LEGAL_TEXTS_MAX = 50
PRICES_MAX = 300

Matchers: TypeAlias = Annotated[list[MatcherText], Field(max_length=MATCHERS_MAX)]


class UserLimitForm(Form):
    """Either a cap (`max`, `per`, `window`) or a distance (`min_gap`)."""

    max: Count | None = Field(
        default=None, description="The most stages one user gets ...", examples=[1, 3]
    )
    per: Span | None = Field(
        default=None,
        description="... in this time; whole days for a calendar window.",
        examples=["1d", "7d"],
    )
    window: Window = Field(
        default=as_written("rolling"),
        description="rolling: any such span; calendar: the user's own days.",
        examples=["calendar"],
    )
    min_gap: Span | None = Field(
        default=None,
        description="The least time between two stages; an entry of its own.",
        examples=["4h"],
    )


class SendRateForm(Form):
    """A pace over all users: at most `max` sends in any `per`."""

    channel: Channel | None = Field(
        default=None, description="Of this channel; left out: of all together.", examples=["sms"]
    )
    max: Count = Field(
        description="The most sends, one an address, for this process ...", examples=[500]
    )
    per: RateSpan = Field(description="... in any such span, at most 1h.", examples=["1s", "1m"])


class BudgetForm(Form):
    """Money for one calendar day."""

    channel: Channel | None = Field(
        default=None, description="Of this channel; left out: of all together.", examples=["sms"]
    )
    max: Money = Field(description="The most that may be spent ...", examples=["200 USD"])
    per: Day = Field(
        default=as_written("1d"), description="... on one calendar day ...", examples=["1d"]
    )
    timezone: Zone = Field(
        default="UTC", description="... of this zone.", examples=["UTC", "Europe/Paris"]
    )
    on_exhausted: Literal[OnHit.DEFER, OnHit.NEXT_STAGE] = Field(
        default=as_written("defer"),
        description="defer: the stage waits for the next day; next_stage: it is passed over.",
        examples=["defer"],
    )


class LimitsForm(Form):
    """What is sent at most, over all rules of all files."""

    user: Annotated[list[UserLimitForm], Field(max_length=LIMITS_MAX)] = Field(
        default=[],
        description="What one user gets at most; every entry must hold.",
        examples=[[{"max": 1, "per": "1d", "window": "calendar"}, {"min_gap": "4h"}]],
    )
    send_rate: Annotated[list[SendRateForm], Field(max_length=LIMITS_MAX)] = Field(
        default=[],
        description="How fast messages leave; every entry must hold.",
        examples=[[{"max": 500, "per": "1s"}, {"channel": "sms", "max": 20, "per": "1s"}]],
    )
    budget: Annotated[list[BudgetForm], Field(max_length=LIMITS_MAX)] = Field(
        default=[],
        description="What may be spent a day, by `prices`; every entry must hold.",
        examples=[[{"channel": "sms", "max": "200 USD"}]],
    )


class UnknownTimezoneForm(Form):
    """Where a user's zone is taken from when no endpoint names one."""

    assume: Annotated[list[Literal["country", "phone_prefix"]], Field(max_length=2)] = Field(
        default=["country", "phone_prefix"],
        description="What to go by, in this order.",
        examples=[["country", "phone_prefix"]],
    )
    otherwise: Otherwise = Field(
        default=UTC_MIDDAY,
        alias="else",
        description="When that tells nothing either: an IANA zone, or defer_to_utc_midday.",
        examples=[UTC_MIDDAY, "Europe/Paris"],
    )


class QuietHoursForm(Form):
    """Hours of the user's own clock in which nothing is sent: `from` and `to`, or all but `allow`.

    `from` and `to` are a daily span; `allow` names the open hours of each day of the week.
    """

    name: Name = Field(
        description="Its name in `explain`; unique over all files.", examples=["night"]
    )
    begin: TimeOfDay | None = Field(
        default=None,
        alias="from",
        description="The first quiet minute, HH:MM; over midnight when it is later than `to`.",
        examples=["21:00"],
    )
    end: TimeOfDay | None = Field(
        default=None,
        alias="to",
        description="The first minute after it, HH:MM.",
        examples=["08:00"],
    )
    allow: Annotated[dict[Days, Spans], Field(max_length=7)] | None = Field(
        default=None,
        description="Instead of `from` and `to`: days to open hours; other days are closed.",
        examples=[{"mon-sat": "09:00-21:00", "sun": "12:00-21:00"}],
    )
    match: Matchers = Field(
        default=[],
        description="For whom, and with `channel` for what; left out: for everybody.",
        examples=[['country="US"', 'channel="sms"']],
    )
    clock: Literal["user_local"] = Field(
        default="user_local", description="Whose clock: the user's own.", examples=["user_local"]
    )
    unknown_timezone: UnknownTimezoneForm = Field(
        default=as_written({}),
        description="Where the zone comes from when no endpoint names one.",
        examples=[{"assume": ["country", "phone_prefix"], "else": UTC_MIDDAY}],
    )
    on_hit: OnHit = Field(
        default=as_written("defer"),
        description=(
            "What becomes of a stage that falls due in them. defer: it waits; skip: it is left "
            "out, and the next one waits its own time; next_stage: the next one is due at once."
        ),
        examples=["defer"],
    )


class LegalTextForm(Form):
    """What the law wants at the beginning and the end of a message."""

    match: Matchers = Field(
        default=[],
        description="For whom, and with `channel` for what; left out: for everybody.",
        examples=[['country="KR"', 'channel="sms"']],
    )
    prefix: LegalPart | None = Field(
        default=None,
        description="Put before the text (e-mail: the subject; push: the title), blanks included.",
        examples=["(광고) "],
    )
    suffix: LegalPart | None = Field(
        default=None,
        description="Put after the text, blanks included.",
        examples=[" Free opt-out: 080-000-0000"],
    )


_PriceList: TypeAlias = Annotated[dict[PriceOf, Money], Field(min_length=1, max_length=PRICES_MAX)]


class PricesForm(Form):
    """What one send is expected to cost, by channel and country; an SMS is counted by its parts."""

    push: _PriceList | None = Field(
        default=None,
        description="Of one push: `default`, and countries that differ.",
        examples=[{"default": "0.000001 USD"}],
    )
    email: _PriceList | None = Field(
        default=None,
        description="Of one e-mail: `default`, and countries that differ.",
        examples=[{"default": "0.0001 USD"}],
    )
    sms: _PriceList | None = Field(
        default=None,
        description="Of one part of an SMS: `default`, and countries that differ.",
        examples=[{"default": "0.05 USD", "US": "0.00581 USD"}],
    )
