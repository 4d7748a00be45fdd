"""The shape of a ladder: stages, their variants, what every stage may take from defaults. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from worker.rules.forms import (
    Bounces,
    Duration,
    Form,
    Money,
    Name,
    PushTtl,
    SmsTtl,
    Weight,
    as_written,
)
from worker.rules.messages import EmailMessage, PushMessage, SmsMessage
from worker.rules.ruleset import OnFailed, OnUncertain, OnUndeliverable
from worker.rules.schema_limits import Matchers

STAGES_MAX = 20
VARIANTS_MAX = 20

_ON_FAILED = (
    "When the provider took it and a receipt says that it did not arrive. wait: the next stage "
    "waits its time; next_stage: it is due at once."
)
_SOFT_BOUNCES = (
    "So many soft bounces of the mailbox in a row make the e-mail one that did not arrive; a hard "
    "bounce does at once."
)
_PUSH_SAYS: Any = {"title": "New since your last visit", "body": "Come and have a look."}
_EMAIL_SAYS: Any = {"subject": "New since your last visit", "text": "Come and have a look."}
_SMS_SAYS: Any = {"body": "The Shop: 10% off your next order. Reply STOP to stop."}


class StageKeys(Form):
    """What a stage may state, and may take from `defaults.stage`."""

    after: Duration | None = Field(
        default=None,
        description="Wait since the previous stage was sent or skipped. The first: 0s.",
        examples=["2d"],
    )
    only_if: Matchers = Field(
        default=[],
        description="Matchers; the stage is skipped for users they do not fit when it is due.",
        examples=[['ltv>="50"']],
    )
    on_undeliverable: OnUndeliverable = Field(
        default=as_written("next_stage"),
        description=(
            "When no address can take it. next_stage: the next stage is due at once; wait: it "
            "waits for an address, at most 30 days; end: the ladder ends."
        ),
        examples=["next_stage"],
    )
    on_uncertain: OnUncertain = Field(
        default=as_written("keep"),
        description=(
            "When nobody knows whether a call went through. keep: it is not repeated; resend: it "
            "is, and may arrive twice."
        ),
        examples=["keep"],
    )
    max_price: Money | None = Field(
        default=None,
        description="A message that costs one user more, by `prices`, is not sent.",
        examples=["0.08 USD"],
    )


class StageDefaults(StageKeys):
    """Of every stage that leaves a key out. `after` is for all stages but the first."""

    ttl: PushTtl | None = Field(
        default=None,
        description="How long a provider may try to deliver a push, 1s to 28d.",
        examples=["12h"],
    )
    on_failed: OnFailed | None = Field(
        default=None, description=_ON_FAILED, examples=["next_stage"]
    )
    soft_bounces: Bounces | None = Field(default=None, description=_SOFT_BOUNCES, examples=[3])


class _Named(Form):
    name: Name = Field(
        description="Its name within the rule; users on the ladder go on by it.",
        examples=["push"],
    )


class _Says(Form):
    template: Name | None = Field(
        default=None,
        description="A file of templates/ without its ending, instead of `message`.",
        examples=["winback_email"],
    )


class _Variant(_Says, _Named):
    name: Name = Field(
        description="Its name within the stage, in metrics and reports.", examples=["a"]
    )
    weight: Weight | None = Field(
        default=None,
        description="Its part of the users; together 100. Left out everywhere: equal parts.",
        examples=[50],
    )


class PushVariant(_Variant):
    """One of the texts of a push stage."""

    message: PushMessage | None = Field(
        default=None, description="What it says.", examples=[_PUSH_SAYS]
    )


class EmailVariant(_Variant):
    """One of the texts of an e-mail stage."""

    message: EmailMessage | None = Field(
        default=None, description="What it says.", examples=[_EMAIL_SAYS]
    )


class SmsVariant(_Variant):
    """One of the texts of an SMS stage."""

    message: SmsMessage | None = Field(
        default=None, description="What it says.", examples=[_SMS_SAYS]
    )


class StageForm(_Says, StageKeys, _Named):
    """A rung of the ladder: wait, then one of these messages, stated here or in files."""


_VARIANTS = "Texts to compare, instead of `message`; users are spread over them by weight."
_VARIANT_EXAMPLE = [
    {"name": "a", "weight": 50, "template": "winback_a"},
    {"name": "b", "weight": 50, "template": "winback_b"},
]


class PushStage(StageForm):
    """A push notification."""

    channel: Literal["push"] = Field(description="How it is sent.", examples=["push"])
    message: PushMessage | None = Field(
        default=None, description="What it says.", examples=[_PUSH_SAYS]
    )
    variants: Annotated[list[PushVariant], Field(min_length=1, max_length=VARIANTS_MAX)] | None = (
        Field(default=None, description=_VARIANTS, examples=[_VARIANT_EXAMPLE])
    )
    ttl: PushTtl | None = Field(
        default=None,
        description="How long the provider may try to deliver it, 1s to 28d.",
        examples=["12h"],
    )


class EmailStage(StageForm):
    """An e-mail."""

    channel: Literal["email"] = Field(description="How it is sent.", examples=["email"])
    message: EmailMessage | None = Field(
        default=None, description="What it says.", examples=[_EMAIL_SAYS]
    )
    variants: Annotated[list[EmailVariant], Field(min_length=1, max_length=VARIANTS_MAX)] | None = (
        Field(default=None, description=_VARIANTS, examples=[_VARIANT_EXAMPLE])
    )
    on_failed: OnFailed = Field(
        default=as_written("wait"), description=_ON_FAILED, examples=["next_stage"]
    )
    soft_bounces: Bounces = Field(default=as_written("1"), description=_SOFT_BOUNCES, examples=[3])


class SmsStage(StageForm):
    """A text message."""

    channel: Literal["sms"] = Field(description="How it is sent.", examples=["sms"])
    message: SmsMessage | None = Field(
        default=None, description="What it says.", examples=[_SMS_SAYS]
    )
    variants: Annotated[list[SmsVariant], Field(min_length=1, max_length=VARIANTS_MAX)] | None = (
        Field(default=None, description=_VARIANTS, examples=[_VARIANT_EXAMPLE])
    )
    ttl: SmsTtl | None = Field(
        default=None,
        description=(
            "How long the provider may try to deliver it, 1m to 3d. Kept by End User Messaging; "
            "Pinpoint's SendMessages tries for as long as the carriers do."
        ),
        examples=["4h"],
    )
    on_failed: OnFailed = Field(
        default=as_written("wait"), description=_ON_FAILED, examples=["next_stage"]
    )


StageForms: TypeAlias = PushStage | EmailStage | SmsStage
AnyStage: TypeAlias = Annotated[StageForms, Field(discriminator="channel")]
